//! Field paths: `question`, `meta.source`, `answers[0].text`, `contexts[]`.

use serde_json::Value;

use crate::records::{Record, as_text};

/// Where a value lies inside a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// As the user wrote it; a field of exactly this name is taken first, dots and all.
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
    /// Each element of a list; a value that is no list is a list of one.
    Each,
}

/// What a path leads to.
#[derive(Debug, PartialEq)]
pub enum Found<'a> {
    /// One value.
    One(&'a Value),
    /// The values of a path with `[]`.
    Many(Vec<&'a Value>),
}

impl FieldPath {
    /// Parses a path.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the name of a field is missing".into());
        }
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
            if name.is_empty() && (rest.is_empty() || !steps.is_empty()) {
                return Err(format!("`{text}` has an empty name in it"));
            }
            if !name.is_empty() {
                steps.push(Step::Name(name.to_owned()));
            }
            while !rest.is_empty() {
                let (inside, after) = rest
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once(']'))
                    .ok_or_else(|| format!("`{text}` has a bracket that does not close"))?;
                steps.push(match inside {
                    "" => Step::Each,
                    number => Step::Index(number.parse().map_err(|_| {
                        format!("`{text}`: expected a number or nothing in the brackets, found `{number}`")
                    })?),
                });
                rest = after;
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The path as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first field that the path goes through.
    pub fn head(&self) -> &str {
        match self.steps.first() {
            Some(Step::Name(name)) => name,
            _ => &self.text,
        }
    }

    /// What the path leads to in `record`; `None` where a field on the way does not exist.
    pub fn find<'a>(&self, record: &'a Record) -> Option<Found<'a>> {
        if let Some(value) = record.get(&self.text) {
            return Some(Found::One(value));
        }
        let (Some(Step::Name(head)), rest) = (self.steps.first(), self.steps.get(1..).unwrap_or_default()) else {
            return None;
        };
        let start = record.get(head)?;
        if !rest.contains(&Step::Each) {
            return walk(start, rest).map(Found::One);
        }
        let mut values = Vec::new();
        collect(start, rest, &mut values);
        Some(Found::Many(values))
    }
}

fn walk<'a>(mut value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    for step in steps {
        value = match step {
            Step::Name(name) => value.get(name)?,
            Step::Index(index) => value.get(*index)?,
            Step::Each => return None,
        };
    }
    Some(value)
}

fn collect<'a>(value: &'a Value, steps: &[Step], into: &mut Vec<&'a Value>) {
    match steps {
        [] if value.is_null() => {}
        [] => into.push(value),
        [Step::Each, rest @ ..] => match value.as_array() {
            Some(elements) => elements.iter().for_each(|element| collect(element, rest, into)),
            None => collect(value, rest, into),
        },
        [step, rest @ ..] => {
            if let Some(value) = walk(value, std::slice::from_ref(step)) {
                collect(value, rest, into);
            }
        }
    }
}

impl Found<'_> {
    /// Whether there is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::One(Value::Null))
    }

    /// As text; several values are joined by `separator`.
    pub fn text(&self, separator: &str) -> String {
        match self {
            Self::One(value) => as_text(value),
            Self::Many(values) => values.iter().map(|value| as_text(value)).collect::<Vec<_>>().join(separator),
        }
    }

    /// As a value: one as it is, several as text, one on each line.
    pub fn into_value(self) -> Value {
        match self {
            Self::One(value) => value.clone(),
            many @ Self::Many(_) => Value::String(many.text("\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(path: &str, fields: Value) -> Option<String> {
        let Value::Object(fields) = fields else { panic!("an object") };
        FieldPath::parse(path).unwrap().find(&Record::new(fields)).map(|found| found.text("|"))
    }

    #[test]
    fn paths_walk_objects_and_lists() {
        let record = json!({"a": {"b": ["x", {"c": 5}]}, "a.b": "whole", "list": ["p", "q"], "one": "r"});
        assert_eq!(look("a.b[1].c", record.clone()), Some("5".into()));
        assert_eq!(look("a.b", record.clone()), Some("whole".into()));
        assert_eq!(look("list[]", record.clone()), Some("p|q".into()));
        assert_eq!(look("one[]", record.clone()), Some("r".into()));
        assert_eq!(look("list[7]", record.clone()), None);
        assert_eq!(look("missing", record), None);
        assert_eq!(look("x[].y", json!({"x": [{"y": 1}, {"z": 0}, {"y": 2}]})), Some("1|2".into()));
    }

    #[test]
    fn malformed_paths_are_told() {
        for path in ["", "a..b", "a[0", "a[x]", "a."] {
            assert!(FieldPath::parse(path).is_err(), "{path}");
        }
        assert!(FieldPath::parse("Question Text").is_ok());
    }
}
