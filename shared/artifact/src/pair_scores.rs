//! Log-probabilities of each preference pair, tuned beside base: what evaluate finds.

use crate::columns::{number, optional_number, text};
use crate::{FinishedFile, Result, StagedFile, TableWriter};
use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One pair under the tuned model and, where asked for, under the base.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    /// The example's id.
    pub id: String,
    /// The file it came from.
    pub source_file: String,
    /// Where in that file, counted from one.
    pub source_row: u64,
    /// Tokens of the chosen answer.
    pub chosen_tokens: u64,
    /// Tokens of the rejected answer.
    pub rejected_tokens: u64,
    /// Summed log-probability of the chosen answer, in nats.
    pub logps_chosen: f64,
    /// Of the rejected answer.
    pub logps_rejected: f64,
    /// Of the chosen answer under the base.
    pub baseline_logps_chosen: Option<f64>,
    /// Of the rejected answer under the base.
    pub baseline_logps_rejected: Option<f64>,
}

/// Writes `examples.parquet` of evaluate, for preference pairs.
///
/// # Errors
/// As [`TableWriter::write`].
pub fn write_pair_scores(file: StagedFile, rows: &[PairScores]) -> Result<FinishedFile> {
    let schema = Schema::new(vec![
        text("id"),
        text("source_file"),
        number("source_row", DataType::UInt64),
        number("chosen_tokens", DataType::UInt64),
        number("rejected_tokens", DataType::UInt64),
        number("logps_chosen", DataType::Float64),
        number("logps_rejected", DataType::Float64),
        optional_number("baseline_logps_chosen", DataType::Float64),
        optional_number("baseline_logps_rejected", DataType::Float64),
    ]);
    let texts = |value: fn(&PairScores) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
    };
    let counts =
        |value: fn(&PairScores) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(rows.iter().map(value))) };
    let floats = |value: fn(&PairScores) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Float64Array>())
    };
    let mut table = TableWriter::new(file, Arc::new(schema))?;
    table.write(vec![
        texts(|row| &row.id),
        texts(|row| &row.source_file),
        counts(|row| row.source_row),
        counts(|row| row.chosen_tokens),
        counts(|row| row.rejected_tokens),
        floats(|row| Some(row.logps_chosen)),
        floats(|row| Some(row.logps_rejected)),
        floats(|row| row.baseline_logps_chosen),
        floats(|row| row.baseline_logps_rejected),
    ])?;
    table.finish()
}
