//! What a run has done so far, as plain numbers that a checkpoint carries.

use serde::{Deserialize, Serialize};

use crate::preference::PreferenceRecord;

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: usize,
    /// Epochs done after it.
    pub epoch: f64,
    /// Tokens seen so far, this step included.
    pub tokens: u64,
    /// Tokens learnt from so far, this step included.
    pub trained_tokens: u64,
    /// Mean loss of the step's trained tokens, in nats, before the update; with label smoothing the smoothed one.
    pub loss: f64,
    /// Mean loss of the validation rows after the update, where this step was validated.
    pub validation_loss: Option<f64>,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// What the step says of its pairs, under a preference objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceRecord>,
    /// What the validation after it says of its pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_preference: Option<PreferenceRecord>,
}

/// The step whose validation loss is the lowest so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Number of the step, from 1.
    pub step: usize,
    /// Its validation loss in nats per trained token.
    pub validation_loss: f64,
}

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done. With the seed it fixes which rows come next.
    pub step: usize,
    /// Tokens seen.
    pub tokens: u64,
    /// Tokens learnt from.
    pub trained_tokens: u64,
    /// Validation loss before the first step.
    pub initial_validation_loss: Option<f64>,
    /// Best validation so far.
    pub best: Option<Best>,
    /// Validations in a row without a new best.
    pub validations_since_best: usize,
    /// Every step so far.
    pub records: Vec<StepRecord>,
}

impl Progress {
    /// Takes in a validation loss of the current step; true where it is a new best.
    pub(crate) fn validated(&mut self, validation_loss: f64) -> bool {
        let improved = self.best.is_none_or(|best| validation_loss < best.validation_loss);
        if improved {
            self.best = Some(Best { step: self.step, validation_loss });
            self.validations_since_best = 0;
        } else {
            self.validations_since_best += 1;
        }
        improved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lower_loss_is_a_new_best() {
        let mut progress = Progress { step: 4, ..Progress::default() };
        assert!(progress.validated(2.0));
        progress.step = 8;
        assert!(!progress.validated(2.0));
        assert!(!progress.validated(2.5));
        assert_eq!((progress.best.unwrap().step, progress.validations_since_best), (4, 2));
        assert!(progress.validated(1.9));
        assert_eq!((progress.best.unwrap().step, progress.validations_since_best), (8, 0));
    }
}
