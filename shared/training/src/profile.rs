//! Where the time of one step goes.

use std::time::Instant;

use kernels::OperationTime;

use crate::{Trainer, TrainingError};

/// One step, operation by operation.
#[derive(Debug, Clone, PartialEq)]
pub struct StepProfile {
    /// Tokens of the step.
    pub tokens: u64,
    /// Wall time of the step in seconds.
    pub seconds: f64,
    /// Each operation, the longest first; what lies between them (sums of gradients, residual additions, bookkeeping) is the rest.
    pub operations: Vec<OperationTime>,
    /// What the processor could do at most, measured beside it: floating-point operations per second in multiply-adds.
    pub peak: f64,
}

impl Trainer<'_> {
    /// Takes two steps, the first to warm up, and tells where the time of the second went.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn profile_step(&mut self) -> Result<StepProfile, TrainingError> {
        let before = self.step()?.tokens;
        let before_peak = kernels::multiply_add_peak();
        let began = Instant::now();
        let (record, mut operations) = kernels::profile(|| self.step());
        let seconds = began.elapsed().as_secs_f64();
        let peak = before_peak.max(kernels::multiply_add_peak());
        operations.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(StepProfile { tokens: record?.tokens - before, seconds, operations, peak })
    }
}
