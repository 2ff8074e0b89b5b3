//! `--plan`: what a run would take, from counting and from a short warm-up that changes nothing.

use std::time::Instant;

use anyhow::Result;
use artifact::peak_memory_bytes;
use cli::format::{self, bytes, count};
use serde::Serialize;
use training::{Row, Trainer};

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
    /// Bytes of the weights.
    pub(crate) weight_bytes: u64,
    /// Bytes of gradients and AdamW's moments.
    pub(crate) optimizer_bytes: u64,
    /// Expected seconds of the steps, from the warm-up.
    pub(crate) seconds: f64,
}

const F32: u64 = 4;

impl Plan {
    /// Counts, then measures forward and backward over the largest micro-batch.
    pub(crate) fn measure(
        trainer: &mut Trainer<'_>,
        counts: (u64, u64),
        rows: &[Row],
        validation: &[Row],
    ) -> Result<Self> {
        let (parameters, trained_parameters) = counts;
        let tokens = trainer.total_tokens();
        // Weights and moments are in memory already and the rehearsal adds gradients and activations, so the peak of
        // this process is the peak of a run. The first pass pays for fresh memory and cold caches; the second is what a step costs.
        let largest_micro_batch = trainer.rehearse()?;
        let began = Instant::now();
        trainer.rehearse()?;
        let per_token = began.elapsed().as_secs_f64() / largest_micro_batch as f64;
        let weight_bytes = parameters * F32;
        let optimizer_bytes = trained_parameters * F32 * 3;
        Ok(Self {
            parameters,
            trained_parameters,
            rows: rows.len(),
            validation_rows: validation.len(),
            steps: trainer.total_steps(),
            tokens,
            largest_micro_batch,
            bytes: peak_memory_bytes().unwrap_or(weight_bytes + optimizer_bytes),
            weight_bytes,
            optimizer_bytes,
            seconds: per_token * tokens as f64,
        })
    }

    /// Lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        vec![
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
            format!(
                "memory      about {} at peak (weights {}, gradients and optimizer {})",
                bytes(self.bytes),
                bytes(self.weight_bytes),
                bytes(self.optimizer_bytes)
            ),
            format!("time        about {}, validation and checkpoints apart", format::duration(self.seconds)),
        ]
    }
}
