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

/// Loss of `rows` in their order, `batch_size` rows at a time, without gradients and dropout.
///
/// `step` only names the moment in an error.
///
/// # Errors
/// [`TrainingError::NonFiniteValidation`], or what the model reports.
pub fn evaluate(
    decoder: &Decoder,
    rows: &[Row],
    batch_size: usize,
    step: usize,
) -> Result<ValidationLoss, TrainingError> {
    let mut total = ValidationLoss::default();
    let indices: Vec<usize> = (0..rows.len()).collect();
    for chosen in indices.chunks(batch_size.max(1)) {
        let micro = MicroBatch::new(rows, chosen)?;
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
