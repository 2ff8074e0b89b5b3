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
}

impl Scale {
    /// Covers `low..=high` (widened to round numbers where `round`) over the positions `from..=to`.
    pub(crate) fn new(low: f64, high: f64, from: f64, to: f64, ticks: usize, round: bool) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let step = round_step((high - low) / ticks as f64);
        let (low, high) = if round { ((low / step).floor() * step, (high / step).ceil() * step) } else { (low, high) };
        Self { low, high, from, to, step }
    }

    /// Where a value lies, to a tenth of a unit: more digits would only make the file larger.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let position = self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from);
        (position * 10.0).round() / 10.0
    }

    /// Round numbers within the range.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
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
}
