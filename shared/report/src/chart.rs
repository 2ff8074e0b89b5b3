//! Line charts: what is drawn, and its geometry; the template draws the SVG.

use std::fmt::Write;

use serde::Serialize;

use crate::scale::{Scale, Tick};

/// A chart of one or more curves over steps.
#[derive(Debug, Clone, Serialize)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// What a reader who cannot see it should know.
    pub description: String,
    /// The horizontal axis.
    pub x_label: String,
    /// The vertical axis.
    pub y_label: String,
    /// The curves.
    pub series: Vec<Series>,
    /// Steps that matter, such as the best one.
    pub markers: Vec<Marker>,
}

/// A curve.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points by rising x.
    pub points: Vec<Point>,
    /// Whether each point is drawn as a dot too: for few, measured values.
    pub dots: bool,
}

/// A value at a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Step.
    pub x: f64,
    /// Value.
    pub y: f64,
}

/// A vertical line with a label.
#[derive(Debug, Clone, Serialize)]
pub struct Marker {
    /// Where.
    pub x: f64,
    /// What happened there.
    pub label: String,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 48.0;
/// More points than this are averaged in groups: the eye sees no more, and the file stays small.
const MOST_POINTS: usize = 400;
/// Rows of the table beside a chart.
const MOST_ROWS: usize = 40;

/// A chart's geometry, in the units of its view box.
#[derive(Debug, Serialize)]
pub(crate) struct Drawing {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    logarithmic: bool,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    series: Vec<DrawnSeries>,
    markers: Vec<DrawnMarker>,
    /// The points as text, for readers who cannot see the curves.
    tables: Vec<DrawnTable>,
}

#[derive(Debug, Serialize)]
struct DrawnTable {
    name: String,
    points: Vec<[String; 2]>,
}

#[derive(Debug, Serialize)]
struct DrawnSeries {
    name: String,
    path: String,
    dots: Vec<DrawnDot>,
}

#[derive(Debug, Serialize)]
struct DrawnDot {
    x: f64,
    y: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct DrawnMarker {
    at: f64,
    label: String,
    /// Where the label's text begins or ends: to the left of the line where it would leave the chart on the right.
    anchor: &'static str,
    text_at: f64,
}

impl LineChart {
    /// The geometry; none where there is no finite point.
    pub(crate) fn draw(&self) -> Option<Drawing> {
        let finite = || {
            let points = self.series.iter().flat_map(|series| &series.points);
            points.filter(|point| point.x.is_finite() && point.y.is_finite())
        };
        finite().next()?;
        let range = |value: fn(&Point) -> f64| {
            finite().map(value).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let ((first, last), (low, high)) = (range(|point| point.x), range(|point| point.y));
        let x = Scale::new(first, last, LEFT, WIDTH - RIGHT, 6, false);
        let y = Scale::suited(low, high, HEIGHT - BOTTOM, TOP, 5);
        Some(Drawing {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            top: TOP,
            bottom: HEIGHT - BOTTOM,
            logarithmic: y.is_logarithmic(),
            x_ticks: x.ticks(),
            y_ticks: y.ticks(),
            series: self.series.iter().map(|series| series.draw(&x, &y)).collect(),
            markers: self.markers.iter().map(|marker| marker.draw(&x)).collect(),
            tables: self.series.iter().map(Series::table).collect(),
        })
    }
}

impl Series {
    fn draw(&self, x: &Scale, y: &Scale) -> DrawnSeries {
        let points = thinned(&self.points);
        let mut path = String::new();
        for point in &points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", x.at(point.x), y.at(point.y));
        }
        let dots = points.iter().filter(|_| self.dots).map(|point| DrawnDot {
            x: x.at(point.x),
            y: y.at(point.y),
            label: format!("{}, step {}: {:.4}", self.name, point.x, point.y),
        });
        DrawnSeries { name: self.name.clone(), path, dots: dots.collect() }
    }
}

impl Series {
    /// At most [`MOST_ROWS`] points, the first and the last among them.
    fn table(&self) -> DrawnTable {
        let points: Vec<&Point> = self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite()).collect();
        let every = points.len().div_ceil(MOST_ROWS).max(1);
        let last = points.len().saturating_sub(1);
        let kept = points.iter().enumerate().filter(|(place, _)| place % every == 0 || *place == last);
        let text = |(_, point): (usize, &&Point)| [point.x.to_string(), crate::format::decimal(point.y)];
        DrawnTable { name: self.name.clone(), points: kept.map(text).collect() }
    }
}

impl Marker {
    fn draw(&self, x: &Scale) -> DrawnMarker {
        let at = x.at(self.x);
        let left = at > (LEFT + WIDTH - RIGHT) / 2.0;
        let (anchor, text_at) = if left { ("end", at - 6.0) } else { ("start", at + 6.0) };
        DrawnMarker { at, label: self.label.clone(), anchor, text_at }
    }
}

/// Finite points, averaged in groups of neighbours where there are too many.
fn thinned(points: &[Point]) -> Vec<Point> {
    let points: Vec<Point> =
        points.iter().copied().filter(|point| point.x.is_finite() && point.y.is_finite()).collect();
    let group = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |group: &[Point], value: fn(&Point) -> f64| group.iter().map(value).sum::<f64>() / group.len() as f64;
    points.chunks(group).map(|group| Point { x: mean(group, |p| p.x), y: mean(group, |p| p.y) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Point>) -> LineChart {
        LineChart {
            title: "Loss".to_owned(),
            description: String::new(),
            x_label: "step".to_owned(),
            y_label: "nats".to_owned(),
            series: vec![Series { name: "train".to_owned(), points, dots: false }],
            markers: vec![Marker { x: 900.0, label: "best".to_owned() }],
        }
    }

    #[test]
    fn many_points_are_averaged_and_stay_inside() {
        let points = (0..2000).map(|x| Point { x: f64::from(x), y: 1.0 / f64::from(x + 1) }).collect();
        let drawing = chart(points).draw().expect("points");
        assert!(drawing.series[0].path.matches('L').count() < MOST_POINTS);
        assert_eq!(drawing.markers[0].anchor, "start");
        assert!(drawing.x_ticks.iter().all(|tick| (LEFT..=WIDTH - RIGHT).contains(&tick.at)));
    }

    #[test]
    fn nothing_finite_draws_nothing() {
        assert!(chart(vec![Point { x: 1.0, y: f64::NAN }]).draw().is_none());
    }
}
