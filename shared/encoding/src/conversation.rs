//! Messages as the chat template sees them.

use crate::template::from_json;
use artifact::Message;
use minijinja::Value;

/// A conversation, converted once and rendered several times: whole, and up to each answer.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: Option<Value>,
}

impl Conversation {
    /// # Errors
    /// A description of the first field that should hold JSON and does not.
    pub(crate) fn new(messages: &[Message], tools: Option<&str>) -> Result<Self, String> {
        let tools = match tools.filter(|text| !text.trim().is_empty()) {
            None => None,
            Some(text) => Some(parse_json(text, "tools")?),
        };
        // An empty list of tools means none, as in transformers' own trainers.
        let tools = tools.filter(|tools| tools.as_array().is_none_or(|list| !list.is_empty()));
        Ok(Self {
            messages: messages
                .iter()
                .map(|message| message_value(message, message.content.as_deref()))
                .collect::<Result<_, _>>()?,
            tools: tools.as_ref().map(from_json),
        })
    }

    /// The same conversation with other contents in place of the texts.
    pub(crate) fn with_contents(messages: &[Message], contents: &[String]) -> Result<Vec<Value>, String> {
        let content = |(message, content): (&Message, &String)| {
            message_value(message, message.content.as_ref().map(|_| content.as_str()))
        };
        messages.iter().zip(contents).map(content).collect()
    }
}

fn message_value(message: &Message, content: Option<&str>) -> Result<Value, String> {
    let mut fields: Vec<(&str, Value)> = Vec::with_capacity(5);
    fields.push(("role", Value::from(message.role.as_str())));
    fields.push(("content", content.map_or_else(|| Value::from(()), Value::from)));
    if let Some(name) = &message.name {
        fields.push(("name", Value::from(name.as_str())));
    }
    if let Some(calls) = message.tool_calls.as_deref().filter(|text| !text.trim().is_empty()) {
        let mut calls = parse_json(calls, "tool_calls")?;
        parse_arguments(&mut calls);
        fields.push(("tool_calls", from_json(&calls)));
    }
    if let Some(id) = &message.tool_call_id {
        fields.push(("tool_call_id", Value::from(id.as_str())));
    }
    Ok(Value::from_pairs(fields))
}

fn parse_json(text: &str, field: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("`{field}` is not JSON ({error})"))
}

/// Chat logs of web services hold the arguments of a call as a string of JSON; templates expect the object, and would
/// print the string in quotes.
fn parse_arguments(calls: &mut serde_json::Value) {
    let Some(calls) = calls.as_array_mut() else { return };
    for call in calls {
        let call = if call.get("function").is_some() { &mut call["function"] } else { call };
        let Some(text) = call.get("arguments").and_then(serde_json::Value::as_str) else { continue };
        if let Ok(arguments @ serde_json::Value::Object(_)) = serde_json::from_str(text) {
            call["arguments"] = arguments;
        }
    }
}
