//! How byte-level tokenizers cut text into words before they merge, and what llama.cpp calls each way.

use serde_json::{Value, json};

/// llama.cpp's name; the way of cutting.
const WAYS: [(&str, Cut); 4] = [
    ("gpt-2", Cut::Plain),
    ("smollm", Cut::DigitsFirst),
    (
        "qwen2",
        Cut::Pattern(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ),
    (
        "llama-bpe",
        Cut::Pattern(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ),
];

/// Other names that llama.cpp has for the same ways.
const ALIASES: [(&str, &str); 4] =
    [("default", "gpt-2"), ("llama3", "llama-bpe"), ("llama-v3", "llama-bpe"), ("deepseek-r1-qwen", "qwen2")];

enum Cut {
    /// GPT-2's own pattern.
    Plain,
    /// Each digit apart, then GPT-2's pattern.
    DigitsFirst,
    /// A pattern.
    Pattern(&'static str),
}

/// The name of the way in a `tokenizer.json`.
pub(super) fn name_of(tokenizer: &Value) -> Option<&'static str> {
    let found = &tokenizer["pre_tokenizer"];
    WAYS.iter().find(|(_, cut)| cut.is(found)).map(|(name, _)| *name)
}

/// Every name.
pub(super) fn names() -> String {
    WAYS.map(|(name, _)| name).join(", ")
}

/// The `pre_tokenizer` and `normalizer` of a name, and whether whole words of the vocabulary need no merges.
pub(super) fn of_name(name: &str) -> Option<(Value, Value, bool)> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    let (name, cut) = WAYS.iter().find(|(own, _)| *own == name)?;
    let normalizer = if *name == "qwen2" { json!({"type": "NFC"}) } else { Value::Null };
    Some((cut.to_json(), normalizer, *name == "llama-bpe"))
}

fn bytes(cut: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cut})
}

impl Cut {
    fn to_json(&self) -> Value {
        let sequence = |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
        match self {
            Self::Plain => bytes(true),
            Self::DigitsFirst => sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true)),
            Self::Pattern(pattern) => sequence(
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
                bytes(false),
            ),
        }
    }

    fn is(&self, found: &Value) -> bool {
        let is_bytes = |value: &Value, cut: bool| {
            value["type"] == "ByteLevel"
                && value["add_prefix_space"] == false
                && value["use_regex"].as_bool().unwrap_or(true) == cut
        };
        let parts = found["pretokenizers"].as_array().map(Vec::as_slice);
        match (self, parts) {
            (Self::Plain, None) => is_bytes(found, true),
            (Self::DigitsFirst, Some([digits, level])) => {
                digits["type"] == "Digits" && digits["individual_digits"] == true && is_bytes(level, true)
            }
            (Self::Pattern(pattern), Some([split, level])) => {
                split["type"] == "Split"
                    && split["pattern"]["Regex"] == *pattern
                    && split["behavior"] == "Isolated"
                    && split["invert"] != true
                    && is_bytes(level, false)
            }
            _ => false,
        }
    }
}
