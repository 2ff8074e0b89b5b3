//! One foreign record: its own fields, and those of the objects that it was found in.

use std::sync::Arc;

use serde_json::{Map, Value};

/// Fields by name, in the order of the file.
pub type Fields = Map<String, Value>;

/// A record as read, before anything is known of its shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Its own fields.
    pub fields: Fields,
    /// The objects around it, outermost first, without the list that it came from.
    pub parents: Vec<Arc<Fields>>,
}

impl Record {
    /// A record with no parents.
    pub fn new(fields: Fields) -> Self {
        Self { fields, parents: Vec::new() }
    }

    /// The field of that name, its own before its parents', the innermost parent first.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).or_else(|| self.parents.iter().rev().find_map(|parent| parent.get(name)))
    }

    /// All names that [`Record::get`] knows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let parents = self.parents.iter().rev().flat_map(|parent| parent.keys());
        self.fields.keys().chain(parents).map(String::as_str)
    }
}

/// The kind of a JSON value in the words of a message.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as text: text as it is, numbers and truth values as JSON writes them, null as nothing, the rest as JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
