//! The fast path of byte-level BPE against the tokenizers library: ids and offsets of every row of the reference data
//! sets, and of random text that goes through all of Unicode, for every pattern that is known.

use crate::reference;
use encoding::{Specials, Tokenizer, TokenizerFacts};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

const ANY_CASE: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES: &str = r"|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Regular expressions as models' own files have them.
fn patterns() -> Vec<(&'static str, String)> {
    let first = r"[^\r\n\p{L}\p{N}]?";
    let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
    vec![
        ("gpt2", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+".into()),
        ("llama3", format!(r"{ANY_CASE}|{first}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{SPACES}")),
        ("qwen2", format!(r"{ANY_CASE}|{first}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{SPACES}")),
        (
            "qwen3.5",
            format!(r"{ANY_CASE}|{first}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{SPACES}"),
        ),
        (
            "o200k",
            format!(
                r"{first}{upper}*{lower}+{ANY_CASE}?|{first}{upper}+{lower}*{ANY_CASE}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{SPACES}"
            ),
        ),
        (
            "tekken",
            format!(r"{first}{upper}*{lower}+|{first}{upper}+{lower}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{SPACES}"),
        ),
    ]
}

/// The vocabulary of Qwen2 under each pattern, with and without words before merges, and with digits cut first.
fn tokenizers() -> Option<Vec<(String, Tokenizer)>> {
    let mut all = Vec::new();
    for folder in ["tokenizers/gpt2", "tokenizers/qwen2", "models/tinystories-chat-3M"] {
        all.push((folder.to_owned(), Tokenizer::open(&reference(folder)?).unwrap()));
    }
    let text = std::fs::read_to_string(reference("tokenizers/qwen2")?.join("tokenizer.json")).unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    for (index, (name, regex)) in patterns().into_iter().enumerate() {
        let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let mut rules = vec![split, byte_level.clone()];
        if index % 3 == 1 {
            rules.insert(0, json!({"type": "Digits", "individual_digits": true}));
        }
        let mut changed = description.clone();
        changed["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": rules});
        changed["model"]["ignore_merges"] = json!(index % 2 == 1);
        if index % 2 == 0 {
            changed["normalizer"] = Value::Null;
        }
        let tokenizer = Tokenizer::from_json(changed.to_string(), TokenizerFacts::default()).unwrap();
        all.push((name.to_owned(), tokenizer));
    }
    for (name, tokenizer) in &all {
        assert!(tokenizer.has_fast_path(), "{name}");
    }
    Some(all)
}

fn compare(name: &str, tokenizer: &Tokenizer, text: &str) {
    let fast = tokenizer.encode(text, Specials::None).unwrap();
    let library = tokenizer.encode_by_library(text, Specials::None).unwrap();
    assert!(fast.ids == library.ids, "{name}: ids of {text:?}\n{:?}\n{:?}", fast.ids, library.ids);
    assert!(
        fast.characters == library.characters,
        "{name}: offsets of {text:?}\n{:?}\n{:?}",
        fast.characters,
        library.characters
    );
}

fn character() -> impl Strategy<Value = String> {
    let known = [
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "\u{85}",
        "\u{3000}",
        "\u{2028}",
        "\u{200b}",
        "\u{b}",
        "'",
        "'s",
        "'S",
        "'ſ",
        "'ll",
        "'Ve",
        "'RE",
        "'d",
        "’s",
        "a",
        "Z",
        "hello",
        "World",
        "HTTPServer",
        "1",
        "12345",
        "½",
        "٣",
        "é",
        "e\u{301}",
        "ﬁ",
        "한국",
        "\u{1112}\u{1161}\u{11ab}",
        "日本語",
        "ไทย",
        "नमस्ते",
        "عربي",
        "😀",
        "👩‍👩‍👧",
        "🇩🇪",
        "\u{0}",
        "\u{7f}",
        "\u{feff}",
        "\u{fffd}",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|endof",
        "|>",
        "...",
        "!!",
        "//",
        "/\n",
        "ǅ",
        "ʰ",
        "_",
        "-",
        "𝔘",
        "İ",
        "ß",
    ];
    prop_oneof![
        6 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        2 => (0u32..0x3000).prop_filter_map("a character", char::from_u32).prop_map(String::from),
        1 => (prop::sample::select(vec!["ab", " ", "\n", "9", "-", "aB"]), 1usize..200).prop_map(|(piece, n)| piece.repeat(n)),
    ]
}

#[test]
fn random_text_encodes_as_by_the_library() {
    let Some(all) = tokenizers() else { return };
    let text = prop::collection::vec(character(), 0..24).prop_map(|pieces| pieces.concat());
    proptest!(ProptestConfig::with_cases(1500), |(text in text)| {
        for (name, tokenizer) in &all {
            compare(name, tokenizer, &text);
        }
    });
}

#[test]
fn characters_of_all_blocks_encode_as_by_the_library() {
    let Some(all) = tokenizers() else { return };
    // All of the alphabets and symbols; of the ideographs, private and unassigned ones every 61st.
    let wanted = |character: &char| *character < '\u{3400}' || (*character as u32).is_multiple_of(61);
    let characters: Vec<char> = ('\0'..=char::MAX).filter(wanted).collect();
    for (chunk, (name, tokenizer)) in characters.chunks(1024).zip(all.iter().cycle()) {
        // Between letters, and after a space, and before digits; a thousand characters at once.
        let around = |character: &char| ['a', *character, *character, ' ', *character, '1'];
        let text: String = chunk.iter().flat_map(around).collect();
        compare(name, tokenizer, &text);
    }
}

#[test]
fn every_row_of_the_reference_data_encodes_as_by_the_library() {
    let (Some(all), Some(root)) = (tokenizers(), reference("datasets")) else { return };
    let mut rows = 0;
    for file in files(&root) {
        let Some(text) = read(&file) else { continue };
        for (index, line) in text.split_inclusive('\n').enumerate() {
            // Each row by two of the tokenizers, in turn: all of them see every data set.
            for (name, tokenizer) in all.iter().cycle().skip(index % all.len()).take(2) {
                compare(name, tokenizer, line);
            }
            rows += 1;
        }
        compare(&all[0].0, &all[0].1, &text[..text.floor_char_boundary(300_000)]);
    }
    assert!(rows > 50_000, "{rows} rows");
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Text of a file, unpacked where it is; long single-line JSON is read as the strings in it.
fn read(file: &Path) -> Option<String> {
    let bytes = std::fs::read(file).unwrap();
    if file.extension().is_some_and(|extension| extension == "gz") {
        // Unpacked by the system's own program: this crate reads no compressed files.
        let output = std::process::Command::new("gzip").args(["-dc"]).arg(file).output().ok()?;
        return String::from_utf8(output.stdout).ok();
    }
    let text = String::from_utf8(bytes).ok()?;
    match file.extension().is_some_and(|extension| extension == "json") {
        true => Some(strings(&serde_json::from_str(&text).unwrap())),
        false => Some(text),
    }
}

fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(strings).collect(),
        Value::Object(entries) => entries.values().map(strings).collect(),
        _ => String::new(),
    }
}
