//! Bar charts: counts in ranges, one or more series side by side; the template draws the SVG.

use serde::Serialize;

use crate::scale::{Scale, Tick};

/// A chart of counts.
#[derive(Debug, Clone, Serialize)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// What a reader who cannot see it should know.
    pub description: String,
    /// What the ranges are of.
    pub x_label: String,
    /// What is counted.
    pub y_label: String,
    /// The ranges, in order.
    pub labels: Vec<String>,
    /// The counts.
    pub series: Vec<BarSeries>,
}

/// Counts of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct BarSeries {
    /// Its name in the legend.
    pub name: String,
    /// One count for each range.
    pub values: Vec<f64>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 48.0;
/// The share of a range's width that its bars fill.
const FILL: f64 = 0.8;

/// Geometry, in the units of the view box.
#[derive(Debug, Serialize)]
pub(crate) struct DrawnBars {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    bars: Vec<DrawnBar>,
}

#[derive(Debug, Serialize)]
struct DrawnBar {
    series: usize,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    label: String,
}

impl BarChart {
    /// Counts of whole numbers in at most `most` ranges of equal width that cover all series.
    pub fn histogram(title: &str, x_label: &str, y_label: &str, most: usize, series: &[(&str, Vec<u64>)]) -> Self {
        let all = || series.iter().flat_map(|(_, values)| values.iter().copied());
        let (low, high) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let wide = round_width((high - low + 1).div_ceil(most.max(1) as u64));
        let from = low / wide * wide;
        let ranges = ((high - from) / wide + 1) as usize;
        let label = |range: usize| {
            let start = from + range as u64 * wide;
            if wide == 1 { start.to_string() } else { format!("{start}–{}", start + wide - 1) }
        };
        let counted = series.iter().map(|(name, values)| {
            let mut counts = vec![0.0; ranges];
            values.iter().for_each(|value| counts[((value - from) / wide) as usize] += 1.0);
            BarSeries { name: (*name).to_owned(), values: counts }
        });
        let middle = |values: &[u64]| {
            let mut sorted = values.to_vec();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied().unwrap_or(0)
        };
        let told = series.iter().filter(|(_, values)| !values.is_empty()).map(|(name, values)| {
            let (least, most) = (values.iter().min().unwrap_or(&0), values.iter().max().unwrap_or(&0));
            format!("{name}: from {least} to {most}, half of them at most {}.", middle(values))
        });
        Self {
            title: title.to_owned(),
            description: told.collect::<Vec<_>>().join(" "),
            x_label: x_label.to_owned(),
            y_label: y_label.to_owned(),
            labels: (0..ranges).map(label).collect(),
            series: counted.collect(),
        }
    }

    /// The geometry; none where there is nothing to count.
    pub(crate) fn draw(&self) -> Option<DrawnBars> {
        let highest = self.series.iter().flat_map(|series| &series.values).copied().fold(0.0, f64::max);
        if highest <= 0.0 {
            return None;
        }
        let y = Scale::new(0.0, highest, HEIGHT - BOTTOM, TOP, 4, true);
        let range = (WIDTH - RIGHT - LEFT) / self.labels.len() as f64;
        let bar = range * FILL / self.series.len() as f64;
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let bars = self.series.iter().enumerate().flat_map(|(number, series)| {
            series.values.iter().enumerate().filter(|(_, value)| **value > 0.0).map(move |(place, &value)| {
                let x = LEFT + range * (place as f64 + (1.0 - FILL) / 2.0) + bar * number as f64;
                (number, place, x, value)
            })
        });
        let bars = bars.map(|(number, place, x, value)| DrawnBar {
            series: number + 1,
            x: tenth(x),
            y: y.at(value),
            width: tenth(bar.max(0.5)),
            height: tenth(HEIGHT - BOTTOM - y.at(value)),
            label: format!("{}, {}: {value}", self.series[number].name, self.labels[place]),
        });
        let every = self.labels.len().div_ceil(8).max(1);
        let ticks = self.labels.iter().enumerate().step_by(every);
        Some(DrawnBars {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            top: TOP,
            bottom: HEIGHT - BOTTOM,
            x_ticks: ticks
                .map(|(place, label)| Tick { at: tenth(LEFT + range * (place as f64 + 0.5)), label: label.clone() })
                .collect(),
            y_ticks: y.ticks(),
            bars: bars.collect(),
        })
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `width`.
fn round_width(width: u64) -> u64 {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if factor * power >= width {
                return factor * power;
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once() {
        let chart = BarChart::histogram("Lengths", "words", "rows", 10, &[("a", vec![3, 4, 47, 99]), ("b", vec![5])]);
        assert_eq!((chart.labels.len(), chart.labels[0].as_str()), (10, "0–9"));
        assert_eq!(chart.series[0].values.iter().sum::<f64>(), 4.0);
        assert!(chart.description.contains("a: from 3 to 99"));
        let drawn = chart.draw().expect("there are counts");
        assert!(drawn.bars.iter().all(|bar| bar.x >= LEFT && bar.x + bar.width <= WIDTH - RIGHT));
        assert!(BarChart::histogram("None", "", "", 5, &[("a", vec![])]).draw().is_none());
    }
}
