//! What a finished run says: losses, validation, speed, where the result is, and what to do next.

use std::path::Path;

use cli::format::{bytes, count, plural};
use serde::Serialize;
use training::{Outcome, Progress, StepRecord};

use super::budget::Forecast;

/// The summary of a run: printed for people, with `--json` as a document, and kept in the manifest.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// `lora`, `qlora` or `full`.
    pub(crate) method: &'static str,
    /// Parameters of the model, its adapter included.
    pub(crate) parameters: u64,
    /// Parameters that were trained.
    pub(crate) trained_parameters: u64,
    /// Steps done.
    pub(crate) steps: usize,
    /// Epochs done.
    pub(crate) epochs: f64,
    /// Tokens seen.
    pub(crate) tokens: u64,
    /// Tokens learnt from.
    pub(crate) trained_tokens: u64,
    /// Rows in which no token is trained; they were left out.
    pub(crate) rows_without_targets: usize,
    /// What the training loss is: `cross_entropy`, or `label_smoothed_cross_entropy`. The validation loss is the former.
    pub(crate) loss: &'static str,
    /// Loss of the first step.
    pub(crate) loss_first: f64,
    /// Loss of the last step.
    pub(crate) loss_last: f64,
    /// Validation, where there are validation rows.
    pub(crate) validation: Option<ValidationReport>,
    /// The step whose weights are the result.
    pub(crate) result_step: usize,
    /// Whether early stopping ended the run.
    pub(crate) stopped_early: bool,
    /// Over all steps, validation and checkpoints apart.
    pub(crate) tokens_per_second: f64,
    /// Memory as it was expected and as it was.
    pub(crate) memory: Option<MemoryReport>,
}

/// Memory as it was expected before the first step, and as it was measured after the last one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MemoryReport {
    /// By kind.
    pub(crate) forecast: Forecast,
    /// Largest resident size of the process, where the system tells.
    pub(crate) peak: Option<u64>,
}

/// Validation over a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ValidationReport {
    /// Before the first step.
    pub(crate) initial: Option<f64>,
    /// The lowest.
    pub(crate) best: f64,
    /// Its step.
    pub(crate) best_step: usize,
    /// At the last step.
    pub(crate) last: f64,
    /// Whether it rose by more than a hundredth after its lowest while the training loss went on falling.
    pub(crate) overfitting: bool,
}

impl Report {
    /// Sums up a run's records; `result_step` is chosen by the caller.
    pub(crate) fn new(progress: &Progress, outcome: Outcome, method: &'static str, result_step: usize) -> Self {
        let first = progress.records.first().expect("a run has at least one step");
        let last = progress.records.last().expect("a run has at least one step");
        Self {
            method,
            parameters: 0,
            trained_parameters: 0,
            steps: progress.step,
            epochs: last.epoch,
            tokens: progress.tokens,
            trained_tokens: progress.trained_tokens,
            rows_without_targets: 0,
            loss: "cross_entropy",
            loss_first: first.loss,
            loss_last: last.loss,
            validation: validation(progress),
            result_step,
            stopped_early: outcome == Outcome::StoppedEarly,
            tokens_per_second: 0.0,
            memory: None,
        }
    }

    /// For people: what happened, what it means, where the result is, what to run next.
    pub(crate) fn text(&self, out: &Path, next: &str) -> String {
        let mut lines = vec![
            format!(
                "{}, {:.2} epochs, {} tokens of which {} trained, {} tokens/s",
                plural(self.steps as u64, "step"),
                self.epochs,
                count(self.tokens),
                count(self.trained_tokens),
                count(self.tokens_per_second as u64)
            ),
            format!("loss             {:.4} → {:.4}{}", self.loss_first, self.loss_last, self.kind_of_loss()),
        ];
        if let Some(validation) = &self.validation {
            lines.push(validation.line());
            lines.extend(validation.remark(self.steps));
        }
        if let Some(MemoryReport { forecast, peak: Some(peak) }) = &self.memory {
            lines.push(format!("memory           {} at peak, {} expected", bytes(*peak), bytes(forecast.peak)));
        }
        if self.stopped_early {
            lines.push("stopped early: validation no longer improved".to_owned());
        }
        if self.rows_without_targets > 0 {
            let rows = plural(self.rows_without_targets as u64, "row");
            lines.push(format!("{rows} without a token to learn left out"));
        }
        let what = if self.method == "full" { "model" } else { "adapter" };
        lines.push(format!("{what} of step {} in {}", self.result_step, out.display()));
        lines.push(format!("next: {next}"));
        lines.join("\n")
    }
}

impl Report {
    fn kind_of_loss(&self) -> &'static str {
        if self.loss == "cross_entropy" { "" } else { " (with label smoothing; the validation loss is without)" }
    }
}

impl ValidationReport {
    fn line(&self) -> String {
        let initial = self.initial.map_or_else(String::new, |loss| format!("{loss:.4} → "));
        format!("validation loss  {initial}{:.4} (best {:.4} at step {})", self.last, self.best, self.best_step)
    }

    fn remark(&self, steps: usize) -> Option<String> {
        if self.initial.is_some_and(|initial| self.best >= initial) {
            return Some(
                "validation never got better than before training: try a lower --learning-rate, or check that the \
                 validation rows are of the same kind as the training rows"
                    .to_owned(),
            );
        }
        self.overfitting.then(|| {
            format!(
                "overfitting: validation turned after step {} of {steps}; fewer --epochs, a lower --lora-r or more data \
                 would help",
                self.best_step
            )
        })
    }
}

fn validation(progress: &Progress) -> Option<ValidationReport> {
    let best = progress.best?;
    let last = progress.records.iter().rev().find_map(|record| record.validation_loss)?;
    let mean = |records: &[StepRecord]| records.iter().map(|record| record.loss).sum::<f64>() / records.len() as f64;
    let (before, after) = progress.records.split_at(best.step.min(progress.records.len()));
    let still_learning = !before.is_empty() && !after.is_empty() && mean(after) < mean(before);
    Some(ValidationReport {
        initial: progress.initial_validation_loss,
        best: best.validation_loss,
        best_step: best.step,
        last,
        overfitting: still_learning && last > best.validation_loss * 1.01,
    })
}
