//! Exact match and accuracy: the share of predictions that equal a reference.

use crate::metric::Metric;
use crate::python::strip;
use crate::squad::normalise_answer;

/// What is made equal before the texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// White space at both ends is dropped, nothing else.
    Trimmed,
    /// SQuAD's: lower case, no ASCII punctuation, no English articles, single spaces.
    Squad,
}

/// 1 where the prediction equals one of the references after normalisation, else 0.
#[derive(Debug, Clone, Copy)]
pub struct ExactMatch {
    /// What is made equal first.
    pub normalisation: Normalisation,
}

impl Metric for ExactMatch {
    fn name(&self) -> &'static str {
        match self.normalisation {
            Normalisation::Trimmed => "exact_match",
            Normalisation::Squad => "exact_match_squad",
        }
    }

    fn signature(&self) -> String {
        match self.normalisation {
            Normalisation::Trimmed => "case:mixed|trim:yes|punct:yes|articles:yes".to_owned(),
            Normalisation::Squad => "case:lc|trim:yes|punct:no|articles:no|like:squad".to_owned(),
        }
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let held = match self.normalisation {
            Normalisation::Trimmed => references.iter().any(|reference| strip(reference) == strip(prediction)),
            Normalisation::Squad => {
                let prediction = normalise_answer(prediction);
                references.iter().any(|reference| normalise_answer(reference) == prediction)
            }
        };
        vec![f64::from(u8::from(held))]
    }
}

/// The share of rows whose label is right. Labels are compared trimmed; a confusion table goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn signature(&self) -> String {
        "case:mixed|trim:yes|labels:whole".to_owned()
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        ExactMatch { normalisation: Normalisation::Trimmed }.statistics(prediction, references)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimmed_keeps_case_and_squad_does_not() {
        let trimmed = ExactMatch { normalisation: Normalisation::Trimmed };
        let squad = ExactMatch { normalisation: Normalisation::Squad };
        assert_eq!(trimmed.statistics(" Paris\n", &["Paris"]), [1.0]);
        assert_eq!(trimmed.statistics("paris", &["Paris"]), [0.0]);
        assert_eq!(squad.statistics("the paris!", &["London", "Paris"]), [1.0]);
        assert_eq!(Accuracy.statistics("refund ", &["refund"]), [1.0]);
    }
}
