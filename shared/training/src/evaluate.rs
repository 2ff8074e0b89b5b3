//! Loss over rows that are not trained on.

use model::Decoder;

use crate::batch::MicroBatch;
use crate::{Row, SegmentLoss, TrainingError};

/// Sum of the loss over rows, and over how many tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ValidationLoss {
    /// Negative log-likelihood summed over all trained tokens, in nats.
    pub loss_sum: f64,
    /// Number of trained tokens.
    pub trained_tokens: u64,
    /// How many of them the model ranks first.
    pub correct: u64,
    /// The loss of each packed example, in row order.
    pub examples: Vec<SegmentLoss>,
}

impl ValidationLoss {
    /// Mean loss in nats per trained token: every token weighs the same, whatever its row and batch.
    pub fn mean(&self) -> f64 {
        self.loss_sum / self.trained_tokens.max(1) as f64
    }
}

/// Tokens that go through the model together: enough for products at full speed. A longer row goes alone.
const TOGETHER: usize = 2048;

/// Loss of `rows` in their order, without gradients and dropout. How many of them go through the model together is a
/// function of their lengths alone, so that the loss does not depend on the batch size of training, to the bit.
///
/// `step` only names the moment in an error.
///
/// # Errors
/// [`TrainingError::NonFiniteValidation`], or what the model reports.
pub fn evaluate(decoder: &Decoder, rows: &[Row], step: usize) -> Result<ValidationLoss, TrainingError> {
    let mut total = ValidationLoss::default();
    for chosen in groups(rows) {
        let micro = MicroBatch::new(rows, &chosen)?;
        if micro.trained_tokens() == 0 {
            continue;
        }
        let found = decoder.score(&micro.batch, &micro.targets)?;
        let not_finite = micro.rows_with_non_finite(&found.losses);
        if !not_finite.is_empty() {
            return Err(TrainingError::NonFiniteValidation { step, rows: not_finite });
        }
        total.examples.extend(micro.segment_losses(&found.losses));
        total.loss_sum += found.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        total.trained_tokens += found.losses.len() as u64;
        total.correct += found.correct.iter().filter(|&&correct| correct).count() as u64;
    }
    Ok(total)
}

/// The rows of each pass, at most [`TOGETHER`] tokens or a single row.
fn groups(rows: &[Row]) -> Vec<Vec<usize>> {
    let (mut groups, mut tokens): (Vec<Vec<usize>>, usize) = (Vec::new(), 0);
    for (index, row) in rows.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if tokens + row.len() <= TOGETHER => group.push(index),
            _ => {
                groups.push(vec![index]);
                tokens = 0;
            }
        }
        tokens += row.len();
    }
    groups
}

/// Tokens of the largest pass over `rows`.
pub(crate) fn largest_pass(rows: &[Row]) -> usize {
    groups(rows).iter().map(|group| group.iter().map(|&index| rows[index].len()).sum()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_goes_alone_and_short_ones_together() {
        let row =
            |length: u32| Row::new(vec![1; length as usize], vec![1; length as usize], (0..length).collect()).unwrap();
        let rows = [row(2000), row(48), row(1), row(5000), row(1)];
        assert_eq!(groups(&rows), [vec![0, 1], vec![2], vec![3], vec![4]]);
        assert_eq!((largest_pass(&rows), largest_pass(&[])), (5000, 0));
    }
}
