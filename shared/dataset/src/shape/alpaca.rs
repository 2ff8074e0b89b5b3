//! Alpaca: `instruction`, optional `input`, `output`, optional `system` and `history` of earlier rounds.

use artifact::{Example, Message};
use serde_json::Value;

use super::{Misfit, finish_chat, prepend_system, take, take_optional_text, take_text};
use crate::records::Record;

/// A conversation: the history's rounds, then instruction and input as the user's turn, then the output.
pub(super) fn convert(record: &mut Record) -> Result<Example, Misfit> {
    let instruction = take_text(record, "instruction")?;
    let input = take_optional_text(record, "input")?.unwrap_or_default();
    let output = take_text(record, "output")?;
    let mut messages = history(take(record, "history"))?;
    messages.push(Message::new("user", join(instruction, &input)));
    messages.push(Message::new("assistant", output));
    prepend_system(record, &mut messages)?;
    finish_chat(record, messages)
}

/// The instruction, and below it what it applies to.
pub(super) fn join(instruction: String, input: &str) -> String {
    match (instruction.trim().is_empty(), input.trim().is_empty()) {
        (_, true) => instruction,
        (true, false) => input.to_owned(),
        (false, false) => format!("{instruction}\n{input}"),
    }
}

fn history(value: Option<Value>) -> Result<Vec<Message>, Misfit> {
    let expected = || Misfit::bad("`history`: expected a list of [user, assistant] pairs of text");
    let rounds = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| expected())?,
        Some(Value::Array(rounds)) => rounds,
        Some(_) => return Err(expected()),
    };
    let mut messages = Vec::with_capacity(rounds.len() * 2);
    for round in rounds {
        let Some([Value::String(user), Value::String(assistant)]) = round.as_array().map(Vec::as_slice) else {
            return Err(expected());
        };
        messages.push(Message::new("user", user.as_str()));
        messages.push(Message::new("assistant", assistant.as_str()));
    }
    Ok(messages)
}
