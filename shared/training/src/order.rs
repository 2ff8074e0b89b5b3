//! Which rows make which step: a function of (seed, epoch), so that a resumed run and a single run see the same.

use std::ops::Range;

/// A run's rows dealt out to its steps.
///
/// An epoch shows every row once. Its last step takes what is left, so no row is dropped. Where all rows fit into one
/// step their order changes nothing but rounding, and the file's order is kept.
#[derive(Debug, Clone)]
pub struct RowOrder {
    rows: usize,
    rows_per_step: usize,
    seed: u64,
    shuffled: Option<(usize, Vec<usize>)>,
}

impl RowOrder {
    /// Deals out `rows` rows (≥ 1), `rows_per_step` (≥ 1) to each step.
    pub fn new(rows: usize, rows_per_step: usize, seed: u64) -> Self {
        Self { rows: rows.max(1), rows_per_step: rows_per_step.max(1), seed, shuffled: None }
    }

    /// Steps that show every row once.
    pub fn steps_per_epoch(&self) -> usize {
        self.rows.div_ceil(self.rows_per_step)
    }

    /// Epochs done after `steps` steps, with a fraction.
    pub fn epochs_after(&self, steps: usize) -> f64 {
        let per_epoch = self.steps_per_epoch();
        let in_epoch = (steps % per_epoch * self.rows_per_step).min(self.rows);
        (steps / per_epoch) as f64 + in_epoch as f64 / self.rows as f64
    }

    /// Rows of step `k` (from 0), in the order in which they are seen.
    pub fn rows_of(&mut self, k: usize) -> Vec<usize> {
        let epoch = k / self.steps_per_epoch();
        let range = self.range_in_epoch(k);
        if self.rows <= self.rows_per_step {
            return range.collect();
        }
        if self.shuffled.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.shuffled = Some((epoch, shuffle(self.rows, self.seed, epoch as u64)));
        }
        let (_, order) = self.shuffled.as_ref().expect("filled just above");
        order[range].to_vec()
    }

    fn range_in_epoch(&self, k: usize) -> Range<usize> {
        let start = k % self.steps_per_epoch() * self.rows_per_step;
        start..(start + self.rows_per_step).min(self.rows)
    }
}

/// The numbers below `rows`, each placed by a hash of (seed, epoch, number).
fn shuffle(rows: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by_cached_key(|&row| (counter_hash(&[seed, epoch, row as u64]), row));
    order
}

/// A well-mixed number for a tuple of counters: the finaliser of splitmix64 (Steele, Lea, Flood 2014) over each.
pub fn counter_hash(counters: &[u64]) -> u64 {
    counters.iter().fold(0x243f_6a88_85a3_08d3, |state, &counter| {
        let mut z = (state ^ counter).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_that_fit_one_step_keep_the_order_of_the_file() {
        let mut order = RowOrder::new(3, 4, 9);
        assert_eq!(order.rows_of(0), [0, 1, 2]);
        assert_eq!(order.rows_of(7), [0, 1, 2]);
    }

    #[test]
    fn epochs_count_rows() {
        let order = RowOrder::new(5, 2, 0);
        let epochs: Vec<f64> = (0..=4).map(|steps| order.epochs_after(steps)).collect();
        assert_eq!(epochs, [0.0, 0.4, 0.8, 1.0, 1.4]);
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let first = |seed, step| RowOrder::new(64, 8, seed).rows_of(step);
        assert_ne!(first(1, 0), first(2, 0));
        assert_ne!(first(1, 0), first(1, 8));
    }

    proptest! {
        #[test]
        fn an_epoch_shows_each_row_once_wherever_it_is_entered(rows in 1usize..60, per_step in 1usize..9, seed in any::<u64>(), epoch in 0usize..3) {
            let mut whole = RowOrder::new(rows, per_step, seed);
            let steps = whole.steps_per_epoch();
            let mut seen = Vec::new();
            for k in epoch * steps..(epoch + 1) * steps {
                let found = whole.rows_of(k);
                prop_assert_eq!(&RowOrder::new(rows, per_step, seed).rows_of(k), &found);
                seen.extend(found);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
        }
    }
}
