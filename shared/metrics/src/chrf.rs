//! chrF and chrF++, equal to sacreBLEU 2.6 (Popović 2015, <https://aclanthology.org/W15-3049>; 2017, W17-4770).
//!
//! F-score, recall weighted twice, of character n-grams up to 6 (white space dropped), and for chrF++ also of word
//! 1- and 2-grams; averaged over the orders that both sides have. 0 to 100.

use std::borrow::Cow;

use crate::metric::Metric;
use crate::ngrams::{self, Counts, Vocabulary};
use crate::python;
use crate::spec::{Spec, SpecError, named};

/// chrF with sacreBLEU's options.
#[derive(Debug, Clone, Copy)]
pub struct ChrF {
    /// The longest character n-gram.
    pub char_order: usize,
    /// The longest word n-gram that counts: 0 for chrF, 2 for chrF++.
    pub word_order: usize,
    /// How much recall weighs beside precision.
    pub beta: usize,
    /// Whether case is ignored.
    pub lowercase: bool,
    /// Whether white space belongs to the character n-grams.
    pub whitespace: bool,
    /// Whether an order that one side lacks counts with almost nothing instead of being left out.
    pub eps_smoothing: bool,
}

impl Default for ChrF {
    fn default() -> Self {
        Self { char_order: 6, word_order: 0, beta: 2, lowercase: false, whitespace: false, eps_smoothing: false }
    }
}

impl ChrF {
    /// chrF++.
    pub fn plus_plus() -> Self {
        Self { word_order: 2, ..Self::default() }
    }

    /// chrF as written, on top of `base`.
    pub(crate) fn from_spec(base: Self, spec: &Spec) -> Result<Self, SpecError> {
        spec.only(&["char_order", "word_order", "beta", "lowercase", "whitespace", "eps_smoothing"])?;
        Ok(Self {
            char_order: spec.number("char_order", base.char_order, 1..=32, "1 to 32")?,
            word_order: spec.number("word_order", base.word_order, 0..=16, "0 to 16")?,
            beta: spec.number("beta", base.beta, 0..=100, "0 to 100")?,
            lowercase: spec.switch("lowercase")?,
            whitespace: spec.switch("whitespace")?,
            eps_smoothing: spec.switch("eps_smoothing")?,
        })
    }
}

impl Metric for ChrF {
    fn name(&self) -> Cow<'static, str> {
        let base = if self.word_order == 2 { "chrf++" } else { "chrf" };
        named(
            base,
            &[
                (self.char_order != 6, format!("char_order={}", self.char_order)),
                (self.word_order != 0 && self.word_order != 2, format!("word_order={}", self.word_order)),
                (self.beta != 2, format!("beta={}", self.beta)),
                (self.lowercase, "lowercase".to_owned()),
                (self.whitespace, "whitespace".to_owned()),
                (self.eps_smoothing, "eps_smoothing".to_owned()),
            ],
        )
    }

    fn signature(&self, references: &str) -> String {
        let yes = |held| if held { "yes" } else { "no" };
        let case = if self.lowercase { "lc" } else { "mixed" };
        let beta = if self.beta == 2 { String::new() } else { format!("|beta:{}", self.beta) };
        format!(
            "nrefs:{references}|case:{case}|eff:{}|nc:{}|nw:{}|space:{}{beta}|version:2.6.0",
            yes(!self.eps_smoothing),
            self.char_order,
            self.word_order,
            yes(self.whitespace)
        )
    }

    fn scale(&self) -> f64 {
        100.0
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let lowered = |text: &str| if self.lowercase { text.to_lowercase() } else { text.to_owned() };
        let prediction = lowered(prediction);
        let references: Vec<String> = references.iter().map(|reference| lowered(reference)).collect();
        let mut vocabulary = Vocabulary::default();
        let predicted = self.counts(&prediction, &mut vocabulary);
        let mut best = vec![0.0; 3 * (self.char_order + self.word_order)];
        let mut best_score = -1.0;
        for reference in &references {
            let expected = self.counts(reference, &mut vocabulary);
            let sums: Vec<f64> = predicted.iter().zip(&expected).flat_map(|(p, r)| order_sums(p, r)).collect();
            let score = self.f_score(&sums);
            if score > best_score {
                (best, best_score) = (sums, score);
            }
        }
        best
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        self.f_score(statistics)
    }

    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        if rows == 0 { f64::NAN } else { self.f_score(sums) }
    }
}

impl ChrF {
    /// Counts of each order: characters first, then words.
    fn counts<'a>(self, text: &'a str, vocabulary: &mut Vocabulary<'a>) -> Vec<Counts> {
        let kept = |character: &char| self.whitespace || !python::is_space(*character);
        let characters: Vec<u32> = text.chars().filter(kept).map(u32::from).collect();
        // A code point needs 21 bits, so six of them fit into 128.
        let mut counts: Vec<Counts> =
            (1..=self.char_order).map(|order| ngrams::count(&characters, order, 21)).collect();
        if self.word_order > 0 {
            let words = vocabulary.encode(python::split(text).flat_map(separate_punctuation));
            counts.extend((1..=self.word_order).map(|order| ngrams::count(&words, order, 32)));
        }
        counts
    }

    fn f_score(self, sums: &[f64]) -> f64 {
        const EPSILON: f64 = 1e-16;
        let factor = (self.beta * self.beta) as f64;
        let share = |shared: f64, of: f64| if of > 0.0 { shared / of } else { EPSILON };
        let (mut score, mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0, 0.0);
        for order in sums.chunks_exact(3) {
            let (p, r) = (share(order[2], order[0]), share(order[2], order[1]));
            let denominator = factor * p + r;
            score += if denominator > 0.0 { (1.0 + factor) * p * r / denominator } else { EPSILON };
            if order[0] > 0.0 && order[1] > 0.0 {
                precision += p;
                recall += r;
                orders += 1.0;
            }
        }
        if self.eps_smoothing {
            return 100.0 * score / (self.char_order + self.word_order) as f64;
        }
        if orders == 0.0 || precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall)
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
