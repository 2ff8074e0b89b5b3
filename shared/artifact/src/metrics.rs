//! The figures of a training run, step by step.

use crate::columns::{number, optional_number};
use crate::{FinishedFile, Result, StagedFile, TableReader, TableWriter};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, Float64Type, Schema, UInt64Type};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// One optimizer step, or a validation after it. No value depends on time, so a resumed run writes the same table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the training split done.
    pub epoch: f64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Tokens trained on so far.
    pub trained_tokens: u64,
    /// Nats per trained token of the step; absent in the row of a validation before the first step.
    pub loss: Option<f64>,
    /// Nats per trained token of the validation split, where it was measured after this step.
    pub validation_loss: Option<f64>,
    /// Learning rate of the step; 0 before the first.
    pub learning_rate: f64,
    /// Euclidean norm of the gradient before clipping.
    pub grad_norm: Option<f64>,
    /// Of a step over preference pairs.
    pub preference: Option<PreferenceMetrics>,
    /// Of the validation after it, over preference pairs.
    pub validation_preference: Option<PreferenceMetrics>,
}

/// Means over preference pairs, under the names that TRL gives them. With a validation split the same columns stand again
/// with `validation_` before their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PreferenceMetrics {
    /// Rewards that the policy implies, of the chosen answers.
    pub rewards_chosen: f64,
    /// Of the rejected answers.
    pub rewards_rejected: f64,
    /// Share of pairs whose chosen answer has the higher reward.
    pub accuracies: f64,
    /// Reward of the chosen less that of the rejected.
    pub margins: f64,
    /// Log-probability of the chosen answers.
    pub logps_chosen: f64,
    /// Of the rejected answers.
    pub logps_rejected: f64,
}

/// A name, and how its value is read off a row.
type Column<Row, Value> = (&'static str, fn(&Row) -> Value);

impl PreferenceMetrics {
    const COLUMNS: [Column<Self, f64>; 6] = [
        ("rewards/chosen", |metrics| metrics.rewards_chosen),
        ("rewards/rejected", |metrics| metrics.rewards_rejected),
        ("rewards/accuracies", |metrics| metrics.accuracies),
        ("rewards/margins", |metrics| metrics.margins),
        ("logps/chosen", |metrics| metrics.logps_chosen),
        ("logps/rejected", |metrics| metrics.logps_rejected),
    ];
}

/// Wall time of one optimizer step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThroughputRow {
    /// Optimizer steps done.
    pub step: u64,
    /// Seconds the step took.
    pub seconds: f64,
    /// Tokens read per second.
    pub tokens_per_second: f64,
}

/// Writes `metrics.parquet`.
///
/// # Errors
/// As [`TableWriter::write`].
pub fn write_metrics(file: StagedFile, rows: &[MetricsRow]) -> Result<FinishedFile> {
    let mut fields = vec![
        number("step", DataType::UInt64),
        number("epoch", DataType::Float64),
        number("tokens", DataType::UInt64),
        number("trained_tokens", DataType::UInt64),
        optional_number("loss", DataType::Float64),
        optional_number("validation_loss", DataType::Float64),
        number("learning_rate", DataType::Float64),
        optional_number("grad_norm", DataType::Float64),
    ];
    let count =
        |value: fn(&MetricsRow) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(rows.iter().map(value))) };
    let float = |value: fn(&MetricsRow) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Float64Array>())
    };
    let mut columns = vec![
        count(|row| row.step),
        float(|row| Some(row.epoch)),
        count(|row| row.tokens),
        count(|row| row.trained_tokens),
        float(|row| row.loss),
        float(|row| row.validation_loss),
        float(|row| Some(row.learning_rate)),
        float(|row| row.grad_norm),
    ];
    let sets: [Column<MetricsRow, Option<PreferenceMetrics>>; 2] =
        [("", |row| row.preference), ("validation_", |row| row.validation_preference)];
    for (prefix, of) in sets.into_iter().filter(|(_, of)| rows.iter().any(|row| of(row).is_some())) {
        for (name, value) in PreferenceMetrics::COLUMNS {
            fields.push(optional_number(&format!("{prefix}{name}"), DataType::Float64));
            let column = rows.iter().map(|row| of(row).as_ref().map(value)).collect::<Float64Array>();
            columns.push(Arc::new(column));
        }
    }
    let mut table = TableWriter::new(file, Arc::new(Schema::new(fields)))?;
    table.write(columns)?;
    table.finish()
}

/// Writes `throughput.parquet`.
///
/// # Errors
/// As [`TableWriter::write`].
pub fn write_throughput(file: StagedFile, rows: &[ThroughputRow]) -> Result<FinishedFile> {
    let schema = Schema::new(vec![
        number("step", DataType::UInt64),
        number("seconds", DataType::Float64),
        number("tokens_per_second", DataType::Float64),
    ]);
    let mut table = TableWriter::new(file, Arc::new(schema))?;
    table.write(vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.step))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.seconds))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.tokens_per_second))),
    ])?;
    table.finish()
}

/// Reads `metrics.parquet`.
///
/// # Errors
/// As [`TableReader::open`] and [`TableReader::require`].
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsRow>> {
    let mut table = TableReader::open(path)?;
    table.require(&["step", "epoch", "tokens", "loss", "validation_loss", "learning_rate", "grad_norm"], "")?;
    let mut rows = Vec::new();
    while let Some(batch) = table.next_batch()? {
        let count = |name| table.column(&batch, name, &DataType::UInt64);
        let float = |name| table.column(&batch, name, &DataType::Float64);
        let trained = if table.has("trained_tokens") { count("trained_tokens")? } else { count("tokens")? };
        let (step, tokens) = (count("step")?, count("tokens")?);
        let (epoch, loss, validation) = (float("epoch")?, float("loss")?, float("validation_loss")?);
        let (learning_rate, grad_norm) = (float("learning_rate")?, float("grad_norm")?);
        let whole = |column: &ArrayRef, row| column.as_primitive::<UInt64Type>().value(row);
        let real = |column: &ArrayRef, row| {
            let column = column.as_primitive::<Float64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        rows.extend((0..batch.num_rows()).map(|row| MetricsRow {
            step: whole(&step, row),
            epoch: real(&epoch, row).unwrap_or_default(),
            tokens: whole(&tokens, row),
            trained_tokens: whole(&trained, row),
            loss: real(&loss, row),
            validation_loss: real(&validation, row),
            learning_rate: real(&learning_rate, row).unwrap_or_default(),
            grad_norm: real(&grad_norm, row),
            preference: None,
            validation_preference: None,
        }));
    }
    Ok(rows)
}
