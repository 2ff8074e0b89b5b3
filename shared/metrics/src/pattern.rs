//! A regular expression as a metric: whether an answer has what is looked for, or says the same as the reference in the
//! place that a group marks.

use std::borrow::Cow;

use regex::Regex;

use crate::metric::Metric;
use crate::python::strip;

/// A named regular expression.
#[derive(Debug, Clone)]
pub struct Pattern {
    name: String,
    regex: Regex,
}

impl Pattern {
    /// A metric of this name.
    ///
    /// # Errors
    /// Where the expression is malformed.
    pub fn new(name: impl Into<String>, pattern: &str) -> Result<Self, regex::Error> {
        Ok(Self { name: name.into(), regex: Regex::new(pattern)? })
    }

    /// What the first group, or else the first group that took part, holds in the last match.
    fn group<'t>(&self, text: &'t str) -> Option<&'t str> {
        let last = self.regex.captures_iter(text).last()?;
        last.iter().skip(1).flatten().next().map(|found| strip(found.as_str()))
    }
}

impl Metric for Pattern {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone().into()
    }

    fn signature(&self, references: &str) -> String {
        let what = if self.regex.captures_len() > 1 { "group-equals-reference" } else { "found" };
        format!("nrefs:{references}|measure:{what}|regex:{}", self.regex.as_str())
    }

    /// Without a group 1 where the expression is found. With one, 1 where the last match's group equals that of a
    /// reference, or the whole reference where the expression is not found in it.
    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let held = if self.regex.captures_len() > 1 {
            let expected = |reference| self.group(reference).unwrap_or_else(|| strip(reference));
            let found = self.group(prediction);
            found.is_some_and(|found| references.iter().any(|&reference| expected(reference) == found))
        } else {
            self.regex.is_match(prediction)
        };
        vec![f64::from(u8::from(held))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_compared_and_a_bare_expression_is_found() {
        let held = |pattern: &str, prediction: &str, reference: &str| {
            Pattern::new("x", pattern).expect("a pattern").statistics(prediction, &[reference])[0]
        };
        assert_eq!(held(r"^\d{3}$", "123", ""), 1.0);
        assert_eq!(held(r"^\d{3}$", "1234", ""), 0.0);
        assert_eq!(held(r"answer is \(?([A-D])\)?", "No: the answer is (B).", "B"), 1.0);
        assert_eq!(held(r"answer is \(?([A-D])\)?", "the answer is A", "so the answer is B"), 0.0);
        assert!(Pattern::new("x", "(").is_err());
    }
}
