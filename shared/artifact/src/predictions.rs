//! Generated text beside its reference: as test writes it; what other tools wrote, the stage itself reads.

use crate::columns::{element, list_of, optional_text, text};
use crate::{FinishedFile, Result, StagedFile, TableWriter};
use arrow::array::{ArrayRef, Float64Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// Predictions, column by column; every column has the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// The examples' ids.
    pub id: Vec<String>,
    /// What the model was given.
    pub prompt: Vec<String>,
    /// What it should have said: one text or several, of which any would do.
    pub reference: Vec<Vec<String>>,
    /// What the tuned model said.
    pub prediction: Vec<String>,
    /// What the base said, where asked for.
    pub baseline_prediction: Option<Vec<String>>,
}

/// A metric's value for each prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionColumn {
    /// The metric, with the prefix `baseline_` for the base.
    pub name: String,
    /// One value a row; absent where the metric has none.
    pub values: Vec<Option<f64>>,
}

/// Writes `predictions.parquet`.
///
/// # Errors
/// As [`TableWriter::write`].
pub fn write_predictions(
    file: StagedFile,
    predictions: &Predictions,
    metrics: &[PredictionColumn],
) -> Result<FinishedFile> {
    let texts = |values: &[String]| -> ArrayRef { Arc::new(StringArray::from_iter_values(values)) };
    let (reference, expected) = reference_column(&predictions.reference);
    let mut fields = vec![text("id"), text("prompt"), reference, text("prediction")];
    let mut columns =
        vec![texts(&predictions.id), texts(&predictions.prompt), expected, texts(&predictions.prediction)];
    if let Some(baseline) = &predictions.baseline_prediction {
        fields.push(optional_text("baseline_prediction"));
        columns.push(texts(baseline));
    }
    for metric in metrics {
        fields.push(Field::new(&metric.name, DataType::Float64, true));
        columns.push(Arc::new(metric.values.iter().copied().collect::<Float64Array>()));
    }
    let mut table = TableWriter::new(file, Arc::new(Schema::new(fields)))?;
    table.write(columns)?;
    table.finish()
}

/// Plain text where every row has one reference, else lists of texts.
fn reference_column(rows: &[Vec<String>]) -> (Field, ArrayRef) {
    if rows.iter().all(|references| references.len() == 1) {
        return (text("reference"), Arc::new(StringArray::from_iter_values(rows.iter().flatten())));
    }
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
    for references in rows {
        references.iter().for_each(|reference| builder.values().append_value(reference));
        builder.append(true);
    }
    (Field::new("reference", list_of(DataType::Utf8), false), Arc::new(builder.finish()))
}
