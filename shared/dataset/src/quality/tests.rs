//! Each rule on what it is for and on what it must leave alone.

use super::*;
use artifact::{Kind, Message};

fn example(messages: Vec<Message>, text: Option<&str>) -> Example {
    Example {
        id: String::new(),
        kind: Kind::Chat,
        messages,
        tools: None,
        text: text.map(str::to_owned),
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: String::new(),
        source_row: 0,
        extra: Vec::new(),
    }
}

fn codes(example: &Example) -> Vec<&'static str> {
    check(example, Rules::parse("all").unwrap()).into_iter().map(|finding| finding.code).collect()
}

fn chat(turns: &[(&str, &str)]) -> Vec<&'static str> {
    let turns = turns.iter().map(|(role, text)| Message::new(*role, *text)).collect();
    codes(&example(turns, None))
}

#[test]
fn turns_in_order_are_left_alone() {
    assert!(chat(&[("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")]).is_empty());
    let call = Message { tool_calls: Some("[]".into()), content: None, ..Message::new("assistant", "") };
    let turns = vec![Message::new("user", "q"), call, Message::new("tool", "1"), Message::new("tool", "1")];
    let turns = [turns, vec![Message::new("assistant", "a")]].concat();
    assert!(codes(&example(turns, None)).is_empty());
}

#[test]
fn turns_out_of_order_and_repeated() {
    assert_eq!(chat(&[("user", "q"), ("user", "r"), ("assistant", "a")]), ["role_order"]);
    assert_eq!(chat(&[("assistant", "a")]), ["role_order"]);
    assert_eq!(chat(&[("user", "q"), ("assistant", "a"), ("user", "r")]), ["role_order"]);
    assert_eq!(chat(&[("user", "q"), ("system", "s"), ("assistant", "a")]), ["role_order"]);
    assert_eq!(chat(&[("user", "q"), ("tool", "s"), ("assistant", "a")]), ["role_order"]);
    assert_eq!(chat(&[("user", "q"), ("assistant", "q")]), ["repeated_turn"]);
    assert_eq!(chat(&[("user", "q"), ("assistant", "a"), ("user", "q"), ("assistant", "b")]), ["repeated_turn"]);
}

#[test]
fn characters() {
    assert_eq!(chat(&[("user", "q\u{0}"), ("assistant", "a")]), ["control_characters"]);
    assert_eq!(chat(&[("user", "q\u{85}é"), ("assistant", "a")]), ["control_characters"]);
    assert_eq!(chat(&[("user", "e\u{301}"), ("assistant", "a")]), ["not_nfc"]);
    assert!(chat(&[("user", "é\r\n\tq 👩‍👩‍👧"), ("assistant", "a")]).is_empty());
    let mut dirty = example(vec![Message::new("user", "e\u{301}\u{7}\r\nﬁ")], None);
    Cleaning::parse("nfc,control").unwrap().apply(&mut dirty);
    assert_eq!(dirty.messages[0].content.as_deref(), Some("é\nﬁ"));
    Cleaning::parse("nfkc").unwrap().apply(&mut dirty);
    assert_eq!(dirty.messages[0].content.as_deref(), Some("é\nfi"));
}

const PROSE: &str = "The river had been rising since the morning, and by noon it was over the lower meadow.\nMy \
    grandfather said that we would have to move the sheep before dark. Nobody argued with him, because he had seen the \
    flood of his youth and had lost half a herd to it.\nWe walked up to the gate with the dogs and opened it wide.";

#[test]
fn prose_passes_and_web_rubbish_does_not() {
    assert!(codes(&example(Vec::new(), Some(PROSE))).is_empty(), "{:?}", codes(&example(Vec::new(), Some(PROSE))));
    let of = |text: &str| codes(&example(Vec::new(), Some(text)));
    assert!(of("Buy now").contains(&"gopher_word_count"));
    assert!(of(&"home contact about\n".repeat(40)).contains(&"gopher_duplicate_lines"));
    assert!(of(&"the same five words again ".repeat(20)).contains(&"gopher_duplicate_ngrams"));
    assert!(of(&"click here ".repeat(60)).contains(&"gopher_top_ngram"));
    assert!(of(&"- a point of it\n".repeat(12)).contains(&"gopher_bullets"));
    assert!(of("# # # # five words").contains(&"gopher_symbols"));
    assert!(of("if (x) { return; }").contains(&"c4_curly_bracket"));
    assert!(of("Lorem ipsum dolor sit amet.").contains(&"c4_lorem_ipsum"));
    assert!(of(&"Menu item\n".repeat(9)).contains(&"fineweb_short_lines"));
    assert!(of("one line without an end").contains(&"fineweb_line_punctuation"));
}

#[test]
fn answers_that_go_in_circles() {
    let circling = "I am happy to help you with that today ".repeat(10);
    let found = chat(&[("user", "Can you help?"), ("assistant", &circling)]);
    assert!(found.contains(&"gopher_duplicate_ngrams"), "{found:?}");
    assert!(!found.contains(&"gopher_word_count"));
}

#[test]
fn rules_by_name_and_group() {
    let turns = Rules::parse("turns").unwrap();
    assert!(turns.has(Rule::RoleOrder) && !turns.has(Rule::NotNfc));
    assert!(Rules::parse("gopher_word_count,c4").unwrap().has(Rule::C4LoremIpsum));
    assert!(Rules::parse("goper").unwrap_err().contains("did you mean gopher"));
    assert_eq!(Rules::parse("none").unwrap(), Rules::default());
}

#[test]
fn languages() {
    let german = example(
        vec![Message::new("user", "Wie weit ist es von hier bis zum nächsten Bahnhof, wenn ich zu Fuß gehe?")],
        None,
    );
    let found = Languages::parse("en").unwrap().check(&german).unwrap();
    assert!(found.detail.starts_with("de"), "{found:?}");
    assert!(Languages::parse("deu,en").unwrap().check(&german).is_none());
    assert!(Languages::parse("xx").is_err());
}
