//! Translation edit rate, equal to sacreBLEU 2.6 (Snover et al. 2006, <https://aclanthology.org/2006.amta-papers.25>).
//!
//! Insertions, deletions, substitutions and moves of a run of words, over the reference length; 0 is perfect, and the
//! value may exceed 100. The search for moves is greedy with Tercom's limits.

mod edit_distance;
mod shift;

use crate::metric::Metric;
use crate::ngrams::Vocabulary;
use crate::python;

/// TER on lower-cased words between white space.
#[derive(Debug, Clone, Copy)]
pub struct Ter;

impl Metric for Ter {
    fn name(&self) -> &'static str {
        "ter"
    }

    fn signature(&self) -> String {
        "nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0".to_owned()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn scale(&self) -> f64 {
        100.0
    }

    /// Edits to the nearest reference, and the mean reference length.
    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let prediction = prediction.to_lowercase();
        let references: Vec<String> = references.iter().map(|reference| reference.to_lowercase()).collect();
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

fn rate(sums: &[f64]) -> f64 {
    match (sums[0], sums[1]) {
        (edits, length) if length > 0.0 => 100.0 * (edits / length),
        (edits, _) if edits > 0.0 => 100.0,
        _ => 0.0,
    }
}
