//! A table of plain columns, for results that no later stage reads by type: leaked rows, suspects, times of answers.

use crate::{FinishedFile, Result, StagedFile, TableWriter};
use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum PlainColumn {
    /// Texts.
    Text(Vec<String>),
    /// Whole numbers.
    Count(Vec<u64>),
    /// Numbers that may be absent.
    Number(Vec<Option<f64>>),
}

impl PlainColumn {
    fn into_array(self) -> (DataType, bool, ArrayRef) {
        match self {
            Self::Text(values) => (DataType::Utf8, false, Arc::new(StringArray::from(values))),
            Self::Count(values) => (DataType::UInt64, false, Arc::new(UInt64Array::from(values))),
            Self::Number(values) => (DataType::Float64, true, Arc::new(Float64Array::from(values))),
        }
    }
}

/// Writes columns of equal length under their names.
///
/// # Errors
/// As [`TableWriter::write`].
pub fn write_plain_table(file: StagedFile, columns: Vec<(&str, PlainColumn)>) -> Result<FinishedFile> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, column) in columns {
        let (kind, nullable, array) = column.into_array();
        fields.push(Field::new(name, kind, nullable));
        arrays.push(array);
    }
    let mut table = TableWriter::new(file, Arc::new(Schema::new(fields)))?;
    table.write(arrays)?;
    table.finish()
}
