//! `--records`: where the records lie inside a document, such as `data[].paragraphs[].qas[]`.

use std::sync::Arc;

use serde_json::Value;

use super::payload::Unreadable;
use super::record::{Fields, Record, kind_of};

/// A path to lists of records: `name` goes into a field, `[]` takes each element, `*` each value of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Field(String),
    Each,
    Values,
}

impl RecordsPath {
    /// Parses a path.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, lists) = part.split_at(part.find('[').unwrap_or(part.len()));
            match name {
                "*" => steps.push(Step::Values),
                "" if lists.is_empty() || !steps.is_empty() => {
                    return Err(format!("`{text}` has an empty name in it"));
                }
                "" => {}
                name => steps.push(Step::Field(name.to_owned())),
            }
            if !lists.replace("[]", "").is_empty() {
                return Err(format!("expected `[]` after a name in `{text}`, found `{lists}`"));
            }
            steps.extend(std::iter::repeat_n(Step::Each, lists.len() / 2));
        }
        Ok(Self { steps })
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn of_steps(steps: &[Step]) -> Option<Self> {
        if steps.is_empty() { None } else { Some(Self { steps: steps.to_vec() }) }
    }

    /// The path that leads to the record itself.
    pub(crate) fn itself() -> Self {
        Self { steps: Vec::new() }
    }

    /// The path as it applies inside each record of a format that is a list of records already.
    pub(crate) fn within_record(&self) -> Self {
        let steps = self.steps.strip_prefix(&[Step::Each]).unwrap_or(&self.steps);
        Self { steps: steps.to_vec() }
    }

    /// The records inside a value, in order, each with the objects around it as parents.
    pub(crate) fn expand(&self, value: Value) -> Result<Vec<Record>, Unreadable> {
        let mut records = Vec::new();
        walk(value, &self.steps, &[], &mut records)?;
        Ok(records)
    }
}

fn walk(value: Value, steps: &[Step], parents: &[Arc<Fields>], into: &mut Vec<Record>) -> Result<(), Unreadable> {
    match (steps, value) {
        ([], Value::Object(fields)) => into.push(Record { fields, parents: parents.to_vec() }),
        ([], value) => {
            let fields = [("value".to_owned(), value)].into_iter().collect();
            into.push(Record { fields, parents: parents.to_vec() });
        }
        ([Step::Field(name), rest @ ..], Value::Object(mut fields)) => {
            let Some(inside) = fields.get_mut(name).map(Value::take) else {
                let found = fields.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(Unreadable::syntax(format!("--records expects the key `{name}`, found: {found}")));
            };
            fields.shift_remove(name);
            let parents: Vec<_> = parents.iter().cloned().chain([Arc::new(fields)]).collect();
            walk(inside, rest, &parents, into)?;
        }
        ([Step::Each, rest @ ..], Value::Array(elements)) => {
            for element in elements {
                walk(element, rest, parents, into)?;
            }
        }
        // A missing list of children is no child.
        ([Step::Each | Step::Values, ..], Value::Null) => {}
        ([Step::Values, rest @ ..], Value::Object(entries)) => {
            for (key, value) in entries {
                let mut fields = match value {
                    Value::Object(fields) => fields,
                    other => [("value".to_owned(), other)].into_iter().collect(),
                };
                fields.entry("key").or_insert(Value::String(key));
                walk(Value::Object(fields), rest, parents, into)?;
            }
        }
        ([step, ..], value) => {
            let wanted = match step {
                Step::Field(name) => format!("an object with the key `{name}`"),
                Step::Each => "a list".into(),
                Step::Values => "an object".into(),
            };
            return Err(Unreadable::syntax(format!("--records expects {wanted}, found {}", kind_of(&value))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn children_see_their_parents_fields() {
        let value =
            json!({"title": "t", "paragraphs": [{"context": "c", "qas": [{"q": 1, "title": "own"}, {"q": 2}]}]});
        let records = RecordsPath::parse("paragraphs[].qas[]").unwrap().expand(value).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].get("context"), Some(&json!("c")));
        assert_eq!(records[0].get("title"), Some(&json!("own")));
        assert_eq!(records[1].get("title"), Some(&json!("t")));
        assert_eq!(records[1].get("qas"), None);
    }

    #[test]
    fn malformed_paths_are_told() {
        for path in ["", "a..b", "a[0]", "a[", "a.[]"] {
            assert!(RecordsPath::parse(path).is_err(), "{path}");
        }
        assert_eq!(RecordsPath::parse("[].q[]").unwrap().within_record(), RecordsPath::parse("q[]").unwrap());
    }
}
