//! What a metric is: a few sums for each row, and a value as a function of sums.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use rayon::prelude::*;

/// One prediction beside what was expected.
#[derive(Debug, Clone)]
pub struct Pair<'a> {
    /// What the model wrote.
    pub prediction: &'a str,
    /// One or more texts that would have been right; metrics take the best of them.
    pub references: Vec<&'a str>,
}

impl<'a> Pair<'a> {
    /// A pair with one reference.
    pub fn new(prediction: &'a str, reference: &'a str) -> Self {
        Self { prediction, references: vec![reference] }
    }
}

/// A measure of predictions against references.
pub trait Metric: Send + Sync {
    /// The name in scorecards, columns and gates; asking for a metric by this name gives the same metric.
    fn name(&self) -> Cow<'static, str>;

    /// What was computed, in sacreBLEU's form (`key:value|…`): equal signatures mean comparable numbers. `references` is
    /// how many references a row has, or `var`.
    fn signature(&self, references: &str) -> String;

    /// False for error rates such as TER.
    fn higher_is_better(&self) -> bool {
        true
    }

    /// The largest value in the metric's usual scale: 1 or 100.
    fn scale(&self) -> f64 {
        1.0
    }

    /// Every value that it can have.
    fn range(&self) -> RangeInclusive<f64> {
        0.0..=self.scale()
    }

    /// The metric made ready for these pairs, where it must know them all, such as the set of labels.
    fn fitted(&self, _pairs: &[Pair]) -> Option<Box<dyn Metric>> {
        None
    }

    /// The sums that one row contributes. The number of sums is the same for every row.
    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64>;

    /// The value of one row alone.
    fn row_value(&self, statistics: &[f64]) -> f64 {
        statistics[0]
    }

    /// The value of a corpus from sums over its rows. Not a number where there are no rows.
    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        sums[0] / rows as f64
    }

    /// The value of a corpus in which each row counts as often as `weights` says: sums in row order, then
    /// [`Metric::corpus_value`]. A metric that is no function of sums says here what it is.
    fn corpus(&self, statistics: &Statistics, weights: &[u32]) -> f64 {
        let mut sums = vec![0.0; statistics.width.max(1)];
        let mut rows = 0;
        for (row, &weight) in statistics.rows().zip(weights).filter(|(_, weight)| **weight > 0) {
            rows += weight as usize;
            let weight = f64::from(weight);
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        self.corpus_value(&sums, rows)
    }
}

/// The sums of every row, one row after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    width: usize,
    values: Vec<f64>,
}

impl Statistics {
    /// From rows of equal length.
    pub fn from_rows(rows: &[Vec<f64>]) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        Self { width, values: rows.concat() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Each row's sums.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// A metric's values over a set of rows.
#[derive(Debug, Clone)]
pub struct Score {
    /// The metric's name.
    pub name: String,
    /// What exactly was computed.
    pub signature: String,
    /// The value over all rows.
    pub corpus: f64,
    /// The value of each row, in input order.
    pub rows: Vec<f64>,
    /// The sums of each row, in input order; the bootstrap draws from these.
    pub statistics: Statistics,
}

/// Scores all pairs, in parallel over rows. The result does not depend on the number of threads: sums are added in row
/// order.
pub fn score(metric: &dyn Metric, pairs: &[Pair]) -> Score {
    let fitted = metric.fitted(pairs);
    let metric = fitted.as_deref().unwrap_or(metric);
    let statistics: Vec<Vec<f64>> =
        pairs.par_iter().map(|pair| metric.statistics(pair.prediction, &pair.references)).collect();
    let rows = statistics.iter().map(|row| metric.row_value(row)).collect();
    let statistics = Statistics::from_rows(&statistics);
    let corpus = metric.corpus(&statistics, &vec![1; statistics.len()]);
    let signature = metric.signature(&reference_count(pairs));
    Score { name: metric.name().into_owned(), signature, corpus, rows, statistics }
}

/// How many references each row has, or `var`.
fn reference_count(pairs: &[Pair]) -> String {
    let mut counts = pairs.iter().map(|pair| pair.references.len());
    let first = counts.next().unwrap_or(1);
    if counts.all(|count| count == first) { first.to_string() } else { "var".to_owned() }
}

/// A metric whose rows were scored elsewhere: the value of a corpus is the mean of its rows.
#[derive(Debug, Clone)]
pub struct MeanOf {
    /// The name it goes by.
    pub name: String,
    /// What computed the rows.
    pub signature: String,
    /// Whether a larger value is better.
    pub higher_is_better: bool,
}

impl Metric for MeanOf {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone().into()
    }

    fn signature(&self, _: &str) -> String {
        self.signature.clone()
    }

    fn higher_is_better(&self) -> bool {
        self.higher_is_better
    }

    fn range(&self) -> RangeInclusive<f64> {
        f64::NEG_INFINITY..=f64::INFINITY
    }

    fn statistics(&self, _: &str, _: &[&str]) -> Vec<f64> {
        vec![f64::NAN]
    }
}

impl MeanOf {
    /// The score made of these rows.
    pub fn score(&self, rows: Vec<f64>) -> Score {
        let statistics = Statistics { width: 1, values: rows.clone() };
        let corpus = self.corpus(&statistics, &vec![1; rows.len()]);
        Score { name: self.name.clone(), signature: self.signature.clone(), corpus, rows, statistics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_as_often_as_they_are_drawn() {
        let mean = MeanOf { name: "m".to_owned(), signature: String::new(), higher_is_better: true };
        let score = mean.score(vec![1.0, 2.0, 6.0]);
        assert_eq!((score.corpus, score.statistics.len()), (3.0, 3));
        assert_eq!(mean.corpus(&score.statistics, &[0, 1, 2]), 14.0 / 3.0);
        assert!(mean.score(Vec::new()).corpus.is_nan());
    }
}
