//! Translation edit rate, equal to sacreBLEU 2.6 (Snover et al. 2006, <https://aclanthology.org/2006.amta-papers.25>).
//!
//! Insertions, deletions, substitutions and moves of a run of words, over the reference length; 0 is perfect, and the
//! value may exceed 100. The search for moves is greedy with Tercom's limits.

mod edit_distance;
mod normalise;
mod shift;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::metric::Metric;
use crate::ngrams::Vocabulary;
use crate::python;
use crate::spec::{Spec, SpecError, named};

/// TER with sacreBLEU's options.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ter {
    /// Whether punctuation is set apart from words first.
    pub normalized: bool,
    /// Whether punctuation is dropped.
    pub no_punct: bool,
    /// Whether the two also know characters of East Asia.
    pub asian_support: bool,
    /// Whether case counts.
    pub case_sensitive: bool,
}

impl Ter {
    /// TER as written.
    pub(crate) fn from_spec(spec: &Spec) -> Result<Self, SpecError> {
        spec.only(&["normalized", "no_punct", "asian_support", "case_sensitive"])?;
        Ok(Self {
            normalized: spec.switch("normalized")?,
            no_punct: spec.switch("no_punct")?,
            asian_support: spec.switch("asian_support")?,
            case_sensitive: spec.switch("case_sensitive")?,
        })
    }
}

impl Metric for Ter {
    fn name(&self) -> Cow<'static, str> {
        named(
            "ter",
            &[
                (self.normalized, "normalized".to_owned()),
                (self.no_punct, "no_punct".to_owned()),
                (self.asian_support, "asian_support".to_owned()),
                (self.case_sensitive, "case_sensitive".to_owned()),
            ],
        )
    }

    fn signature(&self, references: &str) -> String {
        let yes = |held| if held { "yes" } else { "no" };
        let case = if self.case_sensitive { "mixed" } else { "lc" };
        let (normalized, punctuation, asian) = (yes(self.normalized), yes(!self.no_punct), yes(self.asian_support));
        format!(
            "nrefs:{references}|case:{case}|tok:tercom|norm:{normalized}|punct:{punctuation}|asian:{asian}|version:2.6.0"
        )
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn scale(&self) -> f64 {
        100.0
    }

    fn range(&self) -> RangeInclusive<f64> {
        0.0..=f64::INFINITY
    }

    /// Edits to the nearest reference, and the mean reference length.
    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let prediction = self.normalise(prediction);
        let references: Vec<String> = references.iter().map(|reference| self.reference(reference)).collect();
        let mut vocabulary = Vocabulary::default();
        let predicted = vocabulary.encode(python::split(&prediction));
        let mut fewest: Option<usize> = None;
        let mut length = 0;
        for reference in &references {
            let expected = vocabulary.encode(python::split(reference));
            let edits = shift::edits(&predicted, &expected);
            fewest = Some(fewest.map_or(edits, |fewest| fewest.min(edits)));
            length += expected.len();
        }
        vec![fewest.unwrap_or(predicted.len()) as f64, length as f64 / references.len().max(1) as f64]
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        rate(statistics)
    }

    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        if rows == 0 { f64::NAN } else { rate(sums) }
    }
}

impl Ter {
    /// sacreBLEU normalises a reference twice, which sets apart what only the first pass brought to light.
    fn reference(self, text: &str) -> String {
        let once = self.normalise(text);
        if !self.normalized {
            return once;
        }
        self.normalise(&python::split(&once).collect::<Vec<_>>().join(" "))
    }
}

fn rate(sums: &[f64]) -> f64 {
    match (sums[0], sums[1]) {
        (edits, length) if length > 0.0 => 100.0 * (edits / length),
        (edits, _) if edits > 0.0 => 100.0,
        _ => 0.0,
    }
}
