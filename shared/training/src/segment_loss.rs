//! Loss of each packed example of a micro-batch: what lets a mislabelled row surface while training goes on.

use crate::batch::MicroBatch;
use crate::row::NOT_TRAINED;

/// Loss of one packed example in one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentLoss {
    /// Index of its row.
    pub row: usize,
    /// Which example of the row, from 0.
    pub segment: usize,
    /// Its tokens in the loss, at least one.
    pub trained_tokens: u32,
    /// Negative log-likelihood summed over them, in nats.
    pub loss_sum: f64,
}

impl MicroBatch {
    /// `losses` (one per position with a target, in order) summed up by packed example; those without a target are left
    /// out.
    pub fn segment_losses(&self, losses: &[f32]) -> Vec<SegmentLoss> {
        let mut rest = losses;
        let mut found = Vec::with_capacity(self.pieces.len());
        for (segment_rows, &(row, segment)) in self.batch.segments.iter().zip(&self.pieces) {
            let trained = self.targets[segment_rows].iter().filter(|&&target| target != NOT_TRAINED).count();
            let (own, after) = rest.split_at(trained.min(rest.len()));
            rest = after;
            if !own.is_empty() {
                let loss_sum = own.iter().map(|&loss| f64::from(loss)).sum();
                found.push(SegmentLoss { row, segment, trained_tokens: own.len() as u32, loss_sum });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;

    #[test]
    fn losses_go_to_the_example_that_they_belong_to() {
        let packed = Row::new(vec![1, 2, 3, 4, 5], vec![1, 2, 3, -100, 5], vec![0, 1, 2, 0, 1]).unwrap();
        let untrained = Row::new(vec![9, 9], vec![-100, -100], vec![0, 1]).unwrap();
        let batch = MicroBatch::new(&[packed, untrained], &[1, 0]).unwrap();
        let found = batch.segment_losses(&[0.5, 1.0, 4.0]);
        let of = |segment, trained_tokens, loss_sum| SegmentLoss { row: 0, segment, trained_tokens, loss_sum };
        assert_eq!(found, [of(0, 2, 1.5), of(1, 1, 4.0)]);
    }
}
