//! Shapes: the fields by which data sets for tuning spell an example, and how each becomes one.

mod alpaca;
mod explain;
mod preference;
mod prompt_completion;
mod tools;
mod turns;
mod unread;

pub use explain::{advise, advise_prompt, describe, warn_unused};
pub use turns::TurnKeys;
pub use unread::Unread;

use artifact::{Code, Example, Kind, Message};
use serde_json::Value;

use crate::records::{Record, kind_of};

/// A spelling of examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A prompt with a `chosen` and a `rejected` answer.
    Preference,
    /// `messages`: a list of turns with `role` and `content`.
    Messages,
    /// `conversations`: a list of turns with `from` and `value`.
    Sharegpt,
    /// `instruction`, `input`, `output`, `system`, `history`.
    Alpaca,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `text`.
    Text,
}

/// Why a record is no example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// [`Code::BadRecord`] or [`Code::Empty`].
    pub code: Code,
    /// What was expected and found.
    pub detail: String,
    /// Whether a field that the shape needs is not there at all, so that another shape or a mapping may help.
    pub missing: bool,
}

impl Misfit {
    fn bad(detail: impl Into<String>) -> Self {
        Self { code: Code::BadRecord, detail: detail.into(), missing: false }
    }

    fn empty(detail: impl Into<String>) -> Self {
        Self { code: Code::Empty, detail: detail.into(), missing: false }
    }

    fn missing(field: &str) -> Self {
        Self {
            code: Code::BadRecord,
            detail: format!("expected the field `{field}`, which is not there or null"),
            missing: true,
        }
    }
}

impl Shape {
    /// All, the most telling first: a record that fits several is of the first.
    pub const ALL: [Self; 6] =
        [Self::Preference, Self::Messages, Self::Sharegpt, Self::Alpaca, Self::PromptCompletion, Self::Text];

    /// The word for it on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preference => "preference",
            Self::Messages => "messages",
            Self::Sharegpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::PromptCompletion => "prompt-completion",
            Self::Text => "text",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == word)
    }

    /// The fields that tell it, each of which must be there.
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Self::Preference => &["chosen", "rejected"],
            Self::Messages => &["messages"],
            Self::Sharegpt => &["conversations"],
            Self::Alpaca => &["instruction", "output"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Text => &["text"],
        }
    }

    /// All fields that it makes use of.
    pub fn used(self) -> &'static [&'static str] {
        match self {
            Self::Preference => &[
                "prompt",
                "chosen",
                "rejected",
                "messages",
                "conversations",
                "system",
                "tools",
                "functions",
                "instruction",
                "input",
            ],
            Self::Messages => &["messages", "system", "tools", "functions", "kind"],
            Self::Sharegpt => &["conversations", "system", "tools", "functions"],
            Self::Alpaca => &["instruction", "input", "output", "system", "history", "tools", "functions"],
            Self::PromptCompletion => &["prompt", "completion", "system", "tools", "functions"],
            Self::Text => &["text"],
        }
    }

    /// The shape of a record, from its fields.
    pub fn detect(record: &Record) -> Option<Self> {
        // Tables have a column in every row: an empty list there is nothing, as null is.
        let nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let there = |name: &&str| record.get(name).is_some_and(|value| !nothing(value));
        Self::ALL.into_iter().find(|shape| shape.required().iter().all(there))
    }

    /// The first of the required fields that the record has not, or has without a value.
    pub fn lacks(self, record: &Record) -> Option<Misfit> {
        let lacking = |field: &&&str| record.get(field).is_none_or(Value::is_null);
        self.required().iter().find(lacking).map(|field| Misfit::missing(field))
    }

    /// Makes the record an example without identity and origin.
    ///
    /// # Errors
    /// What does not fit.
    pub fn convert(self, record: &mut Record, keys: &TurnKeys) -> Result<Example, Misfit> {
        match self {
            Self::Text => {
                let text = take_text(record, "text")?;
                if text.trim().is_empty() {
                    return Err(Misfit::empty("`text` is empty"));
                }
                Ok(Example { text: Some(text), ..blank(Kind::Text) })
            }
            Self::Alpaca => alpaca::convert(record),
            Self::PromptCompletion => prompt_completion::convert(record, keys),
            Self::Preference => preference::convert(record, keys),
            Self::Messages => {
                let example = chat(record, "messages", keys)?;
                Ok(if is_completion(record, &example) {
                    Example { kind: Kind::Completion, ..example }
                } else {
                    example
                })
            }
            Self::Sharegpt => chat(record, "conversations", keys),
        }
    }
}

/// An example of nothing yet.
fn blank(kind: Kind) -> Example {
    Example {
        id: String::new(),
        kind,
        messages: Vec::new(),
        tools: None,
        text: None,
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: String::new(),
        source_row: 0,
        extra: Vec::new(),
    }
}

fn chat(record: &mut Record, field: &str, keys: &TurnKeys) -> Result<Example, Misfit> {
    let turns = take(record, field).ok_or_else(|| Misfit::missing(field))?;
    let mut messages = turns::parse(field, turns, keys)?;
    prepend_system(record, &mut messages)?;
    finish_chat(record, messages)
}

/// Whether the record is a completion that was written as an example before.
fn is_completion(record: &Record, example: &Example) -> bool {
    let roles = example.messages.iter().map(|message| message.role.as_str());
    record.get("kind").and_then(Value::as_str) == Some("completion") && roles.eq(["user", "assistant"])
}

/// A conversation to learn from: checks the turns and adds the tools.
fn finish_chat(record: &mut Record, messages: Vec<Message>) -> Result<Example, Misfit> {
    check_turns(&messages)?;
    if !messages.iter().any(|message| message.role == "assistant") {
        let roles = messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Misfit::bad(format!("expected a turn of the assistant to learn from, found the roles: {roles}")));
    }
    let tools = take_tools(record)?;
    Ok(Example { messages, tools, ..blank(Kind::Chat) })
}

/// Turns of user and assistant must say something.
fn check_turns(messages: &[Message]) -> Result<(), Misfit> {
    if messages.is_empty() {
        return Err(Misfit::empty("the conversation has no turn"));
    }
    for (index, message) in messages.iter().enumerate() {
        let silent = message.content.as_deref().is_none_or(|content| content.trim().is_empty());
        if silent && message.tool_calls.is_none() && matches!(message.role.as_str(), "user" | "assistant") {
            return Err(Misfit::empty(format!("turn {} ({}) is empty", index + 1, message.role)));
        }
    }
    Ok(())
}

/// A `system` field goes before the turns, unless they begin with a system turn.
fn prepend_system(record: &mut Record, messages: &mut Vec<Message>) -> Result<(), Misfit> {
    if let Some(system) = take_optional_text(record, "system")?
        && !system.trim().is_empty()
        && messages.first().is_none_or(|first| first.role != "system")
    {
        messages.insert(0, Message::new("system", system));
    }
    Ok(())
}

fn take_tools(record: &mut Record) -> Result<Option<String>, Misfit> {
    // `functions` is the older spelling.
    let tools = take(record, "tools").or_else(|| take(record, "functions"));
    tools.map_or(Ok(None), |tools| tools::list(tools).map_err(Misfit::bad))
}

/// Takes a field out, or copies a parent's; null counts as absent.
fn take(record: &mut Record, field: &str) -> Option<Value> {
    let value = match record.fields.get_mut(field) {
        Some(own) => own.take(),
        None => record.get(field)?.clone(),
    };
    Some(value).filter(|value| !value.is_null())
}

fn take_text(record: &mut Record, field: &str) -> Result<String, Misfit> {
    take_optional_text(record, field)?.ok_or_else(|| Misfit::missing(field))
}

fn take_optional_text(record: &mut Record, field: &str) -> Result<Option<String>, Misfit> {
    take(record, field).map(|value| text_of(field, value)).transpose()
}

/// Text as it is; numbers and truth values as they are written. A list or object has no one spelling as text.
fn text_of(field: &str, value: Value) -> Result<String, Misfit> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) if is_rounded(&number) => Err(Misfit::bad(format!(
            "`{field}`: expected text or a number of 64 bits, found a longer one, of which {number} is left; \
             put it in quotes"
        ))),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(_) => Err(Misfit::bad(format!(
            "`{field}`: expected text, found a list; map one element as COLUMN[0] or all of them as COLUMN[]"
        ))),
        other => {
            Err(Misfit::bad(format!("`{field}`: expected text, found {}; map a field inside it", kind_of(&other))))
        }
    }
}

/// Whether a number was probably written with more digits than are left of it.
fn is_rounded(number: &serde_json::Number) -> bool {
    number.is_f64() && number.as_f64().is_some_and(|value| value.fract() == 0.0 && value.abs() >= 2f64.powi(63))
}

#[cfg(test)]
mod tests;
