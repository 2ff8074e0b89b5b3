//! chrF and chrF++, equal to sacreBLEU 2.6 (Popović 2015, <https://aclanthology.org/W15-3049>; 2017, W17-4770).
//!
//! F-score, recall weighted twice, of character n-grams up to 6 (white space dropped), and for chrF++ also of word
//! 1- and 2-grams; averaged over the orders that both sides have. 0 to 100.

use crate::metric::Metric;
use crate::ngrams::{self, Counts, Vocabulary};
use crate::python;

const CHARACTER_ORDER: usize = 6;
const BETA_SQUARED: f64 = 4.0;

/// chrF (`word_order` 0) or chrF++ (`word_order` 2).
#[derive(Debug, Clone, Copy)]
pub struct ChrF {
    /// The longest word n-gram that counts; 0 for none.
    pub word_order: usize,
}

impl Metric for ChrF {
    fn name(&self) -> &'static str {
        if self.word_order == 0 { "chrf" } else { "chrf++" }
    }

    fn signature(&self) -> String {
        format!("nrefs:1|case:mixed|eff:yes|nc:6|nw:{}|space:no|version:2.6.0", self.word_order)
    }

    fn scale(&self) -> f64 {
        100.0
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let mut vocabulary = Vocabulary::default();
        let predicted = self.counts(prediction, &mut vocabulary);
        let mut best = vec![0.0; 3 * (CHARACTER_ORDER + self.word_order)];
        let mut best_score = -1.0;
        for reference in references {
            let expected = self.counts(reference, &mut vocabulary);
            let sums: Vec<f64> = predicted.iter().zip(&expected).flat_map(|(p, r)| order_sums(p, r)).collect();
            let score = f_score(&sums);
            if score > best_score {
                (best, best_score) = (sums, score);
            }
        }
        best
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        f_score(statistics)
    }

    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        if rows == 0 { f64::NAN } else { f_score(sums) }
    }
}

impl ChrF {
    /// Counts of each order: characters first, then words.
    fn counts<'a>(self, text: &'a str, vocabulary: &mut Vocabulary<'a>) -> Vec<Counts> {
        let characters: Vec<u32> = text.chars().filter(|&c| !python::is_space(c)).map(u32::from).collect();
        // A code point needs 21 bits, so six of them fit into 128.
        let mut counts: Vec<Counts> =
            (1..=CHARACTER_ORDER).map(|order| ngrams::count(&characters, order, 21)).collect();
        if self.word_order > 0 {
            let words = vocabulary.encode(python::split(text).flat_map(separate_punctuation));
            counts.extend((1..=self.word_order).map(|order| ngrams::count(&words, order, 32)));
        }
        counts
    }
}

/// A word with one punctuation mark at its end, or else at its start, cut off: at most one, as sacreBLEU does it.
fn separate_punctuation(word: &str) -> impl Iterator<Item = &str> {
    let mut characters = word.chars();
    let (first, last) = (characters.next(), characters.next_back());
    let parts = match (first, last) {
        (Some(_), Some(last)) if python::is_punctuation(last) => word.split_at(word.len() - last.len_utf8()),
        (Some(first), Some(_)) if python::is_punctuation(first) => word.split_at(first.len_utf8()),
        _ => (word, ""),
    };
    [parts.0, parts.1].into_iter().filter(|part| !part.is_empty())
}

/// `[n-grams of the prediction, n-grams of the reference, shared]`; the first counts only where the reference has
/// n-grams of this order.
fn order_sums(predicted: &Counts, expected: &Counts) -> [f64; 3] {
    let predicted_total = if expected.is_empty() { 0 } else { ngrams::total(predicted) };
    [predicted_total as f64, ngrams::total(expected) as f64, ngrams::overlap(predicted, expected) as f64]
}

fn f_score(sums: &[f64]) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for order in sums.chunks_exact(3) {
        if order[0] > 0.0 && order[1] > 0.0 {
            precision += order[2] / order[0];
            recall += order[2] / order[1];
            orders += 1.0;
        }
    }
    if orders == 0.0 || precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_is_cut_off() {
        let parts = |word| separate_punctuation(word).collect::<Vec<_>>();
        assert_eq!(parts("(hi)"), ["(hi", ")"]);
        assert_eq!(parts("(hi"), ["(", "hi"]);
        assert_eq!(parts("!"), ["!"]);
        assert_eq!(parts("é!"), ["é", "!"]);
    }
}
