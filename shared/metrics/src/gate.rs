//! Gates: conditions on metrics that make a run fail, such as `exact_match>=0.8` or `rougeL-baseline>=0.05@95%`.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::bootstrap::Interval;

/// How a value is compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
}

/// Rounding in a difference of two shares must not fail a gate that holds on paper.
const ROUNDING: f64 = 1e-9;

impl Comparison {
    fn held(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::AtLeast => value >= threshold - ROUNDING,
            Self::Above => value > threshold + ROUNDING,
            Self::AtMost => value <= threshold + ROUNDING,
            Self::Below => value < threshold - ROUNDING,
        }
    }

    /// True where a small value is what is wanted: the upper end of an interval is then the cautious one.
    fn wants_small(self) -> bool {
        matches!(self, Self::AtMost | Self::Below)
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// As it was written.
    pub text: String,
    /// The metric's name.
    pub metric: String,
    /// Whether tuned minus baseline is meant.
    pub minus_baseline: bool,
    /// How to compare.
    pub comparison: Comparison,
    /// With what, in the metric's scale.
    pub threshold: f64,
    /// With a confidence level, the cautious end of that interval counts instead of the value: 0.95 for `@95%`.
    pub level: Option<f64>,
    /// What value and threshold are counted in.
    pub unit: Unit,
    /// Every value that the metric can have.
    pub range: RangeInclusive<f64>,
}

/// Why a gate could not be understood or judged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateError {
    /// No comparison in it.
    #[error("gate `{0}` has no comparison: expected METRIC>=NUMBER, such as exact_match>=0.8")]
    NoComparison(String),
    /// The threshold is no number.
    #[error("gate `{gate}`: `{found}` is not a number: expected METRIC>=NUMBER, such as exact_match>=0.8")]
    NotANumber {
        /// The whole gate.
        gate: String,
        /// What stood where the number belongs.
        found: String,
    },
    /// The confidence level is none.
    #[error(
        "gate `{gate}`: `@{found}` is not a confidence level: expected a percentage between 50 and 100, such as @95%"
    )]
    NotALevel {
        /// The whole gate.
        gate: String,
        /// What stood after `@`.
        found: String,
    },
    /// The name stands for no metric or for several.
    #[error("gate `{gate}`: unknown metric `{name}`")]
    UnknownMetric {
        /// The whole gate.
        gate: String,
        /// The name.
        name: String,
    },
    /// The threshold lacks a unit, or has one that its metric does not take.
    #[error("gate `{gate}`: expected {expected}, found `{found}`")]
    Unit {
        /// The whole gate.
        gate: String,
        /// What the metric takes.
        expected: &'static str,
        /// What stood there.
        found: String,
    },
    /// No value of the metric, or every one, would fulfil it.
    #[error("gate `{gate}`: {metric} is from {from} to {to}, so that it {outcome}{meant}")]
    Decided {
        /// The whole gate.
        gate: String,
        /// What is compared: the metric, or its difference to the base.
        metric: String,
        /// Its smallest value.
        from: f64,
        /// Its largest value.
        to: f64,
        /// How it is decided.
        outcome: &'static str,
        /// What was probably meant, where a percentage was given for a share.
        meant: String,
    },
}

/// A metric as a gate needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Its full name.
    pub name: String,
    /// What it is counted in.
    pub unit: Unit,
    /// Every value that it can have.
    pub range: RangeInclusive<f64>,
}

/// What a metric is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A plain number.
    None,
    /// Seconds; a threshold is given as `200ms` or `1.5s`.
    Seconds,
    /// Bytes; a threshold is given as `2GiB` or `500MB`.
    Bytes,
}

impl Unit {
    /// A threshold as it is written, in this unit.
    fn parse(self, gate: &str, text: &str) -> Result<f64, GateError> {
        const TIMES: [(&str, f64); 4] = [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("s", 1.0)];
        const SIZES: [(&str, f64); 7] = [
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("B", 1.0),
        ];
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let (units, expected): (&[(&str, f64)], _) = match self {
            Self::None => {
                return number(text)
                    .ok_or_else(|| GateError::NotANumber { gate: gate.to_owned(), found: text.to_owned() });
            }
            Self::Seconds => (&TIMES, "a time with its unit, such as 200ms or 1.5s"),
            Self::Bytes => (&SIZES, "a size with its unit, such as 2GiB or 500MB"),
        };
        let with_unit = units.iter().find_map(|(unit, factor)| Some(number(text.strip_suffix(unit)?)? * factor));
        with_unit.ok_or_else(|| GateError::Unit { gate: gate.to_owned(), expected, found: text.to_owned() })
    }
}

/// What is known of one metric when its gates are judged.
pub trait GateInput {
    /// The value, or the difference to the baseline; none where there is no such value.
    fn value(&self, metric: &str, minus_baseline: bool) -> Option<f64>;
    /// Its interval at a level.
    fn interval(&self, metric: &str, minus_baseline: bool, level: f64) -> Option<Interval>;
}

/// A gate's judgement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateOutcome {
    /// The gate as it was written.
    pub gate: String,
    /// The metric's name.
    pub metric: String,
    /// Whether it held. A gate without a value never holds.
    pub held: bool,
    /// What was compared.
    pub value: Option<f64>,
    /// With what.
    pub threshold: f64,
    /// How far from holding, 0 where it held.
    pub missed_by: Option<f64>,
    /// What the three numbers are counted in.
    #[serde(skip_serializing_if = "is_plain")]
    pub unit: Unit,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_plain(unit: &Unit) -> bool {
    *unit == Unit::None
}

impl Gate {
    /// Understands a gate; `resolve` gives the metric of a name, or nothing where there is no single one.
    ///
    /// # Errors
    /// [`GateError`]: what is wrong with it.
    pub fn parse(text: &str, resolve: &dyn Fn(&str) -> Option<Gauge>) -> Result<Self, GateError> {
        let gate = || text.to_owned();
        let (at, length, comparison) = find_comparison(text).ok_or_else(|| GateError::NoComparison(gate()))?;
        let (left, right) = (text[..at].trim(), text[at + length..].trim());
        let (number, level) = match right.split_once('@') {
            Some((number, level)) => (number.trim(), Some(parse_level(text, level.trim())?)),
            None => (right, None),
        };
        let (name, minus_baseline) =
            match left.strip_suffix("baseline").and_then(|rest| rest.trim_end().strip_suffix('-')) {
                Some(name) => (name.trim_end(), true),
                None => (left, false),
            };
        let unknown = || GateError::UnknownMetric { gate: gate(), name: name.to_owned() };
        let Gauge { name: metric, unit, range } = resolve(name).ok_or_else(unknown)?;
        let threshold = unit.parse(text, number)?;
        let found = Self { text: gate(), metric, minus_baseline, comparison, threshold, level, unit, range };
        found.is_open()?;
        Ok(found)
    }

    /// Refuses a threshold that decides the gate before anything is measured. One at an end of the range may be meant: it
    /// asks for the best, or for no more than a value.
    fn is_open(&self) -> Result<(), GateError> {
        let range = &self.range;
        let width = range.end() - range.start();
        let (from, to) = if self.minus_baseline { (-width, width) } else { (*range.start(), *range.end()) };
        let Self { threshold, comparison, .. } = *self;
        if (from..=to).contains(&threshold)
            && comparison.held(if comparison.wants_small() { from } else { to }, threshold)
        {
            return Ok(());
        }
        let share = threshold / 100.0;
        let is_percentage = *range.end() == 1.0 && threshold > 1.0 && share <= 1.0;
        let meant = if is_percentage { format!("; did you mean {share}?") } else { String::new() };
        let metric = if self.minus_baseline { format!("{}-baseline", self.metric) } else { self.metric.clone() };
        let always = comparison.held(if comparison.wants_small() { to } else { from }, threshold);
        let outcome = if always { "always holds" } else { "can never hold" };
        Err(GateError::Decided { gate: self.text.clone(), metric, from, to, outcome, meant })
    }
}

/// Where the comparison stands, how long it is, and which it is.
fn find_comparison(text: &str) -> Option<(usize, usize, Comparison)> {
    let at = text.find(['<', '>'])?;
    let equal = text[at + 1..].starts_with('=');
    let comparison = match (&text[at..=at], equal) {
        (">", true) => Comparison::AtLeast,
        (">", false) => Comparison::Above,
        (_, true) => Comparison::AtMost,
        (_, false) => Comparison::Below,
    };
    Some((at, if equal { 2 } else { 1 }, comparison))
}

fn parse_level(gate: &str, text: &str) -> Result<f64, GateError> {
    let percentage = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    percentage
        .filter(|level| (50.0..100.0).contains(level))
        .map(|level| level / 100.0)
        .ok_or_else(|| GateError::NotALevel { gate: gate.to_owned(), found: text.to_owned() })
}

impl Gate {
    /// What was probably meant by a share where the metric counts to 100.
    pub fn likely_percentage(&self) -> Option<f64> {
        let is_share = self.threshold > 0.0 && self.threshold < 1.0 && !self.minus_baseline;
        // To six places: 0.29 is 29.
        (is_share && *self.range.end() == 100.0).then(|| (1e8 * self.threshold).round() / 1e6)
    }

    /// Judges the gate.
    pub fn judge(&self, input: &dyn GateInput) -> GateOutcome {
        let value = match self.level {
            None => input.value(&self.metric, self.minus_baseline),
            Some(level) => input
                .interval(&self.metric, self.minus_baseline, level)
                .map(|interval| if self.comparison.wants_small() { interval.upper } else { interval.lower }),
        };
        let value = value.filter(|value| value.is_finite());
        let held = value.is_some_and(|value| self.comparison.held(value, self.threshold));
        let missed_by = value.map(|value| if held { 0.0 } else { (value - self.threshold).abs() });
        let (gate, metric) = (self.text.clone(), self.metric.clone());
        GateOutcome { gate, metric, held, value, threshold: self.threshold, missed_by, unit: self.unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl GateInput for Fixed {
        fn value(&self, metric: &str, minus_baseline: bool) -> Option<f64> {
            (metric == "exact_match").then_some(if minus_baseline { 0.85 - 0.8 } else { 0.85 })
        }
        fn interval(&self, _: &str, _: bool, _: f64) -> Option<Interval> {
            Some(Interval { lower: 0.7, upper: 0.95 })
        }
    }

    fn resolve(name: &str) -> Option<Gauge> {
        let (unit, largest) = match name {
            "latency_p95" => (Unit::Seconds, f64::INFINITY),
            "peak_memory" => (Unit::Bytes, f64::INFINITY),
            "exact_match" | "f1" => (Unit::None, 1.0),
            "bleu" => (Unit::None, 100.0),
            "ter" => (Unit::None, f64::INFINITY),
            _ => return None,
        };
        Some(Gauge { name: name.to_owned(), unit, range: 0.0..=largest })
    }

    fn parse(text: &str) -> Result<Gate, GateError> {
        Gate::parse(text, &resolve)
    }

    fn judge(text: &str) -> GateOutcome {
        parse(text).expect("a gate").judge(&Fixed)
    }

    #[test]
    fn times_and_sizes_have_units() {
        let threshold = |text: &str| parse(text).expect("a gate").threshold;
        assert!((threshold("latency_p95<=200ms") - 0.2).abs() < 1e-12);
        assert!((threshold("latency_p95 < 1.5 s") - 1.5).abs() < 1e-12);
        assert!((threshold("peak_memory<=2GiB") - 2_147_483_648.0).abs() < 1e-3);
        assert!(parse("latency_p95<=200").expect_err("no unit").to_string().contains("200ms"));
        assert!(parse("f1>=80ms").is_err());
    }

    #[test]
    fn gates_hold_and_miss() {
        assert!(judge("exact_match>=0.85").held);
        assert!(judge("exact_match-baseline>=0.05").held);
        assert!(judge("exact_match - baseline >= 0.05").held);
        let missed = judge("exact_match >= 0.9");
        assert!(!missed.held && (missed.missed_by.expect("a value") - 0.05).abs() < 1e-9);
        assert!(!judge("exact_match>=0.8@95%").held);
        assert!(judge("exact_match<0.96 @ 95%").held);
        assert!(!judge("f1>=0").held, "a metric without a value never holds");
    }

    #[test]
    fn what_no_value_can_decide_is_refused() {
        let error = |text: &str| parse(text).expect_err("decided").to_string();
        assert_eq!(
            error("exact_match>=80"),
            "gate `exact_match>=80`: exact_match is from 0 to 1, so that it can never hold; did you mean 0.8?"
        );
        assert!(error("exact_match<=80@95%").ends_with("always holds; did you mean 0.8?"));
        assert!(
            error("f1-baseline>=5")
                .ends_with("f1-baseline is from -1 to 1, so that it can never hold; did you mean 0.05?")
        );
        assert!(error("bleu>=101").ends_with("bleu is from 0 to 100, so that it can never hold"));
        assert!(
            error("f1>1").contains("never") && error("f1<0").contains("never") && error("ter<=-1").contains("never")
        );
        assert_eq!(parse("bleu>=0.3").expect("a gate").likely_percentage(), Some(30.0));
        assert!(parse("bleu>=30").expect("a gate").likely_percentage().is_none());
        assert!(parse("f1>=0.3").expect("a gate").likely_percentage().is_none());
        for open in ["f1>=1", "f1<=0", "f1>=0", "f1-baseline>=-1", "ter<=250", "ter-baseline<=-3", "bleu>=100"] {
            assert!(parse(open).is_ok(), "{open}");
        }
    }

    #[test]
    fn malformed_gates_say_why() {
        let error = |text: &str| parse(text).expect_err("not a gate").to_string();
        assert!(error("exact_match").contains("no comparison"));
        assert!(error("exact_match>=high").contains("`high` is not a number"));
        assert!(error("exact_match=>0.8").contains("unknown metric `exact_match=`"));
        assert!(error("exact>=0.8").contains("unknown metric `exact`"));
        assert!(error("f1>=0.8@often").contains("confidence level"));
    }
}
