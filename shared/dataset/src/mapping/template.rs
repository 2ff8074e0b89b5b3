//! Templates: `Classify: {text}` makes one text of a record's fields.
//!
//! `{path}` is a field path; `{path:, }` joins the values of a path with `[]` by what follows the colon. `{{` and
//! `}}` are braces, `\n`, `\t` and `\\` are a line end, a tab and a backslash.

use super::path::FieldPath;
use crate::records::Record;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field { path: FieldPath, separator: String },
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match (character, rest.as_str().chars().next()) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    plain.push(character);
                    rest.next();
                }
                ('\\', Some(escaped @ ('n' | 't' | '\\'))) => {
                    plain.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                    rest.next();
                }
                ('{', _) => {
                    let (inside, after) = rest
                        .as_str()
                        .split_once('}')
                        .ok_or_else(|| format!("`{text}` has a `{{` that does not close; `{{{{` is a brace itself"))?;
                    rest = after.chars();
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(field(inside)?);
                }
                ('}', _) => return Err(format!("`{text}` has a `}}` that was not opened; `}}}}` is a brace itself")),
                (other, _) => plain.push(other),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The paths in it, in order.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field { path, .. } => Some(path),
            Part::Text(_) => None,
        })
    }

    /// The text for one record, or the first path that leads nowhere in it.
    ///
    /// # Errors
    /// The path of a field that the record does not have; a field that is null is empty text.
    pub fn render(&self, record: &Record) -> Result<String, &FieldPath> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field { path, separator } => {
                    text.push_str(&path.find(record).ok_or(path)?.text(separator));
                }
            }
        }
        Ok(text)
    }
}

fn field(inside: &str) -> Result<Part, String> {
    let (path, separator) = inside.split_once(':').unwrap_or((inside, "\\n"));
    let path = FieldPath::parse(path.trim())?;
    let separator = separator.replace("\\n", "\n").replace("\\t", "\t");
    Ok(Part::Field { path, separator })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String, String> {
        let serde_json::Value::Object(fields) = json!({"text": "hi", "tags": ["a", "b"], "n": 3, "none": null}) else {
            panic!("an object")
        };
        let record = Record::new(fields);
        Template::parse(template)?.render(&record).map_err(|path| path.as_str().to_owned())
    }

    #[test]
    fn fields_text_and_escapes() {
        assert_eq!(render("Say: {text}\\n({n}{none})"), Ok("Say: hi\n(3)".into()));
        assert_eq!(render("{tags[]:, } {{x}}"), Ok("a, b {x}".into()));
        assert_eq!(render("{tags[]}"), Ok("a\nb".into()));
        assert_eq!(render("no field"), Ok("no field".into()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(render("{absent}"), Err("absent".into()));
        assert!(render("{text").unwrap_err().contains("does not close"));
        assert!(render("text}").unwrap_err().contains("not opened"));
        assert!(render("{}").is_err());
    }
}
