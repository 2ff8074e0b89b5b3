//! BLEU, equal to sacreBLEU 2.6 (Post 2018, <https://aclanthology.org/W18-6319>; Papineni et al. 2002).
//!
//! Precisions of 1- to 4-grams clipped by the references, exponential smoothing, brevity penalty against the closest
//! reference length. 0 to 100. A row's own value uses the effective order, as sacreBLEU's sentence score does.

mod tokenize;

use crate::metric::Metric;
use crate::ngrams::{self, Vocabulary};
use crate::python;
pub use tokenize::BleuTokenizer;

const ORDER: usize = 4;

/// BLEU with one of sacreBLEU's tokenizers.
#[derive(Debug, Clone, Copy)]
pub struct Bleu {
    /// How a segment is cut into words.
    pub tokenizer: BleuTokenizer,
    /// Whether case is ignored.
    pub lowercase: bool,
}

impl Default for Bleu {
    fn default() -> Self {
        Self { tokenizer: BleuTokenizer::V13a, lowercase: false }
    }
}

/// Sums of a row: matches and totals of each order, then the two lengths.
const MATCHES: usize = 0;
const TOTALS: usize = ORDER;
const PREDICTED_LENGTH: usize = 2 * ORDER;
const REFERENCE_LENGTH: usize = 2 * ORDER + 1;

impl Metric for Bleu {
    fn name(&self) -> &'static str {
        match (self.tokenizer, self.lowercase) {
            (BleuTokenizer::V13a, false) => "bleu",
            (BleuTokenizer::V13a, true) => "bleu_lc",
            (BleuTokenizer::International, false) => "bleu_intl",
            (BleuTokenizer::International, true) => "bleu_intl_lc",
            (BleuTokenizer::Character, false) => "bleu_char",
            (BleuTokenizer::Character, true) => "bleu_char_lc",
            (BleuTokenizer::None, false) => "bleu_none",
            (BleuTokenizer::None, true) => "bleu_none_lc",
        }
    }

    fn signature(&self) -> String {
        let case = if self.lowercase { "lc" } else { "mixed" };
        format!("nrefs:1|case:{case}|eff:no|tok:{}|smooth:exp|version:2.6.0", self.tokenizer.label())
    }

    fn scale(&self) -> f64 {
        100.0
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let prediction = self.prepare(prediction);
        let references: Vec<String> = references.iter().map(|reference| self.prepare(reference)).collect();
        let mut vocabulary = Vocabulary::default();
        let predicted = vocabulary.encode(python::split(&prediction));
        let expected: Vec<Vec<u32>> =
            references.iter().map(|reference| vocabulary.encode(python::split(reference))).collect();
        let mut sums = vec![0.0; 2 * ORDER + 2];
        for order in 1..=ORDER {
            let counts = ngrams::count(&predicted, order, 32);
            let clip = expected
                .iter()
                .map(|words| ngrams::count(words, order, 32))
                .fold(Vec::new(), |clip, counts| ngrams::union_max(clip, &counts));
            sums[MATCHES + order - 1] = ngrams::overlap(&counts, &clip) as f64;
            sums[TOTALS + order - 1] = ngrams::total(&counts) as f64;
        }
        sums[PREDICTED_LENGTH] = predicted.len() as f64;
        sums[REFERENCE_LENGTH] = closest_length(predicted.len(), expected.iter().map(Vec::len)) as f64;
        sums
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        bleu(statistics, true)
    }

    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        if rows == 0 { f64::NAN } else { bleu(sums, false) }
    }
}

impl Bleu {
    fn prepare(self, text: &str) -> String {
        let text = text.trim_end_matches(python::is_space);
        if self.lowercase { self.tokenizer.apply(&text.to_lowercase()) } else { self.tokenizer.apply(text) }
    }
}

/// The reference length nearest to the prediction's; of two as near, the shorter.
fn closest_length(predicted: usize, lengths: impl Iterator<Item = usize>) -> usize {
    lengths.min_by_key(|&length| (predicted.abs_diff(length), length)).unwrap_or(0)
}

fn bleu(sums: &[f64], effective_order: bool) -> f64 {
    if sums[MATCHES..TOTALS].iter().all(|&matches| matches == 0.0) {
        return 0.0;
    }
    let (mut smooth, mut order, mut logs) = (1.0, ORDER, [my_log(0.0); ORDER]);
    for n in 0..ORDER {
        let (matches, total) = (sums[MATCHES + n], sums[TOTALS + n]);
        if total == 0.0 {
            break;
        }
        if effective_order {
            order = n + 1;
        }
        let precision = if matches == 0.0 {
            smooth *= 2.0;
            100.0 / (smooth * total)
        } else {
            100.0 * matches / total
        };
        logs[n] = my_log(precision);
    }
    let (predicted, expected) = (sums[PREDICTED_LENGTH], sums[REFERENCE_LENGTH]);
    let brevity = match predicted < expected {
        true if predicted > 0.0 => (1.0 - expected / predicted).exp(),
        true => 0.0,
        false => 1.0,
    };
    brevity * (logs[..order].iter().sum::<f64>() / order as f64).exp()
}

/// sacreBLEU's logarithm, finite at zero so that a missing order makes the score vanish rather than fail.
fn my_log(value: f64) -> f64 {
    if value == 0.0 { -9_999_999_999.0 } else { value.ln() }
}
