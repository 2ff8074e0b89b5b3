//! ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum F-measures, equal to the `rouge-score` package.
//!
//! Lin 2004, <https://aclanthology.org/W04-1013>. The value of a corpus is the mean of its rows' F-measures, 0 to 1.

mod lcs;
mod porter;

use crate::metric::Metric;
use crate::ngrams::{self, Vocabulary};
use std::borrow::Cow;

/// Which of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RougeKind {
    /// Overlap of words.
    One,
    /// Overlap of word pairs.
    Two,
    /// Longest common subsequence of the whole texts.
    L,
    /// Union of the longest common subsequences of the lines.
    Lsum,
}

/// One member of the family.
#[derive(Debug, Clone, Copy)]
pub struct Rouge {
    /// Which member.
    pub kind: RougeKind,
    /// Whether words of more than three letters are stemmed first (Porter, with NLTK's extensions).
    pub stemmer: bool,
}

impl Metric for Rouge {
    fn name(&self) -> &'static str {
        match (self.kind, self.stemmer) {
            (RougeKind::One, false) => "rouge1",
            (RougeKind::Two, false) => "rouge2",
            (RougeKind::L, false) => "rougeL",
            (RougeKind::Lsum, false) => "rougeLsum",
            (RougeKind::One, true) => "rouge1_stemmed",
            (RougeKind::Two, true) => "rouge2_stemmed",
            (RougeKind::L, true) => "rougeL_stemmed",
            (RougeKind::Lsum, true) => "rougeLsum_stemmed",
        }
    }

    fn signature(&self) -> String {
        let stemmer = if self.stemmer { "porter" } else { "no" };
        let split = if self.kind == RougeKind::Lsum { "|split:newline" } else { "" };
        format!("measure:f|aggregate:mean|tok:[a-z0-9]|case:lc|stem:{stemmer}{split}|like:rouge-score0.1.2")
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        vec![references.iter().map(|reference| self.f_measure(prediction, reference)).fold(0.0, f64::max)]
    }
}

impl Rouge {
    /// The F-measure of one prediction against one reference, 0 to 1.
    fn f_measure(self, prediction: &str, reference: &str) -> f64 {
        let (prediction, reference) = (prediction.to_lowercase(), reference.to_lowercase());
        match self.kind {
            RougeKind::One => self.ngram_f(&prediction, &reference, 1),
            RougeKind::Two => self.ngram_f(&prediction, &reference, 2),
            RougeKind::L => {
                let (predicted, expected) = self.encode_pair(&prediction, &reference);
                f_measure(lcs::length(&expected, &predicted) as f64, predicted.len(), expected.len())
            }
            RougeKind::Lsum => self.summary_f(&prediction, &reference),
        }
    }

    fn ngram_f(self, prediction: &str, reference: &str, order: usize) -> f64 {
        let (predicted, expected) = self.encode_pair(prediction, reference);
        let (predicted, expected) = (ngrams::count(&predicted, order, 32), ngrams::count(&expected, order, 32));
        let shared = ngrams::overlap(&predicted, &expected) as f64;
        f_measure(shared, ngrams::total(&predicted) as usize, ngrams::total(&expected) as usize)
    }

    fn encode_pair(self, prediction: &str, reference: &str) -> (Vec<u32>, Vec<u32>) {
        let (predicted, expected) = (self.words(prediction), self.words(reference));
        let mut vocabulary = Vocabulary::default();
        let predicted = vocabulary.encode(predicted.iter().map(AsRef::as_ref));
        (predicted, vocabulary.encode(expected.iter().map(AsRef::as_ref)))
    }

    fn summary_f(self, prediction: &str, reference: &str) -> f64 {
        let (predicted, expected) = (self.lines(prediction), self.lines(reference));
        let mut vocabulary = Vocabulary::default();
        let predicted: Vec<_> = predicted.iter().map(|l| vocabulary.encode(l.iter().map(AsRef::as_ref))).collect();
        let expected: Vec<_> = expected.iter().map(|l| vocabulary.encode(l.iter().map(AsRef::as_ref))).collect();
        let lengths = |lines: &[Vec<u32>]| lines.iter().map(Vec::len).sum::<usize>();
        f_measure(lcs::union_hits(&expected, &predicted) as f64, lengths(&predicted), lengths(&expected))
    }

    /// The words of each line that is not empty.
    fn lines(self, text: &str) -> Vec<Vec<Cow<'_, str>>> {
        text.split('\n').filter(|line| !line.is_empty()).map(|line| self.words(line)).collect()
    }

    /// The words of an already lower-cased text: runs of `a-z0-9`, stemmed where asked.
    fn words(self, text: &str) -> Vec<Cow<'_, str>> {
        text.split(|character: char| !(character.is_ascii_lowercase() || character.is_ascii_digit()))
            .filter(|word| !word.is_empty())
            .map(|word| {
                let stems = self.stemmer && word.len() > 3;
                if stems { Cow::Owned(porter::stem(word)) } else { Cow::Borrowed(word) }
            })
            .collect()
    }
}

/// The harmonic mean of precision and recall, 0 where nothing is shared.
fn f_measure(shared: f64, predicted: usize, expected: usize) -> f64 {
    let precision = shared / predicted.max(1) as f64;
    let recall = shared / expected.max(1) as f64;
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}
