//! Which label was taken for which: a confusion table with precision, recall and F1 of each class.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::metric::Pair;
use crate::python::strip;

/// Counts of (reference label, predicted label) pairs, labels trimmed.
#[derive(Debug, Clone, Default)]
pub struct Confusion {
    counts: BTreeMap<(String, String), usize>,
    labels: BTreeSet<String>,
}

/// How well one class is found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScore {
    /// The label.
    pub label: String,
    /// Of the rows predicted as this label, the share that are; 0 where none was predicted.
    pub precision: f64,
    /// Of the rows with this label, the share that was predicted.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Rows with this label.
    pub support: usize,
}

/// The label that a row counts under: the reference that the answer equals, or else the first.
pub(crate) fn expected<'a>(prediction: &str, references: &[&'a str]) -> &'a str {
    let mut labels = references.iter().map(|label| strip(label));
    let first = labels.clone().next().unwrap_or_default();
    labels.find(|label| *label == strip(prediction)).unwrap_or(first)
}

impl Confusion {
    /// Counts each pair under its expected label.
    pub fn new(pairs: &[Pair]) -> Self {
        let mut confusion = Self::default();
        for pair in pairs {
            let reference = expected(pair.prediction, &pair.references).to_owned();
            confusion.labels.insert(reference.clone());
            *confusion.counts.entry((reference, strip(pair.prediction).to_owned())).or_insert(0) += 1;
        }
        confusion
    }

    /// The labels that references use, sorted.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(String::as_str)
    }

    /// How often `predicted` was given where `reference` was right.
    pub fn count(&self, reference: &str, predicted: &str) -> usize {
        self.counts.get(&(reference.to_owned(), predicted.to_owned())).copied().unwrap_or(0)
    }

    /// How often something that is no label at all was given where `reference` was right.
    pub fn outside(&self, reference: &str) -> usize {
        let row =
            self.counts.iter().filter(|((label, predicted), _)| label == reference && !self.labels.contains(predicted));
        row.map(|(_, count)| count).sum()
    }

    /// Scores of each class, by label.
    pub fn classes(&self) -> Vec<ClassScore> {
        self.labels.iter().map(|label| self.class(label)).collect()
    }

    fn class(&self, label: &str) -> ClassScore {
        let sum = |keep: &dyn Fn(&(String, String)) -> bool| -> usize {
            self.counts.iter().filter(|(pair, _)| keep(pair)).map(|(_, count)| count).sum()
        };
        let right = self.count(label, label) as f64;
        let support = sum(&|(reference, _)| reference == label);
        let predicted = sum(&|(_, predicted)| predicted == label);
        let share = |of: usize| if of == 0 { 0.0 } else { right / of as f64 };
        let (precision, recall) = (share(predicted), share(support));
        let f1 = if right == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
        ClassScore { label: label.to_owned(), precision, recall, f1, support }
    }

    /// The largest confusions: (reference, predicted, count), most frequent first, then by label.
    pub fn most_confused(&self, limit: usize) -> Vec<(&str, &str, usize)> {
        let mut wrong: Vec<_> = self
            .counts
            .iter()
            .filter(|((reference, predicted), _)| reference != predicted)
            .map(|((reference, predicted), &count)| (reference.as_str(), predicted.as_str(), count))
            .collect();
        wrong.sort_by_key(|&(reference, predicted, count)| (std::cmp::Reverse(count), reference, predicted));
        wrong.truncate(limit);
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_of_a_small_table() {
        let rows = [("a", "a"), ("b", "a"), ("b", "b"), ("zzz", "b")];
        let pairs: Vec<Pair> = rows.iter().map(|(prediction, reference)| Pair::new(prediction, reference)).collect();
        let confusion = Confusion::new(&pairs);
        let classes = confusion.classes();
        assert_eq!((classes[0].precision, classes[0].recall), (1.0, 0.5));
        assert_eq!((classes[1].precision, classes[1].recall), (0.5, 0.5));
        assert_eq!((confusion.count("a", "b"), confusion.outside("b")), (1, 1));
        assert_eq!(confusion.most_confused(1), [("a", "b", 1)]);
        // Of several references any is right, as for accuracy.
        let several = Pair { prediction: "b", references: vec!["a", "b"] };
        assert_eq!(Confusion::new(&[several]).count("b", "b"), 1);
    }
}
