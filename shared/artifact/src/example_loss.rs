//! Loss of each example, tuned beside base: what evaluate finds.

use crate::columns::{number, optional_number, text};
use crate::{FinishedFile, Result, StagedFile, TableWriter};
use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One example under the tuned model and, where asked for, under the base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleLoss {
    /// The example's id.
    pub id: String,
    /// The split it was measured in.
    pub split: String,
    /// The file it came from.
    pub source_file: String,
    /// Where in that file, counted from one.
    pub source_row: u64,
    /// Tokens of the example that are trained on.
    pub trained_tokens: u64,
    /// Nats per trained token under the tuned model.
    pub loss: f64,
    /// Share of trained tokens that the tuned model ranks first.
    pub token_accuracy: f64,
    /// Nats per trained token under the base.
    pub baseline_loss: Option<f64>,
    /// Share of trained tokens that the base ranks first.
    pub baseline_token_accuracy: Option<f64>,
}

/// Writes `examples.parquet` of evaluate.
pub struct ExampleLossWriter(TableWriter);

impl ExampleLossWriter {
    /// Begins the table.
    ///
    /// # Errors
    /// As [`TableWriter::new`].
    pub fn new(file: StagedFile) -> Result<Self> {
        let schema = Schema::new(vec![
            text("id"),
            text("split"),
            text("source_file"),
            number("source_row", DataType::UInt64),
            number("trained_tokens", DataType::UInt64),
            number("loss", DataType::Float64),
            number("token_accuracy", DataType::Float64),
            optional_number("baseline_loss", DataType::Float64),
            optional_number("baseline_token_accuracy", DataType::Float64),
        ]);
        TableWriter::new(file, Arc::new(schema)).map(Self)
    }

    /// Appends rows.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn write(&mut self, rows: &[ExampleLoss]) -> Result<()> {
        let texts = |value: fn(&ExampleLoss) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let counts = |value: fn(&ExampleLoss) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(value)))
        };
        let floats = |value: fn(&ExampleLoss) -> Option<f64>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<Float64Array>())
        };
        self.0.write(vec![
            texts(|row| &row.id),
            texts(|row| &row.split),
            texts(|row| &row.source_file),
            counts(|row| row.source_row),
            counts(|row| row.trained_tokens),
            floats(|row| Some(row.loss)),
            floats(|row| Some(row.token_accuracy)),
            floats(|row| row.baseline_loss),
            floats(|row| row.baseline_token_accuracy),
        ])
    }

    /// Completes the table.
    ///
    /// # Errors
    /// As [`TableWriter::finish`].
    pub fn finish(self) -> Result<FinishedFile> {
        self.0.finish()
    }
}
