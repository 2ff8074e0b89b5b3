//! Bootstrap confidence intervals and paired differences: how far chance in the choice of rows would carry a number.
//!
//! Rows are drawn with replacement (Efron 1979; paired for two systems, Koehn 2004,
//! <https://aclanthology.org/W04-3250>). Each draw's random numbers come from (seed, resample, draw) alone, so that the
//! result is the same for any number of threads.

use rayon::prelude::*;
use serde::Serialize;

use crate::metric::{Metric, Score};

/// With fewer rows than this a resampled interval is too narrow more often than it says (and one row decides much), so that no
/// verdict of better or worse is drawn from it.
pub const FEWEST_ROWS: usize = 30;

/// How the bootstrap is done.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    /// How many resampled corpora; 1000 by default.
    pub resamples: usize,
    /// The seed of the draws.
    pub seed: u64,
    /// The share of resamples that the interval covers, such as 0.95.
    pub level: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0, level: 0.95 }
    }
}

/// The range that holds the given share of resampled values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end, in the metric's scale.
    pub lower: f64,
    /// Upper end, in the metric's scale.
    pub upper: f64,
}

/// Tuned minus baseline on the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The difference of the two corpus values.
    pub value: f64,
    /// Its interval over resampled rows, both systems resampled together.
    pub interval: Interval,
    /// How often chance alone would give a difference as large: two-sided, never zero.
    pub p_value: f64,
    /// Rows on which the tuned model is better, taking the metric's direction into account.
    pub wins: usize,
    /// Rows on which it is worse.
    pub losses: usize,
    /// Rows on which both are equal.
    pub ties: usize,
}

/// The values of some scores over the same resampled rows: one list for each score, one value for each resample.
///
/// All scores are of the same rows, so that what is drawn is drawn once: differences of two lists are paired. Nothing
/// where there are no rows.
pub fn resample(scores: &[(&dyn Metric, &Score)], bootstrap: &Bootstrap) -> Vec<Vec<f64>> {
    let rows = scores.first().map_or(0, |(_, score)| score.rows.len());
    if rows == 0 || bootstrap.resamples == 0 {
        return vec![Vec::new(); scores.len()];
    }
    let drawn: Vec<Vec<f64>> = (0..bootstrap.resamples)
        .into_par_iter()
        .map(|resample| {
            let mut weights = vec![0u32; rows];
            draws(bootstrap.seed, resample, rows).for_each(|row| weights[row] += 1);
            scores.iter().map(|(metric, score)| metric.corpus(&score.statistics, &weights)).collect()
        })
        .collect();
    (0..scores.len()).map(|place| drawn.iter().map(|values| values[place]).collect()).collect()
}

/// The percentile interval of resampled values; none where there are none.
pub fn interval(values: &[f64], level: f64) -> Option<Interval> {
    (!values.is_empty()).then(|| percentile_interval(values.to_vec(), level))
}

/// The percentile interval of one score; none where there are no rows.
pub fn confidence_interval(metric: &dyn Metric, score: &Score, bootstrap: &Bootstrap) -> Option<Interval> {
    interval(&resample(&[(metric, score)], bootstrap)[0], bootstrap.level)
}

/// Compares two systems on the same rows, from [`resample`]'s values of both; none where there are no values.
pub fn difference(
    metric: &dyn Metric,
    tuned: (&Score, &[f64]),
    baseline: (&Score, &[f64]),
    level: f64,
) -> Option<Difference> {
    let differences = differences(tuned.1, baseline.1);
    let interval = interval(&differences, level)?;
    let value = tuned.0.corpus - baseline.0.corpus;
    let (wins, losses) = compare_rows(metric, tuned.0, baseline.0);
    let ties = tuned.0.rows.len() - wins - losses;
    Some(Difference { value, p_value: p_value(value, &differences), interval, wins, losses, ties })
}

/// Tuned minus baseline in each resample.
pub fn differences(tuned: &[f64], baseline: &[f64]) -> Vec<f64> {
    tuned.iter().zip(baseline).map(|(tuned, baseline)| tuned - baseline).collect()
}

/// Compares two systems on the same rows; none where there are no rows or their numbers differ.
pub fn paired_difference(
    metric: &dyn Metric,
    tuned: &Score,
    baseline: &Score,
    bootstrap: &Bootstrap,
) -> Option<Difference> {
    if tuned.rows.len() != baseline.rows.len() {
        return None;
    }
    let values = resample(&[(metric, tuned), (metric, baseline)], bootstrap);
    difference(metric, (tuned, &values[0]), (baseline, &values[1]), bootstrap.level)
}

fn compare_rows(metric: &dyn Metric, tuned: &Score, baseline: &Score) -> (usize, usize) {
    let direction = if metric.higher_is_better() { 1.0 } else { -1.0 };
    let gains = tuned.rows.iter().zip(&baseline.rows).map(|(tuned, baseline)| direction * (tuned - baseline));
    gains.fold((0, 0), |(wins, losses), gain| (wins + usize::from(gain > 0.0), losses + usize::from(gain < 0.0)))
}

/// The share of resampled differences at least as far from their own mean as the observed one is from zero.
fn p_value(observed: f64, differences: &[f64]) -> f64 {
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    let as_far = differences.iter().filter(|&&difference| (difference - mean).abs() >= observed.abs() - 1e-12).count();
    (as_far + 1) as f64 / (differences.len() + 1) as f64
}

/// The rows of one resample.
fn draws(seed: u64, resample: usize, rows: usize) -> impl ExactSizeIterator<Item = usize> {
    let base = mix(mix(seed) ^ resample as u64);
    // The high bits of a product spread a 64-bit number evenly over the rows without a division.
    (0..rows).map(move |draw| ((u128::from(mix(base.wrapping_add(draw as u64))) * rows as u128) >> 64) as usize)
}

/// SplitMix64's finaliser over a Weyl step: a counter in, 64 mixed bits out.
fn mix(counter: u64) -> u64 {
    let mut bits = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The ends between which `level` of the values lie, interpolated between neighbours.
fn percentile_interval(mut values: Vec<f64>, level: f64) -> Interval {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let position = share * (values.len() - 1) as f64;
        let below = values[position.floor() as usize];
        below + (values[position.ceil() as usize] - below) * position.fract()
    };
    let tail = (1.0 - level) / 2.0;
    Interval { lower: at(tail), upper: at(1.0 - tail) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact_match::Accuracy;
    use crate::metric::{Pair, score};

    fn scores(right: usize, of: usize) -> Score {
        let pairs: Vec<Pair> = (0..of).map(|i| Pair::new(if i < right { "a" } else { "b" }, "a")).collect();
        score(&Accuracy, &pairs)
    }

    #[test]
    fn interval_is_near_the_binomial_one() {
        let interval = confidence_interval(&Accuracy, &scores(160, 200), &Bootstrap::default()).expect("rows");
        // 0.8 ± 1.96 · sqrt(0.8 · 0.2 / 200) = 0.7446 … 0.8554
        assert!((interval.lower - 0.7446).abs() < 0.012, "{interval:?}");
        assert!((interval.upper - 0.8554).abs() < 0.012, "{interval:?}");
    }

    #[test]
    fn a_clear_difference_is_significant_and_none_is_not() {
        let bootstrap = Bootstrap::default();
        let clear = paired_difference(&Accuracy, &scores(90, 100), &scores(20, 100), &bootstrap).expect("rows");
        assert!(clear.p_value < 0.01 && clear.interval.lower > 0.5, "{clear:?}");
        assert_eq!((clear.wins, clear.losses, clear.ties), (70, 0, 30));
        let same = paired_difference(&Accuracy, &scores(50, 100), &scores(50, 100), &bootstrap).expect("rows");
        assert!((same.p_value - 1.0).abs() < 1e-12);
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| confidence_interval(&Accuracy, &scores(33, 77), &Bootstrap::default()))
        };
        assert_eq!(run(1), run(3));
    }
}
