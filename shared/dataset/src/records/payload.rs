//! A chunk of whole records as read, and its decoding into records.

use std::ops::Range;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde_json::Value;

use super::nested::RecordsPath;
use super::record::{Fields, Record};
use super::{arrow_value, json, lines, record};

/// Records as they lie in the file, not decoded yet.
#[derive(Debug)]
pub enum Payload {
    /// Whole lines, one JSON value each.
    Lines(Vec<u8>),
    /// JSON values of one document.
    Json {
        /// The values, one after the other.
        bytes: Vec<u8>,
        /// Where each lies.
        elements: Vec<Element>,
    },
    /// Records of delimited values.
    Delimited {
        /// The column names.
        header: Arc<Vec<String>>,
        /// The records.
        records: Vec<csv::ByteRecord>,
    },
    /// Columns of an Arrow table.
    Columns(RecordBatch),
    /// Texts, each with its row counted from the start of the file.
    Texts {
        /// The field's names: one text each.
        fields: &'static [&'static str],
        /// Row and text of each field.
        records: Vec<(u64, Vec<Vec<u8>>)>,
        /// How many rows the chunk spans, those without a record included.
        span: u64,
    },
}

/// One value of a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where it lies in the chunk's bytes.
    pub range: Range<usize>,
    /// The line on which it begins, one-based.
    pub line: u64,
    /// Its key in the object around it.
    pub key: Option<String>,
}

/// One decoded record.
#[derive(Debug)]
pub struct Item {
    /// Row inside the chunk, from one; the line for JSONL, the record for others.
    pub row: u64,
    /// How to get the raw record again.
    pub place: Place,
    /// The record, or why there is none.
    pub content: Result<Record, Unreadable>,
}

/// How to get a record's raw text from its chunk.
#[derive(Clone, Debug)]
pub enum Place {
    /// Bytes of a chunk of bytes.
    Bytes(Range<usize>),
    /// The record of that number.
    Index(usize),
    /// The text itself.
    Text(String),
}

/// Why a record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Whether invalid UTF-8 is the reason.
    pub encoding: bool,
    /// What was expected and found.
    pub detail: String,
    /// The line in the file, where it differs from the row.
    pub line: Option<u64>,
}

impl Unreadable {
    pub(crate) fn syntax(detail: impl Into<String>) -> Self {
        Self { encoding: false, detail: detail.into(), line: None }
    }

    pub(crate) fn encoding(bytes: &[u8], error: std::str::Utf8Error) -> Self {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        let detail = format!(
            "expected UTF-8, found byte 0x{byte:02x} at byte {at}; if the file is Latin-1, pass --encoding latin-1"
        );
        Self { encoding: true, detail, line: None }
    }
}

impl Payload {
    /// Decodes each record and hands it to `each`, in order. Returns how many rows the chunk spans: the next chunk's
    /// rows count on from there.
    pub fn visit(&self, nested: Option<&RecordsPath>, each: &mut dyn FnMut(Item)) -> u64 {
        let mut rows = 0;
        // Records inside a record are rows of their own, in order.
        let mut one =
            |place: Place, content: Result<Value, Unreadable>, wrap: fn(Value) -> Result<Fields, Unreadable>| {
                let Some(path) = nested else {
                    rows += 1;
                    each(Item { row: rows, place, content: content.and_then(wrap).map(Record::new) });
                    return;
                };
                match content.and_then(|value| path.expand(value)) {
                    Ok(records) => {
                        for record in records {
                            rows += 1;
                            let place = Place::Text(Value::Object(record.fields.clone()).to_string());
                            each(Item { row: rows, place, content: Ok(record) });
                        }
                    }
                    Err(unreadable) => {
                        rows += 1;
                        each(Item { row: rows, place, content: Err(unreadable) });
                    }
                }
            };
        match self {
            Self::Lines(bytes) if nested.is_none() => return lines::visit(bytes, each),
            Self::Lines(bytes) => {
                lines::split(bytes, &mut |_, range| {
                    let line = &bytes[range.clone()];
                    one(Place::Bytes(range), lines::parse(line), lines::object);
                });
            }
            Self::Json { bytes, elements } => {
                for element in elements {
                    let value = json::parse(&bytes[element.range.clone()], element);
                    one(Place::Bytes(element.range.clone()), value, lines::object);
                }
            }
            Self::Delimited { header, records } => {
                for (index, record) in records.iter().enumerate() {
                    one(Place::Index(index), super::delimited::value(header, record), lines::object);
                }
            }
            Self::Columns(batch) => {
                let decoder = arrow_value::Rows::new(batch);
                for index in 0..batch.num_rows() {
                    one(Place::Index(index), decoder.row(index), lines::object);
                }
            }
            Self::Texts { fields, records, span } => {
                for (index, (row, texts)) in records.iter().enumerate() {
                    each(Item { row: *row, place: Place::Index(index), content: text_record(fields, texts) });
                }
                return *span;
            }
        }
        rows
    }

    /// The raw record at `place`, as text; what is not UTF-8 is replaced.
    pub fn raw(&self, place: &Place) -> String {
        match (self, place) {
            (_, Place::Text(text)) => text.clone(),
            (Self::Lines(bytes) | Self::Json { bytes, .. }, Place::Bytes(range)) => {
                String::from_utf8_lossy(bytes.get(range.clone()).unwrap_or_default()).into_owned()
            }
            (Self::Delimited { header, records }, Place::Index(index)) => {
                super::delimited::raw(header, &records[*index])
            }
            (Self::Columns(batch), Place::Index(index)) => match arrow_value::Rows::new(batch).row(*index) {
                Ok(value) => value.to_string(),
                Err(unreadable) => unreadable.detail,
            },
            (Self::Texts { fields, records, .. }, Place::Index(index)) => raw_texts(fields, &records[*index].1),
            _ => String::new(),
        }
    }
}

fn text_record(fields: &[&str], texts: &[Vec<u8>]) -> Result<Record, Unreadable> {
    let mut record = Fields::new();
    for (field, text) in fields.iter().zip(texts) {
        let text = std::str::from_utf8(text).map_err(|error| Unreadable::encoding(text, error))?;
        record.insert((*field).to_owned(), Value::String(text.to_owned()));
    }
    Ok(record::Record::new(record))
}

/// One text as it is, several as an object.
fn raw_texts(fields: &[&str], texts: &[Vec<u8>]) -> String {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    if let [only] = texts {
        return text(only);
    }
    let pairs = fields.iter().zip(texts).map(|(field, bytes)| ((*field).to_owned(), Value::String(text(bytes))));
    Value::Object(pairs.collect()).to_string()
}
