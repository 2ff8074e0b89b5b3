//! `--map`: which of a record's fields stand for what an example is made of.
//!
//! A mapping lays named fields over the record under the names that the shapes know, so that a shape never needs to
//! know of mappings.

mod path;
mod template;

pub use path::{FieldPath, Found};
pub use template::Template;

use serde_json::Value;

use crate::error::{Error, Result, nearest};
use crate::records::Record;

/// The names on the left of `=`.
pub const TARGETS: [&str; 15] = [
    "prompt",
    "completion",
    "system",
    "text",
    "messages",
    "conversations",
    "chosen",
    "rejected",
    "instruction",
    "input",
    "output",
    "history",
    "tools",
    "role",
    "content",
];

/// Where a target's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field, with its type.
    Path(FieldPath),
    /// A text made of fields.
    Template(Template),
}

/// One `target=source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// One of [`TARGETS`].
    pub target: &'static str,
    /// Where its value comes from.
    pub source: Source,
}

/// All of `--map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// In the order given.
    pub assignments: Vec<Assignment>,
    /// The key of a turn's role in a list of turns, where it is not one that is known.
    pub role_key: Option<String>,
    /// The key of a turn's text in a list of turns, where it is not one that is known.
    pub content_key: Option<String>,
}

impl Mapping {
    /// Parses the values of `--map`, each `target=source[,target=source...]`. A comma ends a source only where a
    /// target and `=` follow, so that templates may hold commas.
    ///
    /// # Errors
    /// An unknown or repeated target, a malformed path or template.
    pub fn parse(values: &[String]) -> Result<Self> {
        let mut mapping = Self::default();
        for (target, source) in values.iter().map(|value| split(value)).collect::<Result<Vec<_>>>()?.concat() {
            let known = TARGETS.into_iter().find(|known| *known == target).ok_or_else(|| unknown_target(&target))?;
            match known {
                "role" => mapping.role_key = Some(source),
                "content" => mapping.content_key = Some(source),
                _ if mapping.assignments.iter().any(|assignment| assignment.target == known) => {
                    return Err(wrong(format!("`{known}` is mapped twice"), "keep one of the two"));
                }
                _ => mapping.assignments.push(Assignment { target: known, source: parse_source(&source)? }),
            }
        }
        Ok(mapping)
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.assignments.is_empty()
    }

    /// Whether `target` is mapped.
    pub fn has(&self, target: &str) -> bool {
        self.assignments.iter().any(|assignment| assignment.target == target)
    }

    /// All field paths, in order: what [`Mapping::apply`] marks as seen.
    pub fn paths(&self) -> Vec<&FieldPath> {
        self.assignments
            .iter()
            .flat_map(|assignment| match &assignment.source {
                Source::Path(path) => vec![path],
                Source::Template(template) => template.paths().collect(),
            })
            .collect()
    }

    /// Lays the mapped values over the record's own fields. A path that leads nowhere leaves its target out, so that
    /// the shape tells what is missing.
    ///
    /// # Errors
    /// A template whose field the record does not have, as a sentence.
    pub fn apply(&self, record: &mut Record) -> Result<(), String> {
        let mut values: Vec<(&'static str, Option<Value>)> = Vec::with_capacity(self.assignments.len());
        for assignment in &self.assignments {
            let value = match &assignment.source {
                Source::Path(path) => path.find(record).map(Found::into_value),
                Source::Template(template) => Some(Value::String(template.render(record).map_err(|path| {
                    format!("the template of `{}` needs `{}`, which is not there", assignment.target, path.as_str())
                })?)),
            };
            values.push((assignment.target, value));
        }
        for (target, value) in values {
            match value {
                Some(value) => record.fields.insert(target.to_owned(), value),
                None => record.fields.shift_remove(target),
            };
        }
        Ok(())
    }
}

fn parse_source(source: &str) -> Result<Source> {
    let unquoted = ['\'', '"'].iter().find_map(|quote| source.strip_prefix(*quote)?.strip_suffix(*quote));
    let parsed = match unquoted {
        Some(inside) => Template::parse(inside).map(Source::Template),
        None if source.contains(['{', '}']) => Template::parse(source).map(Source::Template),
        None => FieldPath::parse(source).map(Source::Path),
    };
    parsed.map_err(|detail| {
        wrong(detail, "paths look like `meta.question` or `answers[0].text`, templates like 'Q: {question}'")
    })
}

/// Cuts one value of `--map` at each comma that a known target follows.
fn split(value: &str) -> Result<Vec<(String, String)>> {
    let mut starts = vec![0];
    for (comma, _) in value.match_indices(',') {
        let rest = value[comma + 1..].trim_start();
        if TARGETS.iter().any(|target| rest.strip_prefix(target).is_some_and(|rest| rest.trim_start().starts_with('=')))
        {
            starts.push(comma + 1);
        }
    }
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([value.len()]);
    starts.iter().zip(ends).map(|(start, end)| one(&value[*start..end])).collect()
}

fn one(assignment: &str) -> Result<(String, String)> {
    let (target, source) = assignment.split_once('=').ok_or_else(|| {
        wrong(
            format!("expected target=column, found `{assignment}`"),
            "for example --map prompt=question,completion=answer",
        )
    })?;
    // A comma and a name with `=` inside what should be a plain column is a target that is not known.
    if let Some((_, rest)) = source.rsplit_once(',')
        && let Some((name, _)) = rest.split_once('=')
        && !source.contains(['{', '\'', '"'])
    {
        return Err(unknown_target(name.trim()));
    }
    // White space in a template is meant, around a column's name it is not.
    let trimmed = source.trim();
    let template = trimmed.contains('{') && !trimmed.starts_with(['\'', '"']);
    Ok((target.trim().to_owned(), if template { source } else { trimmed }.to_owned()))
}

fn unknown_target(name: &str) -> Error {
    let hint = match nearest(name, TARGETS) {
        Some(target) => format!("did you mean `{target}`?"),
        None => format!("the targets are {}", TARGETS.join(", ")),
    };
    wrong(format!("`{name}` is not something that a column can stand for"), &hint)
}

fn wrong(detail: String, hint: &str) -> Error {
    Error::Option { option: "--map", detail, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &str) -> Result<Mapping> {
        Mapping::parse(&[value.to_owned()])
    }

    #[test]
    fn commas_inside_templates_do_not_cut() {
        let mapping = parse("prompt=Classify, please: {text},completion=category").unwrap();
        let Value::Object(fields) = json!({"text": "hi", "category": 7}) else { panic!("an object") };
        let mut record = Record::new(fields);
        mapping.apply(&mut record).unwrap();
        assert_eq!(record.fields["prompt"], json!("Classify, please: hi"));
        assert_eq!(record.fields["completion"], json!(7));
        let spaced = parse("prompt= question , completion= {answer}").unwrap();
        let template = Source::Template(Template::parse(" {answer}").unwrap());
        assert_eq!(spaced.assignments[0].source, Source::Path(FieldPath::parse("question").unwrap()));
        assert_eq!(spaced.assignments[1].source, template);
    }

    #[test]
    fn quoted_text_is_a_constant() {
        let mapping = parse("system='Be brief.',prompt=q").unwrap();
        let mut record = Record::default();
        mapping.apply(&mut record).unwrap();
        assert_eq!(record.fields["system"], json!("Be brief."));
        assert!(!record.fields.contains_key("prompt"));
    }

    #[test]
    fn slips_are_told_with_the_right_name() {
        for value in ["promt=question", "prompt=question,competion=answer"] {
            let hint = parse(value).unwrap_err().hint().unwrap();
            assert!(hint.contains("did you mean"), "{hint}");
        }
        assert!(parse("prompt").is_err());
        assert!(parse("prompt=a,prompt=b").is_err());
        assert!(parse("prompt={a").is_err());
    }

    #[test]
    fn a_path_that_leads_nowhere_removes_the_target() {
        let Value::Object(fields) = json!({"prompt": "own"}) else { panic!("an object") };
        let mut record = Record::new(fields);
        parse("prompt=question").unwrap().apply(&mut record).unwrap();
        assert!(record.fields.is_empty());
    }
}
