//! Loss of each example over training, as a table: what training writes, and what finds rows that were never learnt,
//! were forgotten, or had nothing to teach.

use crate::columns::{number, strings, text, text_at};
use crate::{FinishedFile, Result, Split, StagedFile, TableReader, TableWriter};
use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Float64Type, Schema, UInt32Type, UInt64Type};
use std::path::Path;
use std::sync::Arc;

/// One example at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExamplePoint {
    /// Optimizer steps: of a training example the step that learnt from it, measured before the update; of a validation
    /// example the steps done.
    pub step: u64,
    /// Which split it belongs to.
    pub split: Split,
    /// The example's id.
    pub id: String,
    /// The file it came from.
    pub source_file: String,
    /// Where in that file, counted from one.
    pub source_row: u64,
    /// Tokens of the example in the loss.
    pub trained_tokens: u32,
    /// Nats per trained token.
    pub loss: f64,
}

/// Rows written together.
const BATCH: usize = 8192;

/// Writes `example_losses.parquet`.
///
/// # Errors
/// As [`TableWriter::write`].
pub fn write_example_history(file: StagedFile, points: impl IntoIterator<Item = ExamplePoint>) -> Result<FinishedFile> {
    let schema = Schema::new(vec![
        number("step", DataType::UInt64),
        text("split"),
        text("id"),
        text("source_file"),
        number("source_row", DataType::UInt64),
        number("trained_tokens", DataType::UInt32),
        number("loss", DataType::Float64),
    ]);
    let mut table = TableWriter::new(file, Arc::new(schema))?;
    let mut points = points.into_iter().peekable();
    while points.peek().is_some() {
        let rows: Vec<ExamplePoint> = points.by_ref().take(BATCH).collect();
        let texts = |value: fn(&ExamplePoint) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let counts = |value: fn(&ExamplePoint) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(value)))
        };
        table.write(vec![
            counts(|row| row.step),
            texts(|row| row.split.as_str()),
            texts(|row| &row.id),
            texts(|row| &row.source_file),
            counts(|row| row.source_row),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.trained_tokens))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.loss))),
        ])?;
    }
    table.finish()
}

/// Reads `example_losses.parquet`.
///
/// # Errors
/// As [`TableReader::open`] and [`TableReader::require`].
pub fn read_example_history(path: &Path) -> Result<Vec<ExamplePoint>> {
    let mut table = TableReader::open(path)?;
    table.require(&["step", "split", "id", "source_file", "source_row", "trained_tokens", "loss"], "")?;
    let mut points = Vec::with_capacity(table.rows() as usize);
    while let Some(batch) = table.next_batch()? {
        let word = |name| table.column(&batch, name, &DataType::Utf8);
        let (split, id, file) = (word("split")?, word("id")?, word("source_file")?);
        let step = table.column(&batch, "step", &DataType::UInt64)?;
        let source_row = table.column(&batch, "source_row", &DataType::UInt64)?;
        let trained = table.column(&batch, "trained_tokens", &DataType::UInt32)?;
        let loss = table.column(&batch, "loss", &DataType::Float64)?;
        let named = |word: &str| Split::ALL.into_iter().find(|split| split.as_str() == word);
        points.extend((0..batch.num_rows()).map(|row| ExamplePoint {
            step: step.as_primitive::<UInt64Type>().value(row),
            split: text_at(strings(&split), row).as_deref().and_then(named).unwrap_or(Split::Train),
            id: text_at(strings(&id), row).unwrap_or_default(),
            source_file: text_at(strings(&file), row).unwrap_or_default(),
            source_row: source_row.as_primitive::<UInt64Type>().value(row),
            trained_tokens: trained.as_primitive::<UInt32Type>().value(row),
            loss: loss.as_primitive::<Float64Type>().value(row),
        }));
    }
    Ok(points)
}
