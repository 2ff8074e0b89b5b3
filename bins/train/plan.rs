//! `--plan`: what a run would take, from counting, and its time from a short warm-up that changes nothing.

use std::time::Instant;

use anyhow::Result;
use cli::format::{self, bytes, count};
use serde::Serialize;
use training::{Row, Trainer};

use super::budget::Forecast;

/// What a run would take.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plan {
    /// Parameters of the model, new adapters included.
    pub(crate) parameters: u64,
    /// Parameters to train.
    pub(crate) trained_parameters: u64,
    /// Training rows.
    pub(crate) rows: usize,
    /// Validation rows.
    pub(crate) validation_rows: usize,
    /// Optimizer steps.
    pub(crate) steps: usize,
    /// Tokens that the steps see.
    pub(crate) tokens: u64,
    /// Tokens of the largest micro-batch.
    pub(crate) largest_micro_batch: usize,
    /// Expected peak of the run's memory in bytes.
    pub(crate) bytes: u64,
    /// The same by kind.
    pub(crate) memory: Forecast,
    /// Expected seconds of the steps, from the warm-up.
    pub(crate) seconds: f64,
}

/// Tokens of the warm-up: enough for products at full speed, few enough to be done in a moment.
const WARM_UP: usize = 512;

impl Plan {
    /// Counts, then measures forward and backward over a piece of the largest micro-batch.
    pub(crate) fn measure(
        trainer: &mut Trainer<'_>,
        counts: (u64, u64),
        rows: &[Row],
        validation: &[Row],
        memory: Forecast,
    ) -> Result<Self> {
        let (parameters, trained_parameters) = counts;
        let tokens = trainer.total_tokens();
        // The first pass pays for fresh memory and cold caches; the second is what a step costs.
        trainer.rehearse(WARM_UP)?;
        let began = Instant::now();
        let measured = trainer.rehearse(WARM_UP)?;
        let per_token = began.elapsed().as_secs_f64() / measured as f64;
        Ok(Self {
            parameters,
            trained_parameters,
            rows: rows.len(),
            validation_rows: validation.len(),
            steps: trainer.total_steps(),
            tokens,
            largest_micro_batch: trainer.workload(trainer.batch_size()).tokens,
            bytes: memory.peak,
            memory,
            seconds: per_token * tokens as f64,
        })
    }

    /// Lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "parameters  {}, of which trained {} ({:.2} %)",
                count(self.parameters),
                count(self.trained_parameters),
                100.0 * self.trained_parameters as f64 / self.parameters as f64
            ),
            format!("rows        {} to train, {} to validate", self.rows, self.validation_rows),
            format!(
                "steps       {}, {} tokens, at most {} at once",
                count(self.steps as u64),
                count(self.tokens),
                count(self.largest_micro_batch as u64)
            ),
            format!("memory      about {} at peak: {}", bytes(self.bytes), self.memory.kinds()),
        ];
        lines.extend(self.memory.checkpointing().map(|text| format!("            {text}")));
        lines.push(format!("time        about {}, validation and checkpoints apart", format::duration(self.seconds)));
        lines
    }
}
