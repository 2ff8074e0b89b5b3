//! Learning rate of each step.
//!
//! The formulas are those of transformers' `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup`,
//! `get_cosine_schedule_with_warmup` and `get_wsd_schedule` (module `transformers.optimization`), so that curves
//! compare: step k counts from 0, and with a warm-up the first step's rate is 0.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleShape {
    /// Stays.
    Constant,
    /// Falls in a straight line to 0.
    Linear,
    /// Falls along half a cosine to 0.
    Cosine,
    /// Warm-up, stable, decay: stays, and falls along half a cosine to 0 over the last tenth of the run.
    Wsd,
}

/// The learning rate as a function of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub shape: ScheduleShape,
    /// Highest learning rate.
    pub peak: f64,
    /// Steps of linear warm-up from 0.
    pub warmup_steps: usize,
    /// Steps of the whole run, warm-up included.
    pub total_steps: usize,
}

impl Schedule {
    /// Learning rate of step `k`, counted from 0.
    pub fn learning_rate(&self, k: usize) -> f64 {
        self.peak * self.factor(k)
    }

    fn factor(&self, k: usize) -> f64 {
        let warmup = self.warmup_steps;
        if k < warmup {
            return k as f64 / warmup.max(1) as f64;
        }
        let after = self.total_steps.saturating_sub(warmup).max(1) as f64;
        let progress = (k - warmup) as f64 / after;
        match self.shape {
            ScheduleShape::Constant => 1.0,
            ScheduleShape::Linear => (self.total_steps.saturating_sub(k) as f64 / after).max(0.0),
            ScheduleShape::Cosine => half_cosine(progress),
            ScheduleShape::Wsd => self.stable_then_decay(k),
        }
    }

    fn stable_then_decay(&self, k: usize) -> f64 {
        let decay_steps = self.total_steps.div_ceil(10).max(1);
        let decay_from = self.total_steps.saturating_sub(decay_steps).max(self.warmup_steps);
        if k < decay_from {
            return 1.0;
        }
        half_cosine((k - decay_from) as f64 / decay_steps as f64)
    }
}

/// 1 at `progress` 0, falling to 0 at 1 and staying there.
fn half_cosine(progress: f64) -> f64 {
    (0.5 * (1.0 + (PI * progress.min(1.0)).cos())).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(shape: ScheduleShape) -> Vec<f64> {
        let schedule = Schedule { shape, peak: 1.0, warmup_steps: 2, total_steps: 6 };
        (0..6).map(|k| schedule.learning_rate(k)).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} is not {expected:?}");
    }

    #[test]
    fn follows_the_reference_formulas() {
        close(&rates(ScheduleShape::Constant), &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
        close(&rates(ScheduleShape::Linear), &[0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
        let cosine = |p: f64| 0.5 * (1.0 + (PI * p).cos());
        close(&rates(ScheduleShape::Cosine), &[0.0, 0.5, 1.0, cosine(0.25), 0.5, cosine(0.75)]);
        close(&rates(ScheduleShape::Wsd), &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn wsd_decays_over_the_last_tenth() {
        let schedule = Schedule { shape: ScheduleShape::Wsd, peak: 2.0, warmup_steps: 0, total_steps: 40 };
        assert_eq!(schedule.learning_rate(35), 2.0);
        assert!((schedule.learning_rate(38) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_run_of_warm_up_only_does_not_divide_by_zero() {
        let schedule = Schedule { shape: ScheduleShape::Linear, peak: 1.0, warmup_steps: 3, total_steps: 3 };
        assert!((0..5).all(|k| schedule.learning_rate(k).is_finite()));
    }
}
