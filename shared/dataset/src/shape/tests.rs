//! Each shape on small records, with what people get wrong.

use super::*;
use serde_json::json;

fn record(value: Value) -> Record {
    let Value::Object(fields) = value else { panic!("an object") };
    Record::new(fields)
}

fn convert(value: Value) -> Result<Example, Misfit> {
    let mut record = record(value);
    Shape::detect(&record).expect("a known shape").convert(&mut record, &TurnKeys::default())
}

fn spoken(messages: &[Message]) -> Vec<(&str, &str)> {
    messages.iter().map(|message| (message.role.as_str(), message.content.as_deref().unwrap_or("-"))).collect()
}

#[test]
fn alpaca_with_system_and_history() {
    let example = convert(json!({"instruction": "Add", "input": "1 2", "output": 3, "system": "Be brief.",
        "history": [["hi", "hello"]]}))
    .unwrap();
    let expected =
        [("system", "Be brief."), ("user", "hi"), ("assistant", "hello"), ("user", "Add\n1 2"), ("assistant", "3")];
    assert_eq!((example.kind, spoken(&example.messages)), (Kind::Chat, expected.to_vec()));
    assert_eq!(convert(json!({"instruction": "a", "output": " "})).unwrap_err().code, Code::Empty);
}

#[test]
fn sharegpt_with_calls() {
    let example = convert(json!({"conversations": [
        {"from": "human", "value": "time?"},
        {"from": "function_call", "value": "{\"name\": \"clock\", \"arguments\": \"{\\\"zone\\\": \\\"UTC\\\"}\"}"},
        {"from": "observation", "value": "noon"},
        {"from": "gpt", "value": "It is noon."}], "tools": "[{\"name\": \"clock\"}]"}))
    .unwrap();
    let expected = [("user", "time?"), ("assistant", "-"), ("tool", "noon"), ("assistant", "It is noon.")];
    assert_eq!(spoken(&example.messages), expected);
    let call = r#"[{"type":"function","function":{"name":"clock","arguments":{"zone":"UTC"}}}]"#;
    assert_eq!(example.messages[1].tool_calls.as_deref(), Some(call));
    assert_eq!(example.tools.as_deref(), Some(r#"[{"type":"function","function":{"name":"clock"}}]"#));
}

#[test]
fn every_alias_of_a_role() {
    for (first, second) in
        [("human", "gpt"), ("User", "ChatGPT"), ("prompter", "model"), ("<|user|>", "bing"), ("customer", "agent")]
    {
        let turns = json!([{"from": first, "value": "q"}, {"from": second, "value": "a"}]);
        let example = convert(json!({"conversations": turns})).unwrap();
        assert_eq!(spoken(&example.messages), [("user", "q"), ("assistant", "a")], "{first}, {second}");
    }
    for (call, result) in
        [("function_call", "observation"), ("tool-call", "function_response"), ("tool_calls", "tool_result")]
    {
        let turns = json!([{"from": "human", "value": "q"}, {"from": call, "value": "{\"name\":\"f\"}"},
            {"from": result, "value": "r"}, {"from": "gpt", "value": "a"}]);
        let example = convert(json!({"conversations": turns})).unwrap();
        assert_eq!(example.messages[2].role, "tool", "{result}");
    }
    let strange = convert(json!({"conversations": [{"from": "narrator", "value": "q"}]})).unwrap_err();
    assert!(strange.detail.contains("found `narrator`"), "{strange:?}");
}

#[test]
fn messages_with_parts_weights_and_calls() {
    let example = convert(json!({"messages": [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": [{"type": "text", "value": "a"}, {"type": "text", "text": "b"}], "loss_weight": 0.0},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "r", "tool_call_id": "1", "name": "f"},
        {"role": "assistant", "content": "c", "train": false}]}))
    .unwrap();
    assert_eq!(
        spoken(&example.messages),
        [("system", "s"), ("user", "ab"), ("assistant", "-"), ("tool", "r"), ("assistant", "c")]
    );
    let weights: Vec<_> = example.messages.iter().map(|message| message.weight).collect();
    assert_eq!(weights, [None, Some(0.0), None, None, Some(0.0)]);
    assert_eq!(example.messages[3].tool_call_id.as_deref(), Some("1"));
}

#[test]
fn functions_are_the_older_spelling_of_tools() {
    let new = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "name": "f", "content": "b"},
        {"role": "assistant", "content": "c"}], "tools": [{"type": "function", "function": {"name": "f"}}]});
    let old = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "b"},
        {"role": "assistant", "content": "c"}], "functions": [{"name": "f"}]});
    assert_eq!(convert(new), convert(old));
}

#[test]
fn what_is_left_behind_in_turns_is_counted() {
    let mut record = record(json!({"messages": [
        {"role": "usr", "content": "a", "id": 7, "name": 3, "note": null, "tags": []},
        {"role": "gpt", "content": "b", "id": 8, "weight": 1}]}));
    let keys = TurnKeys::default();
    Shape::Messages.convert(&mut record, &keys).unwrap();
    let unread = keys.unread.into_inner();
    let counted = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, turns)| format!("{name}={turns}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(counted(&unread.keys), "id=2 name=1");
    assert_eq!(counted(&unread.roles), "gpt → assistant=1 usr → user=1");
}

#[test]
fn what_is_left_behind_in_calls_and_parts_is_counted() {
    let mut record = record(json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "x"}, "note": null}, "b"]},
        {"role": "assistant", "content": [], "function_call": null, "tool_calls": [
            {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 3.50}"}},
            {"index": 1, "id": "2", "type": "custom", "extra": "", "function": {"name": "f", "arguments": {}}}]},
        {"role": "assistant", "content": "c", "tool_calls": [], "function_call": {"id": "3", "name": "g", "note": 1}}]}));
    let keys = TurnKeys::default();
    let example = Shape::Messages.convert(&mut record, &keys).unwrap();
    let counted: Vec<_> = keys.unread.into_inner().keys.into_iter().collect();
    let expected = [("content[].cache_control", 1), ("tool_calls[].index", 2), ("tool_calls[].type", 1)];
    assert_eq!(counted, expected.map(|(key, turns)| (key.to_owned(), turns)));
    // A flat call's own keys stay with the function, aside from its id.
    let flat = r#"[{"id":"3","type":"function","function":{"name":"g","note":1}}]"#;
    assert_eq!(example.messages[2].tool_calls.as_deref(), Some(flat));
}

#[test]
fn what_does_not_fit_is_told() {
    let cases = [
        (json!({"messages": [{"role": "user", "content": "a"}]}), "expected a turn of the assistant"),
        (json!({"messages": [{"role": "narrator", "content": "a"}]}), "found `narrator`"),
        (json!({"messages": [{"speaker": "x", "text": "a"}]}), "--map role=...,content=..."),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "type `image_url`"),
        (json!({"messages": "hello"}), "found text"),
        (json!({"prompt": "a", "completion": 1.25e22}), "put it in quotes"),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [
                {"name": "f", "arguments": "{\"id\": [123456789012345678901234]}"}]}]}),
            "in the arguments of a call, found a longer one, of which 1.2345678901234569e+23 is left",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "a"}],
                "tools": "[{\"name\": \"f\", \"parameters\": {\"maximum\": 123456789012345678901234}}]"}),
            "in `tools`, found a longer one, of which 1.2345678901234569e+23 is left",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{\"a\": 1, \"a\": 2}"}]}]}),
            "expected arguments as JSON, found the key `a` twice",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "a"}], "tools": "[{\"name\": \"f\", \"name\": \"g\"}]"}),
            "`tools`: expected JSON, found the key `name` twice",
        ),
        (json!({"prompt": "a", "completion": ["b", "c"]}), "COLUMN[]"),
        (json!({"messages": [{"role": "assistant", "content": "a", "weight": -1}]}), "from 0 up"),
        (
            json!({"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]}),
            "`reasoning_content` would be lost",
        ),
        (json!({"messages": [{"role": "user", "content": "a", "images": ["b"]}]}), "only text can be learnt from"),
    ];
    for (value, expected) in cases {
        let misfit = convert(value).unwrap_err();
        assert!(misfit.detail.contains(expected), "{} lacks {expected}", misfit.detail);
    }
}

#[test]
fn prompt_and_completion_with_and_without_system() {
    let plain = convert(json!({"prompt": "a", "completion": "b"})).unwrap();
    assert_eq!((plain.kind, spoken(&plain.messages)), (Kind::Completion, vec![("user", "a"), ("assistant", "b")]));
    let chat = convert(json!({"prompt": "a", "completion": "b", "system": "s"})).unwrap();
    assert_eq!((chat.kind, chat.messages.len()), (Kind::Chat, 3));
    let turns = convert(
        json!({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}),
    );
    assert_eq!(turns.unwrap().kind, Kind::Chat);
    assert_eq!(convert(json!({"prompt": "", "completion": "b"})).unwrap_err().code, Code::Empty);
}

#[test]
fn preference_as_texts_turns_and_common_beginning() {
    let texts = convert(json!({"prompt": "q", "chosen": "a", "rejected": "b"})).unwrap();
    let sharegpt = convert(json!({"conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}))
    .unwrap();
    let turns = |answer| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]);
    let implicit = convert(json!({"chosen": turns("a"), "rejected": turns("b")})).unwrap();
    assert_eq!(texts, sharegpt);
    assert_eq!(texts, implicit);
    assert!(convert(json!({"prompt": "q", "chosen": "a", "rejected": "a"})).is_err());
    assert!(convert(json!({"chosen": "a", "rejected": "b"})).unwrap_err().missing);
}

#[test]
fn advice_names_the_mapping() {
    let cases = [
        (json!({"question": "q", "answer": "a"}), "prompt-completion, by --map prompt=question,completion=answer"),
        (json!({"QUESTION": "q", "LONG": "x", "final_decision": "yes"}), "prompt=QUESTION,completion=final_decision"),
        (json!({"dialog": [{"role": "user", "content": "a"}]}), "messages, by --map messages=dialog"),
        (json!({"turns": [{"speaker": "a", "text": "b"}]}), "messages=turns,role=speaker,content=text"),
        (json!({"data": [{"q": "a"}], "version": "1"}), "--records 'data[]'"),
        (
            json!({"question": "q", "preferred": "a", "dispreferred": "b"}),
            "prompt=question,chosen=preferred,rejected=dispreferred",
        ),
        (json!({"story": "s"}), "text, by --map text=story"),
        (json!({"foo": "s", "bar": "t"}), "prompt=foo,completion=bar"),
    ];
    for (value, expected) in cases {
        let advice = advise(&record(value));
        assert!(advice.contains(expected), "{advice} lacks {expected}");
    }
}
