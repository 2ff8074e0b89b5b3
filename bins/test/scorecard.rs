//! The scorecard as JSON, and as tables for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use generation::{Finish, Generated};
use metrics::{ClassScore, FEWEST_ROWS, GateOutcome, Interval};
use report::{Table, decimal, signed, table_text};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cost::quantity;
use crate::leakage::LeakageSummary;
use crate::scoring::{Scored, Scores};

/// The content of scorecard.json and of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Scorecard {
    /// Rows scored.
    pub(crate) rows: usize,
    /// Whether these are too few to believe the intervals and p-values.
    pub(crate) too_few_rows: bool,
    /// Each metric by name, in the order asked for.
    pub(crate) metrics: Map<String, Value>,
    /// Each gate.
    pub(crate) gates: Vec<GateOutcome>,
    /// Each class, where accuracy is measured and classes are few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) classes: Vec<ClassScore>,
    /// Test rows that training has seen, where the training data was found.
    pub(crate) leakage: Option<LeakageSummary>,
    /// How the answers came about, where a model wrote them.
    pub(crate) generation: Option<GenerationFacts>,
}

/// Counts of answers.
#[derive(Debug, Serialize)]
pub(crate) struct GenerationFacts {
    /// Tokens of all prompts.
    pub(crate) prompt_tokens: usize,
    /// Tokens of all answers of the tuned model.
    pub(crate) new_tokens: usize,
    /// Why they ended.
    pub(crate) finish: BTreeMap<&'static str, usize>,
    /// The same for the base.
    pub(crate) baseline_finish: Option<BTreeMap<&'static str, usize>>,
}

/// More classes than this are not listed one by one.
const MOST_CLASSES: usize = 200;

impl Scorecard {
    /// The card of these scores.
    pub(crate) fn new(
        rows: usize,
        scores: &Scores,
        generation: Option<GenerationFacts>,
        leakage: Option<LeakageSummary>,
    ) -> Self {
        let metrics = scores.metrics.iter().map(|scored| (scored.tuned.name.clone(), entry(scored)));
        let classes = scores.confusion.as_ref().map(metrics::Confusion::classes).unwrap_or_default();
        Self {
            rows,
            too_few_rows: rows < FEWEST_ROWS,
            metrics: metrics.collect(),
            gates: scores.gates.clone(),
            classes: if classes.len() <= MOST_CLASSES { classes } else { Vec::new() },
            leakage,
            generation,
        }
    }
}

fn entry(scored: &Scored) -> Value {
    let interval = |interval: Interval| json!([interval.lower, interval.upper]);
    let mut entry = json!({
        "tuned": scored.tuned.corpus,
        "baseline": scored.baseline.as_ref().map(|base| base.corpus),
        "confidence_interval": scored.interval.map(interval),
        "baseline_confidence_interval": scored.baseline_interval.map(interval),
        "higher_is_better": scored.higher_is_better(),
        "signature": scored.tuned.signature,
    });
    if let (Some(difference), Some(object)) = (scored.difference, entry.as_object_mut()) {
        object.insert(
            "difference".to_owned(),
            json!({
                "value": difference.value,
                "confidence_interval": interval(difference.interval),
                "p_value": difference.p_value,
                "wins": difference.wins,
                "losses": difference.losses,
                "ties": difference.ties,
            }),
        );
    }
    entry
}

impl GenerationFacts {
    /// The counts of one or two sets of answers.
    pub(crate) fn new(prompts: &[Vec<u32>], tuned: &[Generated], baseline: Option<&[Generated]>) -> Self {
        Self {
            prompt_tokens: prompts.iter().map(Vec::len).sum(),
            new_tokens: tuned.iter().map(|answer| answer.tokens.len()).sum(),
            finish: ends(tuned),
            baseline_finish: baseline.map(ends),
        }
    }
}

fn ends(answers: &[Generated]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(Finish::as_str(answer.finish)).or_insert(0) += 1;
    }
    counts
}

/// A number of rows that is too small for a verdict, with what would do.
pub(crate) fn few_rows(rows: usize) -> String {
    format!("{}, too few to tell ({FEWEST_ROWS} are the least)", cli::format::plural(rows as u64, "row"))
}

/// The p-value, where there are rows enough to believe it.
pub(crate) fn p_value(scored: &Scored, difference: metrics::Difference) -> String {
    match difference.p_value {
        _ if scored.has_few_rows() => "few rows".to_owned(),
        // Resampling cannot tell how much smaller.
        tiny if tiny < 0.001 => "<0.001".to_owned(),
        value => format!("{value:.3}"),
    }
}

/// Scores, one line a metric.
pub(crate) fn score_table(scores: &Scores) -> Table {
    let with_base = scores.metrics.iter().any(|scored| scored.baseline.is_some());
    let columns: &[&str] = match with_base {
        true => &["metric", "#base", "#tuned", "#difference", "#p", "95 % interval of the difference"],
        false => &["metric", "#value", "95 % interval"],
    };
    let mut table = Table::new("", columns);
    let range = |interval: Option<Interval>, format: fn(f64) -> String| {
        interval.map_or("–".to_owned(), |ends| format!("{} … {}", format(ends.lower), format(ends.upper)))
    };
    for scored in &scores.metrics {
        let (name, tuned) = (scored.tuned.name.clone(), decimal(scored.tuned.corpus));
        let base = scored.baseline.as_ref().map_or("–".to_owned(), |base| decimal(base.corpus));
        table.push(match (with_base, scored.difference) {
            (false, _) => vec![name, tuned, range(scored.interval, decimal)],
            (true, Some(difference)) => vec![
                name,
                base,
                tuned,
                signed(difference.value),
                p_value(scored, difference),
                range(Some(difference.interval), signed),
            ],
            (true, None) => vec![name, base, tuned, "–".to_owned(), "–".to_owned(), "–".to_owned()],
        });
    }
    table
}

/// Gates, one line each, with what was missed by how much.
pub(crate) fn gate_table(gates: &[GateOutcome]) -> Table {
    let mut table = Table::new("", &["gate", "result", "#value", "#missed by"]);
    for gate in gates {
        let show = |value: f64| quantity(value, gate.unit);
        table.push([
            gate.gate.clone(),
            if gate.held { "held" } else { "MISSED" }.to_owned(),
            gate.value.map_or("no value".to_owned(), show),
            gate.missed_by.filter(|_| !gate.held).map_or(String::new(), show),
        ]);
    }
    table
}

/// What the terminal shows.
pub(crate) fn text(scores: &Scores, rows: usize) -> String {
    let scored = format!("{} scored", cli::format::plural(rows as u64, "row"));
    let few =
        if rows < FEWEST_ROWS { format!(": too few to tell ({FEWEST_ROWS} are the least)") } else { String::new() };
    let mut text = format!("{}{scored}{few}\n", table_text(&score_table(scores)));
    if !scores.gates.is_empty() {
        text.push('\n');
        text.push_str(&table_text(&gate_table(&scores.gates)));
    }
    let leading = scores.leading();
    if let Some(difference) = leading.difference {
        let name = &leading.tuned.name;
        let (wins, worse, ties) = (difference.wins, difference.losses, difference.ties);
        let _ = writeln!(text, "{name}: {wins} of {rows} rows better than the base, {worse} worse, {ties} equal");
    }
    text
}
