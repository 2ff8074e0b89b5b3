//! Small pieces that the schemas and readers share.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use std::sync::Arc;

pub(crate) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

pub(crate) fn optional_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

pub(crate) fn number(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

pub(crate) fn optional_number(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

/// The field of a list's elements, under the name that Parquet and the Hugging Face libraries use.
pub(crate) fn element(kind: DataType) -> FieldRef {
    Arc::new(Field::new("element", kind, true))
}

pub(crate) fn list_of(kind: DataType) -> DataType {
    DataType::List(element(kind))
}

/// Text at `row`, `None` where null.
pub(crate) fn text_at(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_string())
}

pub(crate) fn strings(column: &ArrayRef) -> &StringArray {
    column.as_string::<i32>()
}

pub(crate) fn lists(column: &ArrayRef) -> &ListArray {
    column.as_list::<i32>()
}

pub(crate) fn counts(column: &ArrayRef) -> &UInt64Array {
    column.as_primitive::<arrow::datatypes::UInt64Type>()
}
