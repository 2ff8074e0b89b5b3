//! ROUGE-1 to ROUGE-9, ROUGE-L and ROUGE-Lsum, equal to the `rouge-score` package.
//!
//! Lin 2004, <https://aclanthology.org/W04-1013>. The value of a corpus is the mean of its rows' values, 0 to 1.

mod lcs;
mod porter;

use std::borrow::Cow;

use crate::metric::Metric;
use crate::ngrams::{self, Vocabulary};
use crate::spec::{Spec, SpecError, named};

/// Which of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RougeKind {
    /// Overlap of runs of so many words, 1 to 9.
    Ngram(u8),
    /// Longest common subsequence of the whole texts.
    L,
    /// Union of the longest common subsequences of the lines.
    Lsum,
}

/// What of a comparison is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RougePart {
    /// The harmonic mean of precision and recall.
    FMeasure,
    /// How much of the prediction is in the reference.
    Precision,
    /// How much of the reference is in the prediction.
    Recall,
}

/// One member of the family.
#[derive(Debug, Clone, Copy)]
pub struct Rouge {
    /// Which member.
    pub kind: RougeKind,
    /// Whether words of more than three letters are stemmed first (Porter, with NLTK's extensions).
    pub stemmer: bool,
    /// What of the comparison with the reference of the best F-measure is the value.
    pub part: RougePart,
}

impl Rouge {
    /// The F-measure of one member.
    pub fn new(kind: RougeKind, stemmer: bool) -> Self {
        Self { kind, stemmer, part: RougePart::FMeasure }
    }

    /// The member as written, on top of `base`.
    pub(crate) fn from_spec(base: Self, spec: &Spec) -> Result<Self, SpecError> {
        spec.only(&["use_stemmer", "part"])?;
        let parts =
            [("fmeasure", RougePart::FMeasure), ("precision", RougePart::Precision), ("recall", RougePart::Recall)];
        Ok(Self {
            kind: base.kind,
            stemmer: base.stemmer || spec.switch("use_stemmer")?,
            part: spec.word("part", &parts)?.unwrap_or(base.part),
        })
    }
}

impl Metric for Rouge {
    fn name(&self) -> Cow<'static, str> {
        let kind = match self.kind {
            RougeKind::Ngram(order) => order.to_string(),
            RougeKind::L => "L".to_owned(),
            RougeKind::Lsum => "Lsum".to_owned(),
        };
        let base = format!("rouge{kind}{}", if self.stemmer { "_stemmed" } else { "" });
        named(
            &base,
            &[
                (self.part == RougePart::Precision, "part=precision".to_owned()),
                (self.part == RougePart::Recall, "part=recall".to_owned()),
            ],
        )
    }

    fn signature(&self, references: &str) -> String {
        let part = match self.part {
            RougePart::FMeasure => "f",
            RougePart::Precision => "p",
            RougePart::Recall => "r",
        };
        let stemmer = if self.stemmer { "porter" } else { "no" };
        let split = if self.kind == RougeKind::Lsum { "|split:newline" } else { "" };
        format!(
            "nrefs:{references}|measure:{part}|aggregate:mean|tok:[a-z0-9]|case:lc|stem:{stemmer}{split}|like:rouge-score0.1.2"
        )
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let mut best = Overlap::default();
        for (index, reference) in references.iter().enumerate() {
            let overlap = self.overlap(prediction, reference);
            if index == 0 || overlap.f_measure() > best.f_measure() {
                best = overlap;
            }
        }
        vec![match self.part {
            RougePart::FMeasure => best.f_measure(),
            RougePart::Precision => best.precision(),
            RougePart::Recall => best.recall(),
        }]
    }
}

/// How much two texts share.
#[derive(Debug, Clone, Copy, Default)]
struct Overlap {
    shared: usize,
    predicted: usize,
    expected: usize,
}

impl Overlap {
    fn precision(self) -> f64 {
        self.shared as f64 / self.predicted.max(1) as f64
    }

    fn recall(self) -> f64 {
        self.shared as f64 / self.expected.max(1) as f64
    }

    /// The harmonic mean of precision and recall, 0 where nothing is shared.
    fn f_measure(self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
    }
}

impl Rouge {
    /// One prediction against one reference.
    fn overlap(self, prediction: &str, reference: &str) -> Overlap {
        let (prediction, reference) = (prediction.to_lowercase(), reference.to_lowercase());
        match self.kind {
            RougeKind::Ngram(order) => self.ngrams(&prediction, &reference, usize::from(order)),
            RougeKind::L => {
                let (predicted, expected) = self.encode_pair(&prediction, &reference);
                let shared = lcs::length(&expected, &predicted);
                Overlap { shared, predicted: predicted.len(), expected: expected.len() }
            }
            RougeKind::Lsum => self.lines_shared(&prediction, &reference),
        }
    }

    fn ngrams(self, prediction: &str, reference: &str, order: usize) -> Overlap {
        let (predicted, expected) = self.encode_pair(prediction, reference);
        let (predicted, expected) = (ngrams::count(&predicted, order, 32), ngrams::count(&expected, order, 32));
        Overlap {
            shared: ngrams::overlap(&predicted, &expected) as usize,
            predicted: ngrams::total(&predicted) as usize,
            expected: ngrams::total(&expected) as usize,
        }
    }

    fn encode_pair(self, prediction: &str, reference: &str) -> (Vec<u32>, Vec<u32>) {
        let (predicted, expected) = (self.words(prediction), self.words(reference));
        let mut vocabulary = Vocabulary::default();
        let predicted = vocabulary.encode(predicted.iter().map(AsRef::as_ref));
        (predicted, vocabulary.encode(expected.iter().map(AsRef::as_ref)))
    }

    fn lines_shared(self, prediction: &str, reference: &str) -> Overlap {
        let (predicted, expected) = (self.lines(prediction), self.lines(reference));
        let mut vocabulary = Vocabulary::default();
        let predicted: Vec<_> = predicted.iter().map(|l| vocabulary.encode(l.iter().map(AsRef::as_ref))).collect();
        let expected: Vec<_> = expected.iter().map(|l| vocabulary.encode(l.iter().map(AsRef::as_ref))).collect();
        let lengths = |lines: &[Vec<u32>]| lines.iter().map(Vec::len).sum::<usize>();
        let shared = lcs::union_hits(&expected, &predicted);
        Overlap { shared, predicted: lengths(&predicted), expected: lengths(&expected) }
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
