//! Rows of an Arrow table as JSON values.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Number, Value, json};

use super::payload::Unreadable;

/// The rows of a batch.
pub(crate) struct Rows {
    names: Vec<String>,
    columns: Vec<ArrayRef>,
}

impl Rows {
    pub(crate) fn new(batch: &RecordBatch) -> Self {
        let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        Self { names, columns: batch.columns().iter().map(plain).collect() }
    }

    /// Row `index` as an object.
    pub(crate) fn row(&self, index: usize) -> Result<Value, Unreadable> {
        let fields = self.names.iter().zip(&self.columns);
        let fields: Result<_, Unreadable> =
            fields.map(|(name, column)| Ok((name.clone(), value(column, index)?))).collect();
        Ok(Value::Object(fields?))
    }
}

/// Dictionaries are looked up once for the whole column. Times of a named zone are told in UTC, as they are stored: the
/// names need a table of zones.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values).unwrap_or_else(|_| column.clone()),
        DataType::Timestamp(unit, Some(_)) => {
            cast(column, &DataType::Timestamp(*unit, Some("+00:00".into()))).unwrap_or_else(|_| column.clone())
        }
        _ => column.clone(),
    }
}

fn value(column: &ArrayRef, index: usize) -> Result<Value, Unreadable> {
    if column.is_null(index) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($kind:ty) => {
            Value::from(column.as_primitive::<$kind>().value(index))
        };
    }
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(column.as_boolean().value(index)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => float(f64::from(column.as_primitive::<Float16Type>().value(index))),
        DataType::Float32 => float(f64::from(column.as_primitive::<Float32Type>().value(index))),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(index)),
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(index)),
        DataType::LargeUtf8 => Value::from(column.as_string::<i64>().value(index)),
        DataType::Utf8View => Value::from(column.as_string_view().value(index)),
        DataType::Binary => bytes(column.as_binary::<i32>().value(index)),
        DataType::LargeBinary => bytes(column.as_binary::<i64>().value(index)),
        DataType::BinaryView => bytes(column.as_binary_view().value(index)),
        DataType::FixedSizeBinary(_) => bytes(column.as_fixed_size_binary().value(index)),
        DataType::List(_) => list(&column.as_list::<i32>().value(index))?,
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(index))?,
        DataType::FixedSizeList(_, _) => list(&column.as_fixed_size_list().value(index))?,
        DataType::Struct(fields) => {
            let parts = fields.iter().zip(column.as_struct().columns());
            let parts: Result<_, Unreadable> =
                parts.map(|(field, part)| Ok((field.name().clone(), value(&plain(part), index)?))).collect();
            Value::Object(parts?)
        }
        DataType::Map(_, _) => map(column, index)?,
        // Dates, times, decimals and the like: as Arrow writes them.
        _ => {
            let formatter = ArrayFormatter::try_new(column, &FormatOptions::default());
            let shown = formatter.map(|formatter| formatter.value(index).to_string());
            Value::String(shown.map_err(|error| Unreadable::syntax(error.to_string()))?)
        }
    })
}

fn list(elements: &ArrayRef) -> Result<Value, Unreadable> {
    let elements = plain(elements);
    (0..elements.len()).map(|index| value(&elements, index)).collect::<Result<_, _>>().map(Value::Array)
}

fn map(column: &ArrayRef, index: usize) -> Result<Value, Unreadable> {
    let entries = column.as_map().value(index);
    let (keys, values) = (plain(entries.column(0)), plain(entries.column(1)));
    let pair = |at| Ok((super::as_text(&value(&keys, at)?), value(&values, at)?));
    (0..entries.len()).map(pair).collect::<Result<_, Unreadable>>().map(Value::Object)
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
}

/// Binary columns hold text in many a file. Pictures and the like are no text, and no reason to refuse the row's text.
fn bytes(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({"binary": format!("{} bytes", bytes.len())}), Value::from)
}
