//! Learning rate of each step.
//!
//! The formulas are those of transformers' `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup`,
//! `get_cosine_with_min_lr_schedule_with_warmup` and `get_wsd_schedule` (module `transformers.optimization`), so that
//! curves compare: step k counts from 0, and with a warm-up the first step's rate is 0 (WSD's its minimum).

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
    /// Falls along half a cosine to its minimum.
    Cosine,
    /// Warm-up, stable, decay: stays, and falls along half a cosine to its minimum over the last steps.
    Wsd,
}

/// The learning rate as a function of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub shape: ScheduleShape,
    /// Highest learning rate.
    pub peak: f64,
    /// Where the rate ends, as a share of the highest; for cosine and WSD.
    pub minimum_ratio: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Steps at the end in which WSD falls.
    pub decay_steps: usize,
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
            let rise = k as f64 / warmup.max(1) as f64;
            return if self.shape == ScheduleShape::Wsd { self.above_minimum(rise) } else { rise };
        }
        let after = self.total_steps.saturating_sub(warmup).max(1) as f64;
        let progress = (k - warmup) as f64 / after;
        match self.shape {
            ScheduleShape::Constant => 1.0,
            ScheduleShape::Linear => (self.total_steps.saturating_sub(k) as f64 / after).max(0.0),
            ScheduleShape::Cosine => self.above_minimum(half_cosine(progress)),
            ScheduleShape::Wsd => self.stable_then_decay(k),
        }
    }

    fn stable_then_decay(&self, k: usize) -> f64 {
        let decay_from = self.total_steps.saturating_sub(self.decay_steps).max(self.warmup_steps);
        if k < decay_from {
            return 1.0;
        }
        let steps = self.total_steps.saturating_sub(decay_from).max(1);
        self.above_minimum(half_cosine((k - decay_from) as f64 / steps as f64))
    }

    /// From 0…1 to minimum…1.
    fn above_minimum(&self, factor: f64) -> f64 {
        factor * (1.0 - self.minimum_ratio) + self.minimum_ratio
    }
}

/// 1 at `progress` 0, falling to 0 at 1 and staying there.
fn half_cosine(progress: f64) -> f64 {
    (0.5 * (1.0 + (PI * progress.min(1.0)).cos())).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: ScheduleShape, warmup_steps: usize, total_steps: usize) -> Schedule {
        let decay_steps = total_steps.div_ceil(10);
        Schedule { shape, peak: 1.0, minimum_ratio: 0.0, warmup_steps, decay_steps, total_steps }
    }

    fn rates(shape: ScheduleShape) -> Vec<f64> {
        let schedule = schedule(shape, 2, 6);
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
    fn wsd_decays_over_its_last_steps() {
        let schedule = Schedule { peak: 2.0, ..schedule(ScheduleShape::Wsd, 0, 40) };
        assert_eq!(schedule.learning_rate(35), 2.0);
        assert!((schedule.learning_rate(38) - 1.0).abs() < 1e-12);
        let half = Schedule { decay_steps: 20, ..schedule };
        assert_eq!(half.learning_rate(20), 2.0);
        assert!((half.learning_rate(30) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_minimum_is_where_the_rate_ends() {
        for shape in [ScheduleShape::Cosine, ScheduleShape::Wsd] {
            let schedule = Schedule { minimum_ratio: 0.25, ..schedule(shape, 0, 10) };
            assert_eq!(schedule.learning_rate(0), 1.0);
            assert!((schedule.learning_rate(10) - 0.25).abs() < 1e-12);
        }
        let rising = Schedule { minimum_ratio: 0.5, ..schedule(ScheduleShape::Wsd, 4, 10) };
        assert_eq!(rising.learning_rate(2), 0.75);
        assert_eq!(Schedule { shape: ScheduleShape::Cosine, ..rising }.learning_rate(2), 0.5);
    }

    #[test]
    fn a_run_of_warm_up_only_does_not_divide_by_zero() {
        let schedule = schedule(ScheduleShape::Linear, 3, 3);
        assert!((0..5).all(|k| schedule.learning_rate(k).is_finite()));
    }
}
