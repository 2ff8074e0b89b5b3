//! Scores of all metrics, tuned beside base, with intervals; gates judged on them.

use anyhow::Result;
use artifact::{PredictionColumn, Predictions};
use metrics::{
    Bootstrap, Confusion, Difference, FEWEST_ROWS, Gate, GateError, GateInput, GateOutcome, Gauge, Interval, Metric,
    Pair, Pattern, Score, SpecError, Unit, difference, differences, interval, known_names, resample, score, select,
};

use crate::cost::{self, CostSummary};
use crate::scorer::{Limits, Scorer};

/// What is to be measured and what must hold.
pub(crate) struct Wanted {
    metrics: Vec<Box<dyn Metric>>,
    scorers: Vec<Scorer>,
    gates: Vec<Gate>,
}

/// One metric's scores.
pub(crate) struct Scored {
    metric: Box<dyn Metric>,
    pub(crate) tuned: Score,
    pub(crate) baseline: Option<Score>,
    pub(crate) interval: Option<Interval>,
    pub(crate) baseline_interval: Option<Interval>,
    pub(crate) difference: Option<Difference>,
    /// Resampled values of both, for gates at any level.
    values: (Vec<f64>, Vec<f64>),
}

/// All scores.
pub(crate) struct Scores {
    pub(crate) metrics: Vec<Scored>,
    pub(crate) gates: Vec<GateOutcome>,
    /// Which label was taken for which, where accuracy is measured; of the base too.
    pub(crate) confusion: Option<Confusion>,
    pub(crate) baseline_confusion: Option<Confusion>,
    costs: (Option<CostSummary>, Option<CostSummary>),
}

impl Wanted {
    /// Understands the flags before any work is done; a gate's metric is measured whether asked for or not.
    pub(crate) fn parse(metrics: &[String], regexes: &[String], scorers: &[String], gates: &[String]) -> Result<Self> {
        let patterns: Vec<Pattern> = regexes.iter().map(|text| pattern(text)).collect::<Result<_>>()?;
        let scorers: Vec<Scorer> = scorers.iter().map(|text| Scorer::parse(text)).collect::<Result<_>>()?;
        let own: Vec<String> = patterns
            .iter()
            .map(|pattern| pattern.name().into_owned())
            .chain(scorers.iter().map(|s| s.name.clone()))
            .collect();
        if let Some(taken) = own.iter().find(|name| select(&[name]).is_ok() || cost::unit_of(name).is_some()) {
            return Err(cli::Usage(format!("`{taken}` is the name of a metric already: choose another")).into());
        }
        let resolve = |name: &str| {
            let gauge = |name: &str, unit, range| Some(Gauge { name: name.to_owned(), unit, range });
            if let Some(unit) = cost::unit_of(name) {
                return gauge(name, unit, 0.0..=f64::INFINITY);
            }
            if let Some(pattern) = patterns.iter().find(|pattern| pattern.name() == name) {
                return gauge(name, Unit::None, pattern.range());
            }
            if let Some(scorer) = scorers.iter().find(|scorer| scorer.name == name) {
                return gauge(name, Unit::None, scorer.metric().range());
            }
            match select(&[name]).as_deref() {
                Ok([metric]) => gauge(&metric.name(), Unit::None, metric.range()),
                _ => None,
            }
        };
        let gates: Vec<Gate> =
            gates.iter().map(|text| Gate::parse(text, &resolve).map_err(gate_usage)).collect::<Result<_>>()?;
        for (gate, likely) in gates.iter().filter_map(|gate| Some((gate, gate.likely_percentage()?))) {
            let Gate { text, metric, .. } = gate;
            cli::warn(&format!("the gate `{text}`: {metric} counts from 0 to 100; did you mean {likely}?"));
        }
        let named = metrics.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let gated = gates.iter().map(|gate| gate.metric.clone());
        let known = |name: &String| !own.contains(name) && cost::unit_of(name).is_none();
        let names: Vec<String> = named.chain(gated).filter(known).collect();
        let mut metrics = select(&names).map_err(|error| cli::Usage(format!("{error}{}", suggestion(&error))))?;
        metrics.extend(patterns.into_iter().map(|pattern| -> Box<dyn Metric> { Box::new(pattern) }));
        if metrics.is_empty() && scorers.is_empty() {
            return Err(cli::Usage(format!("--metrics names no metric; there are {}", known_names().join(", "))).into());
        }
        Ok(Self { metrics, scorers, gates })
    }

    /// The metrics by the names under which they can be asked for again, those of gates too.
    pub(crate) fn names(&self) -> Vec<String> {
        let known = |name: &String| select(&[name]).is_ok();
        self.metrics.iter().map(|metric| metric.name().into_owned()).filter(known).collect()
    }

    /// A gate that needs the base, if there is one.
    pub(crate) fn needs_baseline(&self) -> Option<&str> {
        self.gates.iter().find(|gate| gate.minus_baseline).map(|gate| gate.text.as_str())
    }

    /// A gate that needs a model to answer, if there is one.
    pub(crate) fn needs_model(&self) -> Option<&str> {
        self.gates.iter().find(|gate| cost::unit_of(&gate.metric).is_some()).map(|gate| gate.text.as_str())
    }

    /// Measures everything and judges the gates; nothing where the user asked to stop.
    pub(crate) fn score(
        self,
        predictions: &Predictions,
        bootstrap: Bootstrap,
        costs: (Option<CostSummary>, Option<CostSummary>),
        limits: &Limits,
    ) -> Result<Option<Scores>> {
        let tuned = pairs(&predictions.prediction, &predictions.reference);
        let baseline = predictions.baseline_prediction.as_ref().map(|texts| pairs(texts, &predictions.reference));
        let classes = self.metrics.iter().any(|metric| is_of_classes(&metric.name()));
        let (mut metrics, mut scored) = (Vec::new(), Vec::new());
        for metric in self.metrics {
            scored.push((score(&*metric, &tuned), baseline.as_ref().map(|pairs| score(&*metric, pairs))));
            metrics.push(metric);
        }
        for scorer in self.scorers {
            let base = predictions.baseline_prediction.as_ref();
            let base = base.map(|texts| scorer.score(predictions, texts, limits)).transpose()?;
            let tuned = scorer.score(predictions, &predictions.prediction, limits)?;
            let (Some(tuned), false) = (tuned, matches!(base, Some(None))) else { return Ok(None) };
            scored.push((tuned, base.flatten()));
            metrics.push(Box::new(scorer.metric()));
        }
        let mut scores = Scores {
            metrics: with_intervals(metrics, scored, &bootstrap),
            gates: Vec::new(),
            confusion: classes.then(|| Confusion::new(&tuned)),
            baseline_confusion: baseline.filter(|_| classes).map(|pairs| Confusion::new(&pairs)),
            costs,
        };
        scores.gates = self.gates.iter().map(|gate| gate.judge(&scores)).collect();
        Ok(Some(scores))
    }
}

/// Whether a metric looks at answers as labels.
fn is_of_classes(name: &str) -> bool {
    name == "accuracy" || name.ends_with("_macro") || name.ends_with("_weighted")
}

/// Resamples all scores over the same rows.
fn with_intervals(
    metrics: Vec<Box<dyn Metric>>,
    scored: Vec<(Score, Option<Score>)>,
    bootstrap: &Bootstrap,
) -> Vec<Scored> {
    let mut together: Vec<(&dyn Metric, &Score)> = Vec::new();
    for (metric, (tuned, base)) in metrics.iter().zip(&scored) {
        together.push((&**metric, tuned));
        together.extend(base.as_ref().map(|base| (&**metric, base)));
    }
    let mut values = resample(&together, bootstrap).into_iter();
    let mut found = Vec::new();
    for (metric, (tuned, baseline)) in metrics.into_iter().zip(scored) {
        let own = values.next().unwrap_or_default();
        let base = if baseline.is_some() { values.next().unwrap_or_default() } else { Vec::new() };
        let against = baseline.as_ref().map(|score| (score, base.as_slice()));
        let difference = against.and_then(|base| difference(&*metric, (&tuned, &own), base, bootstrap.level));
        found.push(Scored {
            interval: interval(&own, bootstrap.level),
            baseline_interval: interval(&base, bootstrap.level),
            values: (own, base),
            metric,
            tuned,
            baseline,
            difference,
        });
    }
    found
}

fn pattern(text: &str) -> Result<Pattern> {
    let usage = |why: String| cli::Usage(format!("--regex {text}: {why}"));
    let named = text.split_once('=').filter(|(name, pattern)| !name.trim().is_empty() && !pattern.is_empty());
    let (name, pattern) =
        named.ok_or_else(|| usage("expected NAME=PATTERN, such as choice='answer is ([A-D])'".to_owned()))?;
    Ok(Pattern::new(name.trim(), pattern).map_err(|error| usage(error.to_string()))?)
}

impl Scored {
    /// Whether a larger value is better.
    pub(crate) fn higher_is_better(&self) -> bool {
        self.metric.higher_is_better()
    }

    /// Whether the interval of the difference to the base does not hold zero, and comes from enough rows to be believed.
    pub(crate) fn is_sure(&self) -> bool {
        let apart = |difference: Difference| difference.interval.lower > 0.0 || difference.interval.upper < 0.0;
        !self.has_few_rows() && self.difference.is_some_and(apart)
    }

    /// Whether there are too few rows for a verdict.
    pub(crate) fn has_few_rows(&self) -> bool {
        self.tuned.rows.len() < FEWEST_ROWS
    }

    /// Whether the tuned model's value is the better one.
    pub(crate) fn is_better(&self) -> bool {
        let higher = self.difference.is_some_and(|difference| difference.value > 0.0);
        higher == self.higher_is_better()
    }

    /// The largest usual value: 1 or 100.
    pub(crate) fn scale(&self) -> f64 {
        self.metric.scale()
    }
}

impl Scores {
    /// A column of values for each metric, and one for the base.
    pub(crate) fn columns(&self) -> Vec<PredictionColumn> {
        let column = |name: String, score: &Score| PredictionColumn {
            name,
            values: score.rows.iter().map(|&value| Some(value).filter(|value| value.is_finite())).collect(),
        };
        let columns = self.metrics.iter().flat_map(|scored| {
            let own = column(scored.tuned.name.clone(), &scored.tuned);
            let base = scored.baseline.as_ref().map(|base| column(format!("baseline_{}", base.name), base));
            std::iter::once(own).chain(base)
        });
        columns.collect()
    }

    /// Whether every gate held.
    pub(crate) fn all_held(&self) -> bool {
        self.gates.iter().all(|gate| gate.held)
    }

    /// The metric that speaks: that of a gate, a missed one first; else the first that tells tuned model and base apart
    /// beyond chance, or that tells rows apart at all, or the first.
    pub(crate) fn leading(&self) -> &Scored {
        let mut missed_first = self.gates.iter().filter(|gate| !gate.held).chain(&self.gates);
        let gated = missed_first.find_map(|gate| self.find(&gate.metric));
        let sure = self.metrics.iter().find(|scored| scored.is_sure());
        let varied =
            || self.metrics.iter().find(|scored| scored.tuned.rows.iter().any(|&value| value != scored.tuned.rows[0]));
        gated.or(sure).or_else(varied).unwrap_or(&self.metrics[0])
    }

    fn find(&self, metric: &str) -> Option<&Scored> {
        self.metrics.iter().find(|scored| scored.tuned.name == metric)
    }
}

impl GateInput for Scores {
    fn value(&self, metric: &str, minus_baseline: bool) -> Option<f64> {
        if cost::unit_of(metric).is_some() {
            let own = self.costs.0.as_ref()?.value(metric)?;
            return if minus_baseline { Some(own - self.costs.1.as_ref()?.value(metric)?) } else { Some(own) };
        }
        let scored = self.find(metric)?;
        match minus_baseline {
            false => Some(scored.tuned.corpus),
            true => Some(scored.tuned.corpus - scored.baseline.as_ref()?.corpus),
        }
    }

    fn interval(&self, metric: &str, minus_baseline: bool, level: f64) -> Option<Interval> {
        let scored = self.find(metric)?;
        match minus_baseline {
            false => interval(&scored.values.0, level),
            true => interval(&differences(&scored.values.0, &scored.values.1), level),
        }
    }
}

fn pairs<'a>(predictions: &'a [String], references: &'a [Vec<String>]) -> Vec<Pair<'a>> {
    let pair = |(prediction, references): (&'a String, &'a Vec<String>)| Pair {
        prediction,
        references: references.iter().map(String::as_str).collect(),
    };
    predictions.iter().zip(references).map(pair).collect()
}

fn gate_usage(error: GateError) -> anyhow::Error {
    let hint = match &error {
        GateError::UnknownMetric { name, .. } => match select(&[name]) {
            Ok(several) => {
                let names: Vec<_> = several.iter().map(|metric| metric.name()).collect();
                format!("; it stands for several: name one of {}", names.join(", "))
            }
            Err(_) => nearest(name),
        },
        _ => String::new(),
    };
    cli::Usage(format!("{error}{hint}")).into()
}

fn suggestion(error: &SpecError) -> String {
    match error {
        SpecError::UnknownMetric { name } => nearest(name),
        _ => String::new(),
    }
}

/// The nearest known name, or all of them.
fn nearest(name: &str) -> String {
    let mut known = known_names();
    known.extend(cost::names().map(str::to_owned));
    match dataset::nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; there are {}", known.join(", ")),
    }
}
