//! What the columns of a table hold, for people who look at it: counts of few values, the range of numbers, and which rows
//! have a value that is asked for.

use crate::{Result, TableReader};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::array_value_to_string;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// More different values than this are not counted one by one.
const MOST_VALUES: usize = 12;

/// A column with the value that a row must have in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column's name.
    pub column: String,
    /// The value as text; a number in any form.
    pub value: String,
}

/// The rows that meet all conditions.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Their numbers, from one.
    pub rows: Vec<u64>,
    /// What some of the columns hold in these rows.
    pub columns: Vec<(String, Content)>,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Numbers.
    Numbers {
        /// The least.
        least: f64,
        /// Their mean.
        mean: f64,
        /// The greatest.
        greatest: f64,
    },
    /// How often each value stands, the most frequent first.
    Values(Vec<(String, u64)>),
}

/// Sums over a column.
#[derive(Debug)]
enum Sums {
    Numbers { least: f64, sum: f64, greatest: f64, count: u64 },
    Values(BTreeMap<String, u64>),
    Many,
}

impl Overview {
    /// Reads a whole table.
    ///
    /// # Errors
    /// As [`TableReader::open`] and [`TableReader::require`], and where the data is damaged.
    pub fn read(path: &Path, conditions: &[Condition]) -> Result<Self> {
        let mut reader = TableReader::open(path)?;
        let asked: Vec<&str> = conditions.iter().map(|condition| condition.column.as_str()).collect();
        reader.require(&asked, "retune-inspect without --where lists the columns")?;
        let fields: Vec<_> = reader.schema().fields().iter().cloned().collect();
        let mut sums: Vec<Sums> = fields.iter().map(|field| Sums::new(field.data_type())).collect();
        let (mut rows, mut before) = (Vec::new(), 0);
        while let Some(batch) = reader.next_batch()? {
            let met: Vec<usize> = (0..batch.num_rows()).filter(|&row| meets(&batch, row, conditions)).collect();
            for (sums, column) in sums.iter_mut().zip(batch.columns()) {
                sums.add(column.as_ref(), &met);
            }
            rows.extend(met.iter().map(|&row| before + row as u64 + 1));
            before += batch.num_rows() as u64;
        }
        let named = fields.iter().zip(sums);
        let columns = named.filter_map(|(field, sums)| Some((field.name().clone(), sums.content()?))).collect();
        Ok(Self { rows, columns })
    }
}

fn meets(batch: &RecordBatch, row: usize, conditions: &[Condition]) -> bool {
    conditions.iter().all(|Condition { column, value }| {
        let Some(column) = batch.column_by_name(column) else { return false };
        let found = array_value_to_string(column, row).unwrap_or_default();
        let number = |text: &str| text.parse::<f64>().ok();
        found == *value || number(&found).is_some_and(|found| number(value) == Some(found))
    })
}

impl Sums {
    fn new(kind: &DataType) -> Self {
        match kind {
            kind if kind.is_numeric() => {
                Self::Numbers { least: f64::INFINITY, sum: 0.0, greatest: f64::NEG_INFINITY, count: 0 }
            }
            kind if kind.is_string() || *kind == DataType::Boolean => Self::Values(BTreeMap::new()),
            _ => Self::Many,
        }
    }

    fn add(&mut self, column: &dyn Array, rows: &[usize]) {
        let there = rows.iter().copied().filter(|&row| column.is_valid(row));
        match self {
            Self::Numbers { least, sum, greatest, count } => {
                let Ok(numbers) = cast(column, &DataType::Float64) else { return };
                let numbers = numbers.as_primitive::<Float64Type>();
                for number in there.map(|row| numbers.value(row)) {
                    (*least, *greatest) = (least.min(number), greatest.max(number));
                    *sum += number;
                    *count += 1;
                }
            }
            Self::Values(counts) => {
                for row in there {
                    *counts.entry(array_value_to_string(column, row).unwrap_or_default()).or_default() += 1;
                    if counts.len() > MOST_VALUES {
                        *self = Self::Many;
                        return;
                    }
                }
            }
            Self::Many => {}
        }
    }

    fn content(self) -> Option<Content> {
        match self {
            Self::Numbers { least, sum, greatest, count } if count > 0 => {
                Some(Content::Numbers { least, mean: sum / count as f64, greatest })
            }
            Self::Values(counts) if !counts.is_empty() => {
                let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
                counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
                Some(Content::Values(counts))
            }
            _ => None,
        }
    }
}
