//! What a metric is: a few sums for each row, and a value as a function of sums.

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
    /// The name in scorecards, columns and gates.
    fn name(&self) -> &'static str;

    /// What was computed, in sacreBLEU's form (`key:value|…`): equal signatures mean comparable numbers.
    fn signature(&self) -> String;

    /// False for error rates such as TER.
    fn higher_is_better(&self) -> bool {
        true
    }

    /// The largest value in the metric's usual scale: 1 or 100.
    fn scale(&self) -> f64 {
        1.0
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
    pub statistics: Vec<Vec<f64>>,
}

/// Scores all pairs, in parallel over rows. The result does not depend on the number of threads: sums are added in row
/// order.
pub fn score(metric: &dyn Metric, pairs: &[Pair]) -> Score {
    let statistics: Vec<Vec<f64>> =
        pairs.par_iter().map(|pair| metric.statistics(pair.prediction, &pair.references)).collect();
    let rows = statistics.iter().map(|row| metric.row_value(row)).collect();
    let corpus = corpus_of(metric, &statistics, 0..statistics.len());
    Score { name: metric.name().to_owned(), signature: metric.signature(), corpus, rows, statistics }
}

/// The corpus value over the rows that `indices` names, an index counted as often as it appears.
pub(crate) fn corpus_of(
    metric: &dyn Metric,
    statistics: &[Vec<f64>],
    indices: impl ExactSizeIterator<Item = usize>,
) -> f64 {
    let rows = indices.len();
    let mut sums = vec![0.0; statistics.first().map_or(1, Vec::len)];
    for index in indices {
        for (sum, value) in sums.iter_mut().zip(&statistics[index]) {
            *sum += value;
        }
    }
    metric.corpus_value(&sums, rows)
}
