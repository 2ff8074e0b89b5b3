//! Axes: a range of values, round numbers on it, and where they lie on the drawing.

use serde::Serialize;

/// A labelled position on an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Tick {
    /// Where on the drawing.
    pub(crate) at: f64,
    /// What it says.
    pub(crate) label: String,
}

/// A linear axis from values to positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
    logarithmic: bool,
}

/// From the largest to the smallest value so many times: a linear axis would press the small ones together.
const WIDE: f64 = 20.0;

impl Scale {
    /// Covers `low..=high` (widened to round numbers where `round`) over the positions `from..=to`.
    pub(crate) fn new(low: f64, high: f64, from: f64, to: f64, ticks: usize, round: bool) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let step = round_step((high - low) / ticks as f64);
        let (low, high) = if round { ((low / step).floor() * step, (high / step).ceil() * step) } else { (low, high) };
        Self { low, high, from, to, step, logarithmic: false }
    }

    /// As [`Scale::new`], rounded, but logarithmic where the values are positive and spread widely.
    pub(crate) fn suited(low: f64, high: f64, from: f64, to: f64, ticks: usize) -> Self {
        if low <= 0.0 || high < WIDE * low {
            return Self::new(low, high, from, to, ticks, true);
        }
        let marks: Vec<f64> = marks(low, high).collect();
        let above = marks.iter().copied().find(|&mark| mark >= high).unwrap_or(high);
        let below = marks.iter().copied().rfind(|&mark| mark <= low).unwrap_or(low);
        Self { low: below, high: above, from, to, step: 0.0, logarithmic: true }
    }

    /// Whether equal distances are equal ratios.
    pub(crate) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// Where a value lies, to a tenth of a unit: more digits would only make the file larger.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        let position = self.from + share * (self.to - self.from);
        (position * 10.0).round() / 10.0
    }

    /// Round numbers within the range.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        if self.logarithmic {
            let inside = marks(self.low, self.high).filter(|mark| (self.low..=self.high).contains(mark));
            let label = |mark: f64| if mark < 1e-4 { format!("{mark:e}") } else { mark.to_string() };
            return inside.map(|mark| Tick { at: self.at(mark), label: label(mark) }).collect();
        }
        let first = (self.low / self.step - 1e-9).ceil() as i64;
        let last = (self.high / self.step + 1e-9).floor() as i64;
        let digits = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        let small = self.step < 1e-4;
        let label = |value: f64| if small { format!("{value:.0e}") } else { format!("{value:.digits$}") };
        (first..=last)
            .map(|index| index as f64 * self.step)
            .map(|value| Tick { at: self.at(value), label: label(value) })
            .collect()
    }
}

/// 1, 2 and 5 times the powers of ten, from one that is at most `low` to one that is at least `high`.
fn marks(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last).flat_map(|power| {
        [1.0, 2.0, 5.0].map(|factor| if power < 0 { factor / 10f64.powi(-power) } else { factor * 10f64.powi(power) })
    })
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&round| round >= step * 0.999).unwrap_or(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::new(0.37, 2.9, 100.0, 0.0, 5, true);
        let labels: Vec<_> = scale.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0", "1", "2", "3"]);
        assert_eq!((scale.at(0.0), scale.at(3.0)), (100.0, 0.0));
        let flat = Scale::new(2.0, 2.0, 0.0, 10.0, 4, true);
        assert_eq!(flat.at(2.0), 5.0);
    }

    #[test]
    fn wide_values_get_a_logarithmic_axis() {
        let scale = Scale::suited(0.17, 13.7, 300.0, 0.0, 5);
        let labels: Vec<_> = scale.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]);
        assert_eq!((scale.at(0.1), scale.at(20.0)), (300.0, 0.0));
        let labels = Scale::suited(2e-6, 1e-3, 300.0, 0.0, 5).ticks().into_iter().map(|tick| tick.label);
        assert!(labels.clone().all(|label| label.len() <= 6) && labels.clone().any(|label| label == "5e-5"));
        assert!(scale.is_logarithmic() && !Scale::suited(0.0, 13.7, 300.0, 0.0, 5).is_logarithmic());
        assert!(!Scale::suited(1.0, 13.7, 300.0, 0.0, 5).is_logarithmic());
    }
}
