//! One row of any Parquet table as JSON, for people who look at it: no column needs to be known in advance.

use crate::{ArtifactError, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// What a table's footer says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableFacts {
    /// Rows in the whole table.
    pub rows: u64,
    /// Row groups, which readers can take in parallel.
    pub row_groups: usize,
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
    /// The program that wrote it, in its own words.
    pub created_by: Option<String>,
}

impl TableFacts {
    /// Reads the footer.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`], or [`ArtifactError::Parquet`] where the file is not Parquet or is cut short.
    pub fn read(path: &Path) -> Result<Self> {
        let builder = open(path)?;
        let file = builder.metadata().file_metadata();
        let columns = builder.schema().fields().iter();
        Ok(Self {
            rows: file.num_rows().max(0) as u64,
            row_groups: builder.metadata().num_row_groups(),
            columns: columns.map(|field| (field.name().clone(), field.data_type().to_string())).collect(),
            created_by: file.created_by().map(str::to_owned),
        })
    }

    /// Whether the table has all of these columns.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.columns.iter().any(|(column, _)| column == name))
    }
}

/// Reads one row, counted from one, as a JSON object; `None` beyond the end.
///
/// # Errors
/// As [`TableFacts::read`], and [`ArtifactError::Arrow`] where the data is damaged.
pub fn read_row(path: &Path, row: u64) -> Result<Option<Map<String, Value>>> {
    let parquet = |source| ArtifactError::Parquet { path: path.into(), source };
    let offset = usize::try_from(row.saturating_sub(1)).unwrap_or(usize::MAX);
    let builder = open(path)?;
    if row == 0 || row > builder.metadata().file_metadata().num_rows().max(0) as u64 {
        return Ok(None);
    }
    let mut reader = builder.with_offset(offset).with_limit(1).build().map_err(parquet)?;
    let batch = reader.next().transpose().map_err(|source| ArtifactError::Arrow { path: path.into(), source })?;
    Ok(batch.filter(|batch| batch.num_rows() == 1).map(|batch| first_row(&batch)))
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(ArtifactError::io("cannot read", path))?;
    ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|source| ArtifactError::Parquet { path: path.into(), source })
}

fn first_row(batch: &RecordBatch) -> Map<String, Value> {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    names.zip(batch.columns().iter().map(|column| value(column.as_ref(), 0))).collect()
}

/// One value of any type; what JSON has no form for becomes text.
fn value(array: &dyn Array, index: usize) -> Value {
    if array.is_null(index) {
        return Value::Null;
    }
    let cast = |wanted: &DataType| arrow::compute::cast(&array.slice(index, 1), wanted).ok();
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(index).into(),
        kind if kind.is_unsigned_integer() => {
            cast(&DataType::UInt64).map_or(Value::Null, |cast| cast.as_primitive::<UInt64Type>().value(0).into())
        }
        kind if kind.is_signed_integer() => {
            cast(&DataType::Int64).map_or(Value::Null, |cast| cast.as_primitive::<Int64Type>().value(0).into())
        }
        // Through its shortest decimal form: 0.1 as a 32-bit number is not 0.10000000149.
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(index);
            number.to_string().parse::<f64>().map_or(Value::Null, Into::into)
        }
        kind if kind.is_floating() => {
            cast(&DataType::Float64).map_or(Value::Null, |cast| cast.as_primitive::<Float64Type>().value(0).into())
        }
        DataType::List(_) => items(array.as_list::<i32>().value(index).as_ref()),
        DataType::LargeList(_) => items(array.as_list::<i64>().value(index).as_ref()),
        DataType::FixedSizeList(..) => items(array.as_fixed_size_list().value(index).as_ref()),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter();
            let entries = fields.iter().zip(columns);
            Value::Object(
                entries.map(|(field, column)| (field.name().clone(), value(column.as_ref(), index))).collect(),
            )
        }
        _ => array_value_to_string(array, index).map_or(Value::Null, Value::String),
    }
}

fn items(array: &dyn Array) -> Value {
    (0..array.len()).map(|index| value(array, index)).collect()
}
