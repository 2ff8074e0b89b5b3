//! Exact match and accuracy: the share of predictions that equal a reference.

use std::borrow::Cow;

use crate::metric::Metric;
use crate::python::{self, strip};
use crate::spec::{Spec, SpecError, named};
use crate::squad::{normalise_answer, without_articles};

/// What is made equal before the texts are compared. White space at both ends never counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Normalisation {
    /// SQuAD's own: lower case, no ASCII punctuation, no English articles, single spaces.
    pub squad: bool,
    /// Case does not count.
    pub ignore_case: bool,
    /// ASCII punctuation does not count.
    pub ignore_punctuation: bool,
    /// The digits 0 to 9 do not count.
    pub ignore_numbers: bool,
    /// The words a, an and the do not count.
    pub ignore_articles: bool,
    /// A run of white space counts as one space.
    pub ignore_space: bool,
}

impl Normalisation {
    fn apply(self, text: &str) -> String {
        if self.squad {
            return normalise_answer(text);
        }
        let mut text = if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        if self.ignore_punctuation {
            text.retain(|character| !python::is_punctuation(character));
        }
        if self.ignore_numbers {
            text.retain(|character| !character.is_ascii_digit());
        }
        if self.ignore_articles {
            text = without_articles(&text);
        }
        if self.ignore_space || self.ignore_articles {
            return python::split(&text).collect::<Vec<_>>().join(" ");
        }
        strip(&text).to_owned()
    }

    fn named(self) -> [(bool, String); 5] {
        [
            (self.ignore_case, "ignore_case".to_owned()),
            (self.ignore_punctuation, "ignore_punctuation".to_owned()),
            (self.ignore_numbers, "ignore_numbers".to_owned()),
            (self.ignore_articles, "ignore_articles".to_owned()),
            (self.ignore_space, "ignore_space".to_owned()),
        ]
    }
}

/// 1 where the prediction equals one of the references after normalisation, else 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExactMatch {
    /// What is made equal first.
    pub normalisation: Normalisation,
}

impl ExactMatch {
    /// Exact match by SQuAD's rules.
    pub fn squad() -> Self {
        Self { normalisation: Normalisation { squad: true, ..Normalisation::default() } }
    }

    /// Exact match as written.
    pub(crate) fn from_spec(spec: &Spec) -> Result<Self, SpecError> {
        spec.only(&["ignore_case", "ignore_punctuation", "ignore_numbers", "ignore_articles", "ignore_space"])?;
        let normalisation = Normalisation {
            squad: false,
            ignore_case: spec.switch("ignore_case")?,
            ignore_punctuation: spec.switch("ignore_punctuation")?,
            ignore_numbers: spec.switch("ignore_numbers")?,
            ignore_articles: spec.switch("ignore_articles")?,
            ignore_space: spec.switch("ignore_space")?,
        };
        Ok(Self { normalisation })
    }
}

impl Metric for ExactMatch {
    fn name(&self) -> Cow<'static, str> {
        match self.normalisation.squad {
            true => "exact_match_squad".into(),
            false => named("exact_match", &self.normalisation.named()),
        }
    }

    fn signature(&self, references: &str) -> String {
        let rules = self.normalisation;
        let yes = |held| if held { "yes" } else { "no" };
        let case = if rules.squad || rules.ignore_case { "lc" } else { "mixed" };
        let punctuation = yes(!(rules.squad || rules.ignore_punctuation));
        let articles = yes(!(rules.squad || rules.ignore_articles));
        let numbers = if rules.ignore_numbers { "|numbers:no" } else { "" };
        let space = if rules.ignore_space { "|space:one" } else { "" };
        let like = if rules.squad { "|like:squad" } else { "" };
        format!("nrefs:{references}|case:{case}|trim:yes|punct:{punctuation}|articles:{articles}{numbers}{space}{like}")
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let prediction = self.normalisation.apply(prediction);
        let held = references.iter().any(|reference| self.normalisation.apply(reference) == prediction);
        vec![f64::from(u8::from(held))]
    }
}

/// The share of rows whose label is right. Labels are compared trimmed; a confusion table goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> Cow<'static, str> {
        "accuracy".into()
    }

    fn signature(&self, references: &str) -> String {
        format!("nrefs:{references}|case:mixed|trim:yes|labels:whole")
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        ExactMatch::default().statistics(prediction, references)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimmed_keeps_case_and_squad_does_not() {
        let (trimmed, squad) = (ExactMatch::default(), ExactMatch::squad());
        assert_eq!(trimmed.statistics(" Paris\n", &["Paris"]), [1.0]);
        assert_eq!(trimmed.statistics("paris", &["Paris"]), [0.0]);
        assert_eq!(squad.statistics("the paris!", &["London", "Paris"]), [1.0]);
        assert_eq!(Accuracy.statistics("refund ", &["refund"]), [1.0]);
    }

    #[test]
    fn each_normaliser_ignores_its_own() {
        let held = |options: &str, prediction: &str, reference: &str| {
            let metric = ExactMatch::from_spec(&Spec::parse(&format!("exact_match{options}"))).expect("options");
            metric.statistics(prediction, &[reference]) == [1.0]
        };
        for (option, prediction) in [
            (":ignore_case", "The Cat, 3"),
            (":ignore_punctuation", "the cat 3!"),
            (":ignore_numbers", "the cat, 45"),
            (":ignore_articles", "cat, 3"),
            (":ignore_space", "the\n cat,  3"),
        ] {
            assert!(held(option, prediction, "the cat, 3"), "{option}");
            assert!(!held("", prediction, "the cat, 3"), "{option}");
        }
    }
}
