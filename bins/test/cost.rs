//! What answers cost: tokens per second, time to the first token, latency, memory. All of it differs from run to run, so
//! it goes to the terminal, to `--json`, to the manifest and to throughput.parquet, and into no other file, unless a gate
//! asks for it.

use std::time::Instant;

use anyhow::Result;
use artifact::{FinishedFile, OutputFolder, PlainColumn, files, write_plain_table};
use metrics::Unit;
use report::{Table, decimal};
use serde::Serialize;

/// When one answer began, had its first token, and was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) began: Option<Instant>,
    pub(crate) first: Option<Instant>,
    pub(crate) done: Option<Instant>,
    pub(crate) tokens: usize,
}

/// The costs of all answers of one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Costs {
    rows: Vec<RowCost>,
    pub(crate) summary: CostSummary,
}

#[derive(Debug, Clone, Copy)]
struct RowCost {
    tokens: usize,
    first_token_seconds: Option<f64>,
    seconds: Option<f64>,
}

/// The figures of one model.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct CostSummary {
    /// From the first prompt to the last token.
    pub(crate) seconds: f64,
    /// New tokens of all answers.
    pub(crate) new_tokens: usize,
    /// New tokens of all answers in each second, as batched.
    pub(crate) tokens_per_second: f64,
    /// Seconds from the begin of an answer's prompt to its first token: half of the answers are as quick.
    pub(crate) time_to_first_token_p50: f64,
    /// The same for 95 of 100 answers.
    pub(crate) time_to_first_token_p95: f64,
    /// Seconds from the begin of an answer's prompt to its end.
    pub(crate) latency_p50: f64,
    /// The same for 95 of 100 answers.
    pub(crate) latency_p95: f64,
    /// The same for 99 of 100 answers.
    pub(crate) latency_p99: f64,
    /// Largest resident memory of the process while answering, bytes, where the system tells.
    pub(crate) peak_memory: Option<u64>,
}

type Figure = (&'static str, Unit, fn(&CostSummary) -> Option<f64>);

/// Every figure that a gate may name.
const FIGURES: [Figure; 7] = [
    ("tokens_per_second", Unit::None, |cost| Some(cost.tokens_per_second)),
    ("time_to_first_token_p50", Unit::Seconds, |cost| Some(cost.time_to_first_token_p50)),
    ("time_to_first_token_p95", Unit::Seconds, |cost| Some(cost.time_to_first_token_p95)),
    ("latency_p50", Unit::Seconds, |cost| Some(cost.latency_p50)),
    ("latency_p95", Unit::Seconds, |cost| Some(cost.latency_p95)),
    ("latency_p99", Unit::Seconds, |cost| Some(cost.latency_p99)),
    ("peak_memory", Unit::Bytes, |cost| cost.peak_memory.map(|bytes| bytes as f64)),
];

/// The unit of a figure, where there is one of that name.
pub(crate) fn unit_of(name: &str) -> Option<Unit> {
    FIGURES.iter().find(|(known, ..)| *known == name).map(|(_, unit, _)| *unit)
}

/// The names of all figures.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FIGURES.iter().map(|(name, ..)| *name)
}

impl CostSummary {
    /// The value of a figure.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        FIGURES.iter().find(|(known, ..)| *known == name).and_then(|(.., value)| value(self))
    }
}

impl Costs {
    /// Sums up the times of all answers.
    pub(crate) fn new(times: &[Times], peak_memory: Option<u64>) -> Self {
        let rows: Vec<RowCost> = times
            .iter()
            .map(|times| {
                let since = |moment: Option<Instant>| Some(moment?.duration_since(times.began?).as_secs_f64());
                let (first_token_seconds, seconds) = (since(times.first.or(times.done)), since(times.done));
                RowCost { tokens: times.tokens, first_token_seconds, seconds }
            })
            .collect();
        let began = times.iter().filter_map(|times| times.began).min();
        let done = times.iter().filter_map(|times| times.done).max();
        let seconds = began.zip(done).map_or(0.0, |(began, done)| done.duration_since(began).as_secs_f64());
        let new_tokens = rows.iter().map(|row| row.tokens).sum();
        let first = |share| quantile(rows.iter().filter_map(|row| row.first_token_seconds), share);
        let whole = |share| quantile(rows.iter().filter_map(|row| row.seconds), share);
        let summary = CostSummary {
            seconds,
            new_tokens,
            tokens_per_second: new_tokens as f64 / seconds.max(1e-9),
            time_to_first_token_p50: first(0.5),
            time_to_first_token_p95: first(0.95),
            latency_p50: whole(0.5),
            latency_p95: whole(0.95),
            latency_p99: whole(0.99),
            peak_memory,
        };
        Self { rows, summary }
    }
}

/// The smallest value that so large a share of the values does not exceed; 0 where there are none.
fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Tuned beside base, one line a figure.
pub(crate) fn table(tuned: &CostSummary, baseline: Option<&CostSummary>) -> Table {
    let mut table = match baseline {
        Some(_) => Table::new("", &["cost", "#base", "#tuned"]),
        None => Table::new("", &["cost", "#value"]),
    };
    for (name, unit, value) in FIGURES {
        let show = |cost: &CostSummary| value(cost).map_or("–".to_owned(), |value| quantity(value, unit));
        let mut row = vec![name.to_owned()];
        row.extend(baseline.map(show));
        row.push(show(tuned));
        table.push(row);
    }
    table
}

/// A value in its unit, for people.
pub(crate) fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::None => decimal(value),
        Unit::Bytes => cli::format::bytes(value.max(0.0) as u64),
        Unit::Seconds if value < 1.0 => format!("{} ms", decimal(1000.0 * value)),
        Unit::Seconds => format!("{} s", decimal(value)),
    }
}

/// Writes throughput.parquet.
pub(crate) fn write(
    folder: &OutputFolder,
    ids: &[String],
    tuned: &Costs,
    baseline: Option<&Costs>,
) -> Result<FinishedFile> {
    let models = || std::iter::once(("tuned", tuned)).chain(baseline.map(|costs| ("baseline", costs)));
    let rows = || models().flat_map(|(model, costs)| costs.rows.iter().zip(ids).map(move |(row, id)| (model, id, row)));
    Ok(write_plain_table(
        folder.stage(files::THROUGHPUT)?,
        vec![
            ("id", PlainColumn::Text(rows().map(|(_, id, _)| id.clone()).collect())),
            ("model", PlainColumn::Text(rows().map(|(model, ..)| model.to_owned()).collect())),
            ("new_tokens", PlainColumn::Count(rows().map(|(.., row)| row.tokens as u64).collect())),
            ("first_token_seconds", PlainColumn::Number(rows().map(|(.., row)| row.first_token_seconds).collect())),
            ("seconds", PlainColumn::Number(rows().map(|(.., row)| row.seconds).collect())),
        ],
    )?)
}
