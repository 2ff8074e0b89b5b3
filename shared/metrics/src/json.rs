//! Answers that are JSON: whether they parse, whether they are the same document, how many of its fields they share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::metric::Metric;
use crate::spec::{Spec, SpecError, named};

/// What is asked of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonRule {
    /// It parses.
    Valid,
    /// It equals the reference's document; the order of keys does not matter.
    Match,
    /// F1 over fields: paths with their values. Over a corpus the fields of all rows are counted together.
    Fields,
}

/// A question to an answer that should be JSON.
#[derive(Debug, Clone)]
pub struct Json {
    /// What is asked.
    pub rule: JsonRule,
    /// Whether the document may stand inside other text: the first fenced block, or the first `{…}` or `[…]`.
    pub extract: bool,
    /// Only these fields at the top level; all where empty.
    pub keys: Vec<String>,
}

impl Json {
    /// Nothing but the document, all of its fields.
    pub fn new(rule: JsonRule) -> Self {
        Self { rule, extract: false, keys: Vec::new() }
    }

    /// The question as written.
    pub(crate) fn from_spec(rule: JsonRule, spec: &Spec) -> Result<Self, SpecError> {
        spec.only(if rule == JsonRule::Valid { &["extract"] } else { &["extract", "keys"] })?;
        let keys = spec.text("keys").map(|keys| keys.split('+').map(str::to_owned).collect()).unwrap_or_default();
        Ok(Self { rule, extract: spec.switch("extract")?, keys })
    }

    fn document(&self, text: &str) -> Option<Value> {
        let whole = serde_json::from_str(text.trim()).ok();
        let document = if self.extract { whole.or_else(|| inside(text)) } else { whole }?;
        match document {
            Value::Object(mut fields) if !self.keys.is_empty() => {
                fields.retain(|key, _| self.keys.contains(key));
                Some(Value::Object(fields))
            }
            other => Some(other),
        }
    }
}

impl Metric for Json {
    fn name(&self) -> Cow<'static, str> {
        let base = match self.rule {
            JsonRule::Valid => "json_valid",
            JsonRule::Match => "json_match",
            JsonRule::Fields => "json_fields",
        };
        let keys = format!("keys={}", self.keys.join("+"));
        named(base, &[(self.extract, "extract".to_owned()), (!self.keys.is_empty(), keys)])
    }

    fn signature(&self, references: &str) -> String {
        let what = match self.rule {
            JsonRule::Valid => "parses",
            JsonRule::Match => "equal|keys:any-order",
            JsonRule::Fields => "f1|fields:path=value|aggregate:micro",
        };
        let found = if self.extract { "inside-text" } else { "whole" };
        let keys = if self.keys.is_empty() { "all".to_owned() } else { self.keys.join("+") };
        format!("nrefs:{references}|measure:{what}|document:{found}|keys:{keys}")
    }

    /// Shared fields, fields predicted, fields expected.
    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let predicted = self.document(prediction);
        let expected = references.iter().filter_map(|reference| self.document(reference));
        let single = |held: bool| vec![f64::from(u8::from(held)), 1.0, 1.0];
        match self.rule {
            JsonRule::Valid => single(predicted.is_some()),
            JsonRule::Match => {
                single(predicted.is_some_and(|predicted| expected.into_iter().any(|one| same(&one, &predicted))))
            }
            JsonRule::Fields => {
                let predicted = predicted.as_ref().map(fields).unwrap_or_default();
                let shares = expected.map(|one| shared_fields(&predicted, &fields(&one)));
                let best = shares.max_by(|a, b| f1(a).total_cmp(&f1(b)));
                best.unwrap_or([0.0, predicted.values().sum::<usize>() as f64, 0.0]).to_vec()
            }
        }
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        if self.rule == JsonRule::Fields { f1(statistics) } else { statistics[0] }
    }

    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        match self.rule {
            _ if rows == 0 => f64::NAN,
            JsonRule::Fields => f1(sums),
            JsonRule::Valid | JsonRule::Match => sums[0] / rows as f64,
        }
    }
}

/// 1 where neither side has a field.
fn f1(sums: &[f64]) -> f64 {
    let of = sums[1] + sums[2];
    if of == 0.0 { 1.0 } else { 2.0 * sums[0] / of }
}

/// Equal documents, numbers by their value.
fn same(left: &Value, right: &Value) -> bool {
    fields(left) == fields(right)
}

/// How often each path has each value.
type Fields = BTreeMap<(String, String), usize>;

/// Every leaf with the path to it. Empty objects and lists are leaves too.
fn fields(document: &Value) -> Fields {
    fn walk(value: &Value, path: &str, found: &mut Fields) {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                inner.iter().for_each(|(key, value)| walk(value, &format!("{path}.{key:?}"), found));
            }
            Value::Array(inner) if !inner.is_empty() => {
                inner.iter().enumerate().for_each(|(index, value)| walk(value, &format!("{path}[{index}]"), found));
            }
            Value::Number(number) => {
                let text = number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string());
                *found.entry((path.to_owned(), text)).or_default() += 1;
            }
            leaf => *found.entry((path.to_owned(), leaf.to_string())).or_default() += 1,
        }
    }
    let mut found = Fields::new();
    walk(document, "", &mut found);
    found
}

fn shared_fields(predicted: &Fields, expected: &Fields) -> [f64; 3] {
    let shared = predicted.iter().filter_map(|(field, count)| Some(count.min(expected.get(field)?))).sum::<usize>();
    let total = |fields: &Fields| fields.values().sum::<usize>() as f64;
    [shared as f64, total(predicted), total(expected)]
}

/// The first document inside a text.
fn inside(text: &str) -> Option<Value> {
    let fenced = text.split("```").nth(1).map(|block| block.strip_prefix("json").unwrap_or(block));
    if let Some(document) = fenced.and_then(|block| serde_json::from_str(block.trim()).ok()) {
        return Some(document);
    }
    text.char_indices()
        .filter(|(_, character)| matches!(character, '{' | '['))
        .find_map(|(start, _)| serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next()?.ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Pair, score};

    #[test]
    fn documents_are_compared_by_content() {
        let held = |metric: &Json, prediction: &str, reference: &str| metric.statistics(prediction, &[reference])[0];
        let (valid, whole) = (Json::new(JsonRule::Valid), Json::new(JsonRule::Match));
        assert_eq!(held(&valid, "{\"a\": 1}", ""), 1.0);
        assert_eq!(held(&valid, "Here: {\"a\": 1}", ""), 0.0);
        assert_eq!(held(&Json { extract: true, ..valid }, "Here: {\"a\": 1} and", ""), 1.0);
        assert_eq!(held(&whole, "{\"b\":[1.0,2],\"a\":null}", "{\"a\": null, \"b\": [1, 2]}"), 1.0);
        assert_eq!(held(&whole, "{\"a\": \"1\"}", "{\"a\": 1}"), 0.0);
        let keys = Json { keys: vec!["a".to_owned()], ..whole };
        assert_eq!(held(&keys, "{\"a\": 1, \"c\": 2}", "{\"a\": 1, \"b\": 2}"), 1.0);
    }

    #[test]
    fn fields_are_counted_over_all_rows() {
        let pairs = [
            Pair::new("{\"a\": 1, \"b\": {\"c\": \"x\"}}", "{\"a\": 1, \"b\": {\"c\": \"y\"}, \"d\": true}"),
            Pair::new("no JSON", "{\"a\": 1}"),
        ];
        let found = score(&Json::new(JsonRule::Fields), &pairs);
        assert_eq!(found.rows, [0.4, 0.0]);
        assert!((found.corpus - 2.0 / 6.0).abs() < 1e-12);
    }
}
