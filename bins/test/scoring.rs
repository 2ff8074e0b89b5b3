//! Scores of all metrics, tuned beside base, with intervals; gates judged on them.

use anyhow::Result;
use artifact::{PredictionColumn, Predictions};
use metrics::{
    Bootstrap, Confusion, Difference, Gate, GateError, GateInput, GateOutcome, Interval, Metric, Pair, Score,
    confidence_interval, known_names, paired_difference, score, select,
};

/// What is to be measured and what must hold.
pub(crate) struct Wanted {
    metrics: Vec<Box<dyn Metric>>,
    gates: Vec<Gate>,
}

/// One metric's scores.
pub(crate) struct Scored {
    metric: Box<dyn Metric>,
    pub(crate) tuned: Score,
    pub(crate) baseline: Option<Score>,
    pub(crate) interval: Option<Interval>,
    pub(crate) difference: Option<Difference>,
}

/// All scores.
pub(crate) struct Scores {
    pub(crate) metrics: Vec<Scored>,
    pub(crate) gates: Vec<GateOutcome>,
    /// Which label was taken for which, where accuracy is measured.
    pub(crate) confusion: Option<Confusion>,
    bootstrap: Bootstrap,
}

impl Wanted {
    /// Understands the flags before any work is done; a gate's metric is measured whether asked for or not.
    pub(crate) fn parse(metrics: &[String], gates: &[String]) -> Result<Self> {
        let gates: Vec<Gate> = gates.iter().map(|text| text.parse().map_err(gate_usage)).collect::<Result<_>>()?;
        let named = metrics.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let names: Vec<String> = named.chain(gates.iter().map(|gate| gate.metric.clone())).collect();
        let metrics = select(&names).map_err(|error| cli::Usage(format!("{error}{}", suggestion(&error.name))))?;
        if metrics.is_empty() {
            return Err(cli::Usage(format!("--metrics names no metric; there are {}", known_names().join(", "))).into());
        }
        Ok(Self { metrics, gates })
    }

    /// The metrics' names, in order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.metrics.iter().map(|metric| metric.name()).collect()
    }

    /// Whether a gate needs the base.
    pub(crate) fn needs_baseline(&self) -> Option<&str> {
        self.gates.iter().find(|gate| gate.minus_baseline).map(|gate| gate.text.as_str())
    }

    /// Measures everything and judges the gates.
    pub(crate) fn score(self, predictions: &Predictions, bootstrap: Bootstrap) -> Scores {
        let tuned = pairs(&predictions.prediction, &predictions.reference);
        let baseline = predictions.baseline_prediction.as_ref().map(|texts| pairs(texts, &predictions.reference));
        let confusion = self.metrics.iter().any(|metric| metric.name() == "accuracy").then(|| Confusion::new(&tuned));
        let scored = self.metrics.into_iter().map(|metric| {
            let tuned = score(&*metric, &tuned);
            let baseline = baseline.as_ref().map(|pairs| score(&*metric, pairs));
            let difference = baseline.as_ref().and_then(|base| paired_difference(&*metric, &tuned, base, &bootstrap));
            let interval = confidence_interval(&*metric, &tuned, &bootstrap);
            Scored { metric, tuned, baseline, interval, difference }
        });
        let mut scores = Scores { metrics: scored.collect(), gates: Vec::new(), confusion, bootstrap };
        scores.gates = self.gates.iter().map(|gate| gate.judge(&scores)).collect();
        scores
    }
}

impl Scored {
    /// Whether a larger value is better.
    pub(crate) fn higher_is_better(&self) -> bool {
        self.metric.higher_is_better()
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

    fn find(&self, metric: &str) -> Option<&Scored> {
        self.metrics.iter().find(|scored| scored.tuned.name == metric)
    }
}

impl GateInput for Scores {
    fn value(&self, metric: &str, minus_baseline: bool) -> Option<f64> {
        let scored = self.find(metric)?;
        match minus_baseline {
            false => Some(scored.tuned.corpus),
            true => Some(scored.tuned.corpus - scored.baseline.as_ref()?.corpus),
        }
    }

    fn interval(&self, metric: &str, minus_baseline: bool, level: f64) -> Option<Interval> {
        let scored = self.find(metric)?;
        let bootstrap = Bootstrap { level, ..self.bootstrap };
        if !minus_baseline {
            return confidence_interval(&*scored.metric, &scored.tuned, &bootstrap);
        }
        let base = scored.baseline.as_ref()?;
        Some(paired_difference(&*scored.metric, &scored.tuned, base, &bootstrap)?.interval)
    }
}

fn pairs<'a>(predictions: &'a [String], references: &'a [String]) -> Vec<Pair<'a>> {
    predictions.iter().zip(references).map(|(prediction, reference)| Pair::new(prediction, reference)).collect()
}

fn gate_usage(error: GateError) -> anyhow::Error {
    let hint = match &error {
        GateError::UnknownMetric { name, .. } => suggestion(name),
        _ => String::new(),
    };
    cli::Usage(format!("{error}{hint}")).into()
}

/// The nearest known name, or all of them.
fn suggestion(name: &str) -> String {
    let known = known_names();
    match dataset::nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; there are {}", known.join(", ")),
    }
}
