//! Tools and tool calls, brought to the form that chat templates expect: a list of
//! `{"type": "function", "function": {...}}`, arguments as an object.

use serde_json::{Map, Value, json};

use super::turns::nothing;
use super::{Unread, is_rounded};
use crate::records::{excerpt, kind_of, parse_json};

/// The tools of an example, as JSON text; `None` where the list is empty.
pub(super) fn list(value: Value) -> Result<Option<String>, String> {
    let Some(tools) = elements("tools", value)? else { return Ok(None) };
    let wrapped: Result<Vec<Value>, String> = tools
        .into_iter()
        .map(|tool| match tool {
            Value::Object(tool) if tool.contains_key("function") => Ok(Value::Object(tool)),
            Value::Object(tool) if tool.contains_key("name") => Ok(json!({"type": "function", "function": tool})),
            other => Err(format!("`tools`: expected a tool with a name, found {}", kind_of(&other))),
        })
        .collect();
    let tools = Value::Array(wrapped?);
    whole_numbers("`tools`", &tools)?;
    Ok(Some(tools.to_string()))
}

/// The calls of a turn, as JSON text; `None` where the list is empty.
/// Keys that no part of a call takes are counted in `unread`.
pub(super) fn calls(value: Value, unread: &mut Unread) -> Result<Option<String>, String> {
    let Some(calls) = elements("tool_calls", value)? else { return Ok(None) };
    let calls: Result<Vec<Value>, String> = calls.into_iter().map(|one| call(one, unread)).collect();
    Ok(Some(Value::Array(calls?).to_string()))
}

fn call(call: Value, unread: &mut Unread) -> Result<Value, String> {
    let Value::Object(mut call) = call else {
        return Err(format!("expected a call with name and arguments, found {}", kind_of(&call)));
    };
    let (id, kind) = (call.shift_remove("id"), call.shift_remove("type"));
    let function = match call.shift_remove("function") {
        Some(Value::Object(function)) => function,
        None if call.contains_key("name") => std::mem::take(&mut call),
        _ => return Err("expected a call with the function's name and arguments, found neither".into()),
    };
    if kind.is_some_and(|kind| !nothing(&kind) && kind != "function") {
        unread.key("tool_calls[].type");
    }
    call.iter().filter(|(_, value)| !nothing(value)).for_each(|(key, _)| unread.key(&format!("tool_calls[].{key}")));
    let mut whole = Map::new();
    if let Some(id) = id.filter(|id| !id.is_null()) {
        whole.insert("id".into(), id);
    }
    let function = with_object_arguments(function)?;
    function.get("arguments").map_or(Ok(()), |arguments| whole_numbers("the arguments of a call", arguments))?;
    whole.insert("type".into(), "function".into());
    whole.insert("function".into(), Value::Object(function));
    Ok(Value::Object(whole))
}

/// Refuses numbers that would be rounded.
fn whole_numbers(place: &str, value: &Value) -> Result<(), String> {
    match rounded(value) {
        None => Ok(()),
        Some(number) => Err(format!(
            "expected numbers of 64 bits in {place}, found a longer one, of which {number} is left; put it in quotes"
        )),
    }
}

/// A number inside `value` that was probably written with more digits than are left of it.
fn rounded(value: &Value) -> Option<&serde_json::Number> {
    match value {
        Value::Number(number) => is_rounded(number).then_some(number),
        Value::Array(list) => list.iter().find_map(rounded),
        Value::Object(fields) => fields.values().find_map(rounded),
        _ => None,
    }
}

/// Arguments are often JSON inside of text: templates would then quote them twice.
fn with_object_arguments(mut function: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if let Some(arguments) = function.get_mut("arguments")
        && let Value::String(text) = arguments
        && let Ok(Value::Object(_)) = serde_json::from_str(text)
    {
        *arguments = parse_json(text, "arguments as JSON").map_err(|wrong| wrong.detail)?;
    }
    Ok(function)
}

/// A list, one object, or either as JSON text.
fn elements(what: &str, value: Value) -> Result<Option<Vec<Value>>, String> {
    let list = match value {
        Value::Null => return Ok(None),
        Value::Array(list) => list,
        Value::Object(_) => vec![value],
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => {
            let parsed = parse_json(&text, "JSON").map_err(|wrong| format!("`{what}`: {}", wrong.detail))?;
            return match parsed {
                Value::String(_) => Err(format!("`{what}`: expected a list, found {}", excerpt(&text, 60))),
                parsed => elements(what, parsed),
            };
        }
        other => return Err(format!("`{what}`: expected a list, found {}", kind_of(&other))),
    };
    Ok((!list.is_empty()).then_some(list))
}
