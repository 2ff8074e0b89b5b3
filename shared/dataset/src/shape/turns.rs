//! Turns of a conversation, in each of the spellings in use.

use std::cell::RefCell;

use artifact::Message;
use serde_json::{Map, Value};

use super::{Misfit, Unread, text_of, tools};
use crate::records::{kind_of, parse_json};

/// The keys of a turn, where `--map role=...,content=...` names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnKeys {
    /// Key of the speaker.
    pub role: Option<String>,
    /// Key of what was said.
    pub content: Option<String>,
    /// What was left behind in turns so far.
    pub unread: RefCell<Unread>,
}

/// Who speaks, from any of the words in use.
enum Speaker {
    Role(&'static str),
    /// The assistant, whose text is the call of a tool.
    Call,
}

fn speaker(word: &str) -> Option<Speaker> {
    // `<|user|>`, `Function-Call` and `tool call` are spellings of the same words.
    let word = word.trim().trim_start_matches("<|").trim_end_matches("|>").to_lowercase().replace(['-', ' '], "_");
    Some(Speaker::Role(match word.as_str() {
        "system" | "developer" | "system_prompt" => "system",
        "user" | "human" | "prompter" | "usr" | "question" | "customer" | "client" => "user",
        "assistant" | "gpt" | "chatgpt" | "chat_gpt" | "gpt4" | "gpt_4" | "model" | "bot" | "chatbot" | "ai"
        | "llm" | "bing" | "bard" | "claude" | "gemini" | "agent" | "answer" => "assistant",
        "tool" | "function" | "observation" | "tool_response" | "tool_result" | "tool_results" | "tool_output"
        | "function_response" | "function_result" | "function_output" | "ipython" | "environment" => "tool",
        "function_call" | "tool_call" | "tool_calls" | "function_calls" => return Some(Speaker::Call),
        _ => return None,
    }))
}

/// Parses a list of turns, or a single turn.
pub(super) fn parse(field: &str, value: Value, keys: &TurnKeys) -> Result<Vec<Message>, Misfit> {
    match value {
        Value::Array(turns) => {
            turns.into_iter().enumerate().map(|(index, turn)| one(field, index, turn, keys)).collect()
        }
        Value::Object(_) => Ok(vec![one(field, 0, value, keys)?]),
        // Tables such as CSV hold lists as JSON text.
        Value::String(text) if text.trim_start().starts_with('[') => {
            let turns = parse_json(&text, "a list of turns as JSON");
            parse(field, turns.map_err(|wrong| Misfit::bad(format!("`{field}`: {}", wrong.detail)))?, keys)
        }
        other => Err(Misfit::bad(format!("`{field}`: expected a list of turns, found {}", kind_of(&other)))),
    }
}

fn one(field: &str, index: usize, turn: Value, keys: &TurnKeys) -> Result<Message, Misfit> {
    let number = index + 1;
    let Value::Object(mut turn) = turn else {
        let found = kind_of(&turn);
        return Err(Misfit::bad(format!(
            "`{field}`, turn {number}: expected an object with role and content, found {found}"
        )));
    };
    let found = turn.keys().cloned().collect::<Vec<_>>().join(", ");
    let role = named(&mut turn, keys.role.as_deref(), ["role", "from"]);
    let content = named(&mut turn, keys.content.as_deref(), ["content", "value"]);
    let Some(Value::String(role)) = role else {
        let expected = keys.role.as_deref().map_or("`role` or `from`".to_owned(), |key| format!("`{key}`"));
        return Err(Misfit::bad(format!(
            "`{field}`, turn {number}: expected the speaker as {expected}, found the keys: {found}; \
             name them with --map role=...,content=..."
        )));
    };
    let within = |misfit: Misfit| Misfit { detail: format!("`{field}`, turn {number}: {}", misfit.detail), ..misfit };
    let message = match speaker(&role) {
        Some(Speaker::Role(role)) => spoken(role, content, &mut turn, keys),
        Some(Speaker::Call) => called(content, keys),
        None => Err(Misfit::bad(format!(
            "expected the role system, user, assistant or tool (or human, gpt, function_call, observation), found `{role}`"
        ))),
    };
    heard(&turn).map_err(within)?;
    let weight = weight(&turn).map_err(within)?;
    let message = message.map_err(within)?;
    let mut unread = keys.unread.borrow_mut();
    if role != message.role {
        unread.role(&role, &message.role);
    }
    let left = turn.iter().filter(|(key, value)| !nothing(value) && !WEIGHTS.contains(&key.as_str()));
    left.for_each(|(key, _)| unread.key(key));
    Ok(Message { weight, ..message })
}

fn named(turn: &mut Map<String, Value>, key: Option<&str>, known: [&str; 2]) -> Option<Value> {
    let key = key.or_else(|| known.into_iter().find(|known| turn.contains_key(*known)))?;
    turn.get_mut(key).map(Value::take)
}

fn spoken(
    role: &str,
    content: Option<Value>,
    turn: &mut Map<String, Value>,
    keys: &TurnKeys,
) -> Result<Message, Misfit> {
    let mut unread = keys.unread.borrow_mut();
    let content = content.filter(|value| !value.is_null());
    let content = content.map(|content| text_of_parts(content, &mut unread)).transpose()?;
    let mut text = |key: &str| match turn.get_mut(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(std::mem::take(text)),
        _ => None,
    };
    let (name, tool_call_id) = (text("name"), text("tool_call_id"));
    let mut calls = |key: &str| turn.get_mut(key).map(Value::take).filter(|calls| !nothing(calls));
    let calls = calls("tool_calls").or_else(|| calls("function_call"));
    let tool_calls = calls.map_or(Ok(None), |calls| tools::calls(calls, &mut unread)).map_err(Misfit::bad)?;
    if content.is_none() && tool_calls.is_none() && role != "tool" {
        return Err(Misfit::empty(format!("nothing is said ({role})")));
    }
    Ok(Message { role: role.into(), content, name, tool_calls, tool_call_id, weight: None })
}

/// A sharegpt turn whose text is a call or a list of calls as JSON.
fn called(content: Option<Value>, keys: &TurnKeys) -> Result<Message, Misfit> {
    let mut unread = keys.unread.borrow_mut();
    let tool_calls = tools::calls(content.unwrap_or_default(), &mut unread).map_err(Misfit::bad)?;
    if tool_calls.is_none() {
        return Err(Misfit::empty("a function call without a function"));
    }
    Ok(Message { role: "assistant".into(), tool_calls, ..Message::default() })
}

/// Content of several parts is the text of its parts, one after the other. What else a part holds is counted.
fn text_of_parts(content: Value, unread: &mut Unread) -> Result<String, Misfit> {
    let Value::Array(parts) = content else { return text_of("content", content) };
    let mut text = String::new();
    for part in parts {
        match part {
            Value::String(part) => text.push_str(&part),
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                let value = ["text", "value", "content"].iter().find_map(|key| Some((*key, part.get(*key)?.as_str()?)));
                match (kind, value) {
                    ("text" | "input_text" | "output_text", Some((taken, value))) => {
                        text.push_str(value);
                        let left =
                            part.iter().filter(|(key, value)| *key != taken && *key != "type" && !nothing(value));
                        left.for_each(|(key, _)| unread.key(&format!("content[].{key}")));
                    }
                    _ => return Err(Misfit::bad(format!("a part of type `{kind}`: only text can be learnt from"))),
                }
            }
            other => return Err(Misfit::bad(format!("a part of the content is {}, expected text", kind_of(&other)))),
        }
    }
    Ok(text)
}

/// Refuses what is said beside the content and would be lost: thoughts, pictures and sound.
fn heard(turn: &Map<String, Value>) -> Result<(), Misfit> {
    let lost = ["reasoning_content", "reasoning", "thinking", "images", "audio"];
    match lost.into_iter().find(|key| turn.get(*key).is_some_and(|value| !nothing(value))) {
        None => Ok(()),
        Some(key @ ("images" | "audio")) => Err(Misfit::bad(format!("`{key}`: only text can be learnt from"))),
        Some(key) => Err(Misfit::bad(format!(
            "`{key}` would be lost: write it into the content as the model spells it, such as <think>…</think>, or leave it out"
        ))),
    }
}

/// Whether a value says nothing.
pub(super) fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The keys of a turn's weight.
const WEIGHTS: [&str; 3] = ["weight", "loss_weight", "train"];

/// How much a turn counts: `weight` or `loss_weight` as a number, `train` as true or false.
fn weight(turn: &Map<String, Value>) -> Result<Option<f32>, Misfit> {
    for key in WEIGHTS {
        let weight = match turn.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Bool(train)) => f64::from(u8::from(*train)),
            Some(value) => value.as_f64().unwrap_or(f64::NAN),
        };
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Misfit::bad(format!("`{key}`: expected a number from 0 up, found {}", turn[key])));
        }
        return Ok(Some(weight as f32));
    }
    Ok(None)
}
