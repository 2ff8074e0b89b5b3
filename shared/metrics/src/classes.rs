//! Precision, recall and F1 averaged over classes, equal to scikit-learn's `precision_recall_fscore_support` with
//! `labels` set to those of the references and `zero_division=0`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::confusion::expected;
use crate::metric::{Metric, Pair, Statistics};
use crate::python::strip;

/// What is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassFigure {
    /// Of the rows predicted as a class, the share that are.
    Precision,
    /// Of the rows of a class, the share that was predicted.
    Recall,
    /// The harmonic mean of the two.
    F1,
}

/// How classes weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// All the same.
    Macro,
    /// By their rows.
    Weighted,
}

/// A mean over the classes that the references name.
#[derive(Debug, Clone)]
pub struct ClassMean {
    /// What is averaged.
    pub figure: ClassFigure,
    /// How classes weigh.
    pub average: Average,
    labels: BTreeMap<String, usize>,
}

impl ClassMean {
    /// The mean of a figure; labels are found when pairs are scored.
    pub fn new(figure: ClassFigure, average: Average) -> Self {
        Self { figure, average, labels: BTreeMap::new() }
    }
}

impl Metric for ClassMean {
    fn name(&self) -> Cow<'static, str> {
        match (self.figure, self.average) {
            (ClassFigure::Precision, Average::Macro) => "precision_macro",
            (ClassFigure::Recall, Average::Macro) => "recall_macro",
            (ClassFigure::F1, Average::Macro) => "f1_macro",
            (ClassFigure::Precision, Average::Weighted) => "precision_weighted",
            (ClassFigure::Recall, Average::Weighted) => "recall_weighted",
            (ClassFigure::F1, Average::Weighted) => "f1_weighted",
        }
        .into()
    }

    fn signature(&self, _: &str) -> String {
        let average = if self.average == Average::Macro { "macro" } else { "weighted" };
        format!("average:{average}|labels:references|case:mixed|trim:yes|zero:0|like:scikit-learn")
    }

    fn fitted(&self, pairs: &[Pair]) -> Option<Box<dyn Metric>> {
        let labels = pairs.iter().map(|pair| expected(pair.prediction, &pair.references).to_owned());
        let mut labels: BTreeMap<String, usize> = labels.map(|label| (label, 0)).collect();
        labels.values_mut().enumerate().for_each(|(index, place)| *place = index);
        Some(Box::new(Self { labels, ..self.clone() }))
    }

    /// Number of the expected class, number of the predicted class (−1 for no class), whether they are the same.
    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let place = |label: &str| self.labels.get(strip(label)).map_or(-1.0, |&place| place as f64);
        let expected = place(expected(prediction, references));
        let predicted = place(prediction);
        vec![expected, predicted, f64::from(u8::from(expected == predicted))]
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        statistics[2]
    }

    fn corpus(&self, statistics: &Statistics, weights: &[u32]) -> f64 {
        let largest = statistics.rows().map(|row| row[0].max(row[1])).fold(-1.0, f64::max);
        let mut counts = vec![[0u64; 3]; (largest + 1.0) as usize];
        for (row, &weight) in statistics.rows().zip(weights).filter(|(_, weight)| **weight > 0) {
            if row[0] >= 0.0 {
                counts[row[0] as usize][0] += u64::from(weight);
                counts[row[0] as usize][2] += u64::from(weight) * u64::from(row[2] > 0.0);
            }
            if row[1] >= 0.0 {
                counts[row[1] as usize][1] += u64::from(weight);
            }
        }
        // A class that a resample does not hold has nothing to say in it.
        let present = counts.iter().filter(|[expected, ..]| *expected > 0);
        let (mut sum, mut of) = (0.0, 0.0);
        for &[expected, predicted, right] in present {
            let share = |of: u64| if of == 0 { 0.0 } else { right as f64 / of as f64 };
            let figure = match self.figure {
                ClassFigure::Precision => share(predicted),
                ClassFigure::Recall => share(expected),
                ClassFigure::F1 => 2.0 * right as f64 / (expected + predicted).max(1) as f64,
            };
            let weight = if self.average == Average::Macro { 1.0 } else { expected as f64 };
            sum += weight * figure;
            of += weight;
        }
        sum / of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::score;

    #[test]
    fn means_follow_scikit_learn() {
        // sklearn.metrics.f1_score(["a","a","b","c"], ["a","b","b","x"], average=…, labels=["a","b","c"])
        let pairs: Vec<Pair> =
            [("a", "a"), ("b", "a"), ("b", "b"), ("x", "c")].iter().map(|(p, r)| Pair::new(p, r)).collect();
        let value = |figure, average| score(&ClassMean::new(figure, average), &pairs).corpus;
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        near(value(ClassFigure::F1, Average::Macro), (2.0 / 3.0 + 2.0 / 3.0 + 0.0) / 3.0);
        near(value(ClassFigure::F1, Average::Weighted), (2.0 * 2.0 / 3.0 + 2.0 / 3.0) / 4.0);
        near(value(ClassFigure::Precision, Average::Macro), (1.0 + 0.5 + 0.0) / 3.0);
        near(value(ClassFigure::Recall, Average::Weighted), 0.5);
    }
}
