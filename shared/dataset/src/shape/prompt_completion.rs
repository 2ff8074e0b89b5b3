//! Prompt and completion: two texts joined as they are, or a prompt of several turns and the answer to it.

use artifact::{Example, Kind, Message};
use serde_json::Value;

use super::{Misfit, TurnKeys, blank, finish_chat, prepend_system, take, text_of, turns};
use crate::records::Record;

/// Two texts are a completion; with a system text, tools, or turns it is a conversation.
pub(super) fn convert(record: &mut Record, keys: &TurnKeys) -> Result<Example, Misfit> {
    let prompt = take(record, "prompt").ok_or_else(|| Misfit::missing("prompt"))?;
    let completion = take(record, "completion").ok_or_else(|| Misfit::missing("completion"))?;
    let has_turns = is_turns(&prompt) || is_turns(&completion);
    let mut messages = side("prompt", "user", prompt, keys)?;
    messages.extend(side("completion", "assistant", completion, keys)?);
    let turns = messages.len();
    prepend_system(record, &mut messages)?;
    let has_tools = record.get("tools").is_some_and(|tools| !tools.is_null());
    if has_turns || has_tools || messages.len() > turns {
        return finish_chat(record, messages);
    }
    for (message, field) in messages.iter().zip(["prompt", "completion"]) {
        if message.content.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(Misfit::empty(format!("`{field}` is empty")));
        }
    }
    Ok(Example { messages, ..blank(Kind::Completion) })
}

/// Only a list of objects is turns, so that a list of texts is told as what it is.
fn is_turns(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.first().is_none_or(Value::is_object),
        other => other.is_object(),
    }
}

/// Text is one turn of `role`; a list of objects or an object is turns.
pub(super) fn side(field: &str, role: &str, value: Value, keys: &TurnKeys) -> Result<Vec<Message>, Misfit> {
    if is_turns(&value) {
        turns::parse(field, value, keys)
    } else {
        Ok(vec![Message::new(role, text_of(field, value)?)])
    }
}
