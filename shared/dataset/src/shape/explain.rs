//! Advice for records that fit no shape: the nearest one, and the `--map` or `--records` that would get there.

use serde_json::Value;

use super::Shape;
use crate::records::{Record, as_text};

/// Names that stand for a prompt, the more telling first.
const PROMPTS: [&str; 11] = [
    "prompt",
    "question",
    "query",
    "instruction",
    "input",
    "source",
    "text",
    "sentence",
    "context",
    "dialogue",
    "title",
];
/// Names that stand for a completion, the more telling first.
const COMPLETIONS: [&str; 14] = [
    "completion",
    "answer",
    "response",
    "output",
    "target",
    "reply",
    "final_decision",
    "label",
    "category",
    "class",
    "intent",
    "summary",
    "translation",
    "value",
];
/// The first of them are of answers; the others may be of something beside one.
const ANSWERS: usize = 6;
/// Names that stand for running text.
const TEXTS: [&str; 6] = ["text", "content", "body", "document", "article", "story"];
/// Names that stand for a better and a worse answer.
const PREFERRED: [(&str, &str); 4] =
    [("chosen", "rejected"), ("preferred", "dispreferred"), ("better", "worse"), ("winner", "loser")];

/// The keys of a record for a message, the long lists cut.
pub fn describe(record: &Record) -> String {
    const SHOWN: usize = 20;
    let names: Vec<&str> = record.names().collect();
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

/// The nearest shape and how to get there, as a sentence; empty where nothing comes near.
pub fn advise(record: &Record) -> String {
    if let Some(shape) = Shape::detect(record) {
        return format!("nearest shape: {}, by --format {}", shape.as_str(), shape.as_str());
    }
    if let Some(advice) = turns(record).or_else(|| preference(record)) {
        return advice;
    }
    let prompt = named(record, &PROMPTS, &[]);
    if let (Some(prompt), Some(answer)) = (&prompt, named(record, &COMPLETIONS[..ANSWERS], &[])) {
        return map(Shape::PromptCompletion, &format!("prompt={prompt},completion={answer}"));
    }
    if let Some(advice) = without_value(record) {
        return advice;
    }
    let completion = named(record, &COMPLETIONS, &[]);
    if let (Some(prompt), Some(completion)) = (prompt, completion) {
        return map(Shape::PromptCompletion, &format!("prompt={prompt},completion={completion}"));
    }
    if let Some(list) = list_of_objects(record) {
        return format!("the records seem to lie inside `{list}`: --records '{list}[]'");
    }
    if let Some(text) = named(record, &TEXTS, &[]) {
        return map(Shape::Text, &format!("text={text}"));
    }
    let texts: Vec<&str> = record.names().filter(|name| is_text(record, name)).collect();
    match texts[..] {
        [] => String::new(),
        [only] => map(Shape::Text, &format!("text={only}")),
        [first, second, ..] => map(Shape::PromptCompletion, &format!("prompt={first},completion={second}")),
    }
}

/// Where the prompt of a pair of answers may be, as a sentence; empty where nothing comes near.
pub fn advise_prompt(record: &Record) -> String {
    preference(record).unwrap_or_default()
}

/// A record that has the fields of a shape, one of them without a value, is of that shape: another would only learn
/// what is left of it.
fn without_value(record: &Record) -> Option<String> {
    let there = |shape: &Shape| shape.required().iter().all(|name| record.get(name).is_some());
    let shape = Shape::ALL.into_iter().find(there)?;
    let nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let name = shape.required().iter().find(|name| record.get(name).is_some_and(nothing))?;
    let found = if record.get(name).is_some_and(Value::is_null) { "null" } else { "an empty list" };
    Some(format!(
        "the fields are those of {}, with `{name}` {found}: fill it in, leave such rows out, or name the field that \
         holds it, --map {name}=...",
        shape.as_str()
    ))
}

/// A word about a column that would probably be missed: a text with its label beside it.
pub fn warn_unused(shape: Shape, unused: &[String]) -> Option<String> {
    let label = COMPLETIONS.iter().find_map(|name| unused.iter().find(|column| column.to_lowercase() == *name))?;
    (shape == Shape::Text)
        .then(|| format!("`{label}` is not used: to learn it from the text, --map prompt=text,completion={label}"))
}

fn map(shape: Shape, mapping: &str) -> String {
    format!("nearest shape: {}, by --map {mapping}", shape.as_str())
}

fn turns(record: &Record) -> Option<String> {
    let (name, turn) = record.names().find_map(|name| Some((name, first_object(record, name)?)))?;
    let has = |key: &str| turn.contains_key(key);
    if (has("role") && has("content")) || (has("from") && has("value")) {
        return Some(map(Shape::Messages, &format!("messages={name}")));
    }
    let key = |names: &[&'static str]| names.iter().copied().find(|key| has(key));
    let role = key(&["speaker", "role", "from", "author", "sender", "user"])?;
    let content = key(&["content", "text", "utterance", "message", "value"])?;
    Some(map(Shape::Messages, &format!("messages={name},role={role},content={content}")))
}

fn preference(record: &Record) -> Option<String> {
    let (better, worse) =
        PREFERRED.iter().find_map(|(better, worse)| Some((same(record, better)?, same(record, worse)?)))?;
    let prompt = named(record, &PROMPTS, &[&better, &worse])?;
    Some(map(Shape::Preference, &format!("prompt={prompt},chosen={better},rejected={worse}")))
}

fn first_object<'a>(record: &'a Record, name: &str) -> Option<&'a serde_json::Map<String, Value>> {
    record.get(name)?.as_array()?.first()?.as_object()
}

fn list_of_objects(record: &Record) -> Option<String> {
    record.names().find(|name| first_object(record, name).is_some()).map(str::to_owned)
}

/// The record's own spelling of `wanted`.
fn same(record: &Record, wanted: &str) -> Option<String> {
    record.names().find(|name| name.to_lowercase() == wanted).map(str::to_owned)
}

fn named(record: &Record, wanted: &[&str], not: &[&str]) -> Option<String> {
    let found = wanted.iter().filter_map(|wanted| same(record, wanted));
    let mut found = found.filter(|name| !not.contains(&name.as_str()) && is_text(record, name));
    found.next()
}

fn is_text(record: &Record, name: &str) -> bool {
    let plain = matches!(record.get(name), Some(Value::String(_) | Value::Number(_) | Value::Bool(_)));
    plain && record.get(name).is_some_and(|value| !as_text(value).is_empty())
}
