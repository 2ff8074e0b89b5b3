//! What a run is asked to do.

use serde::{Deserialize, Serialize};

use crate::preference::Objective;
use crate::{Schedule, ScheduleShape, TrainingError};

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duration {
    /// Each row this many times; a fraction ends inside an epoch.
    Epochs(f64),
    /// This many optimizer steps.
    Steps(usize),
}

/// How long the learning rate rises from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// A fraction of all steps, rounded up (as transformers' `warmup_ratio`).
    Ratio(f64),
    /// A number of steps.
    Steps(usize),
}

/// When to stop because validation no longer improves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// Validations in a row without a new best before the run ends.
    pub patience: usize,
}

/// Everything about a run but its rows and its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Epochs or steps.
    pub duration: Duration,
    /// Rows that go through the model together.
    pub batch_size: usize,
    /// Micro-batches whose gradients make one step.
    pub gradient_accumulation: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Shape of the learning rate over the run.
    pub schedule: ScheduleShape,
    /// Rise of the learning rate at the start.
    pub warmup: Warmup,
    /// Where a falling learning rate ends, as a share of the highest one; for the shapes cosine and WSD.
    pub minimum_learning_rate_ratio: f64,
    /// Share of the steps in which WSD's learning rate falls.
    pub decay_ratio: f64,
    /// Decoupled weight decay (Loshchilov & Hutter 2019).
    pub weight_decay: f64,
    /// Whether norms and biases decay too.
    pub decay_norms_and_biases: bool,
    /// Learning rate of the adapters' second factor (and of vectors) over that of the first: LoRA+ (Hayou et al. 2024,
    /// arXiv:2402.12354); 1 is plain LoRA.
    pub lora_plus_ratio: f64,
    /// NEFTune's noise on the embedded tokens; 0 is none.
    pub neftune_alpha: f64,
    /// Share of each target's weight that is spread over the vocabulary; 0 is none.
    pub label_smoothing: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Steps between validations; the last step is always validated.
    pub evaluate_every: usize,
    /// Steps between checkpoints; the last step is always kept.
    pub save_every: usize,
    /// Early stopping on the validation loss.
    pub early_stopping: Option<EarlyStopping>,
    /// Fixes the order of rows and the masks of dropout.
    pub seed: u64,
    /// What is made smaller.
    #[serde(default)]
    pub objective: Objective,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duration: Duration::Epochs(3.0),
            batch_size: 8,
            gradient_accumulation: 1,
            learning_rate: 2e-4,
            schedule: ScheduleShape::Cosine,
            warmup: Warmup::Ratio(0.0),
            minimum_learning_rate_ratio: 0.0,
            decay_ratio: 0.1,
            weight_decay: 0.01,
            decay_norms_and_biases: false,
            lora_plus_ratio: 1.0,
            neftune_alpha: 0.0,
            label_smoothing: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            evaluate_every: usize::MAX,
            save_every: usize::MAX,
            early_stopping: None,
            seed: 0,
            objective: Objective::Sft,
        }
    }
}

impl Options {
    /// Rows in one optimizer step.
    pub fn rows_per_step(&self) -> usize {
        self.batch_size * self.gradient_accumulation
    }

    /// Steps of the whole run over `rows` rows, at least 1.
    pub fn total_steps(&self, rows: usize) -> usize {
        match self.duration {
            Duration::Steps(steps) => steps.max(1),
            Duration::Epochs(epochs) => {
                let per_epoch = rows.div_ceil(self.rows_per_step()).max(1);
                ((epochs * per_epoch as f64).ceil() as usize).max(1)
            }
        }
    }

    /// The learning rate over a run of `total_steps`. A warm-up that would leave all of it at 0, which is one as long as a
    /// run of one step, is left out.
    pub fn learning_rate_schedule(&self, total_steps: usize) -> Schedule {
        let warmup_steps = match self.warmup {
            _ if total_steps == 1 => 0,
            Warmup::Ratio(ratio) => (ratio * total_steps as f64).ceil() as usize,
            Warmup::Steps(steps) => steps,
        };
        Schedule {
            shape: self.schedule,
            peak: self.learning_rate,
            minimum_ratio: self.minimum_learning_rate_ratio,
            warmup_steps,
            decay_steps: ((self.decay_ratio * total_steps as f64).ceil() as usize).max(1),
            total_steps,
        }
    }

    /// Checks each value against its range.
    ///
    /// # Errors
    /// [`TrainingError::Option`] naming the first value that is out of range.
    pub fn check(&self) -> Result<(), TrainingError> {
        let positive = |name, value: f64| range(name, value, value > 0.0 && value.is_finite(), "a number above 0");
        let not_negative = |name, value: f64| range(name, value, value >= 0.0 && value.is_finite(), "0 or more");
        let count = |name, value: usize| range(name, value as f64, value >= 1, "at least 1");
        match self.duration {
            Duration::Epochs(epochs) => positive("epochs", epochs)?,
            Duration::Steps(steps) => count("max_steps", steps)?,
        }
        if let Warmup::Ratio(ratio) = self.warmup {
            range("warmup_ratio", ratio, (0.0..=1.0).contains(&ratio), "between 0 and 1")?;
        }
        self.objective.check()?;
        count("batch_size", self.batch_size)?;
        count("gradient_accumulation", self.gradient_accumulation)?;
        count("evaluate_every", self.evaluate_every)?;
        count("save_every", self.save_every)?;
        positive("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("max_grad_norm", self.max_grad_norm)?;
        positive("epsilon", self.epsilon)?;
        positive("lora_plus_ratio", self.lora_plus_ratio)?;
        not_negative("neftune_alpha", self.neftune_alpha)?;
        let share = |name, value: f64| range(name, value, (0.0..=1.0).contains(&value), "between 0 and 1");
        share("minimum_learning_rate_ratio", self.minimum_learning_rate_ratio)?;
        share("decay_ratio", self.decay_ratio)?;
        range(
            "label_smoothing",
            self.label_smoothing,
            (0.0..1.0).contains(&self.label_smoothing),
            "from 0 to below 1",
        )?;
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            range(name, beta, (0.0..1.0).contains(&beta), "from 0 to below 1")?;
        }
        Ok(())
    }
}

fn range(name: &'static str, found: f64, holds: bool, expected: &'static str) -> Result<(), TrainingError> {
    if holds { Ok(()) } else { Err(TrainingError::Option { name, found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_round_up_to_steps() {
        let options = Options { batch_size: 2, gradient_accumulation: 2, ..Options::default() };
        assert_eq!(options.total_steps(9), 9);
        let half = Options { duration: Duration::Epochs(0.5), ..options };
        assert_eq!(half.total_steps(9), 2);
        assert_eq!(Options { duration: Duration::Steps(7), ..half }.total_steps(9), 7);
    }

    #[test]
    fn no_warm_up_leaves_every_step_at_rate_0() {
        for warmup in [Warmup::Ratio(0.03), Warmup::Ratio(1.0), Warmup::Steps(7)] {
            for shape in [ScheduleShape::Constant, ScheduleShape::Linear, ScheduleShape::Cosine, ScheduleShape::Wsd] {
                let options = Options { warmup, schedule: shape, ..Options::default() };
                for steps in 1..5 {
                    let schedule = options.learning_rate_schedule(steps);
                    assert!((0..steps).any(|k| schedule.learning_rate(k) > 0.0), "{warmup:?} {shape:?} {steps}");
                }
            }
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        let options = Options { learning_rate: f64::NAN, ..Options::default() };
        let message = options.check().unwrap_err().to_string();
        assert!(message.contains("learning_rate") && message.contains("above 0"), "{message}");
        assert!(Options::default().check().is_ok());
    }
}
