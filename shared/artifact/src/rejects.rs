//! Rejected rows: nothing is dropped without a row here.

use crate::columns::{counts, number, optional_text, strings, text, text_at};
use crate::{FinishedFile, Result, StagedFile, TableReader, TableWriter};
use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Why a row was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The same content came before.
    Duplicate,
    /// Nearly the same content came before.
    NearDuplicate,
    /// Nothing to learn from.
    Empty,
    /// Shorter than asked.
    TooShort,
    /// Longer than asked or than fits.
    TooLong,
    /// Not valid in the file's encoding.
    BadEncoding,
    /// Not a record of the file's format or shape.
    BadRecord,
    /// Overlaps with text it must not overlap with.
    Contaminated,
    /// Named as one to leave out.
    Excluded,
    /// No token of it would be trained on.
    NothingTrained,
}

impl Code {
    /// Every code, in the order in which reports list them.
    pub const ALL: [Self; 10] = [
        Self::Duplicate,
        Self::NearDuplicate,
        Self::Empty,
        Self::TooShort,
        Self::TooLong,
        Self::BadEncoding,
        Self::BadRecord,
        Self::Contaminated,
        Self::Excluded,
        Self::NothingTrained,
    ];

    /// The word in the `code` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::NearDuplicate => "near_duplicate",
            Self::Empty => "empty",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::BadEncoding => "bad_encoding",
            Self::BadRecord => "bad_record",
            Self::Contaminated => "contaminated",
            Self::Excluded => "excluded",
            Self::NothingTrained => "nothing_trained",
        }
    }
}

/// One rejected row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The record as it was read.
    pub record: String,
    /// The file it came from.
    pub source_file: String,
    /// Where in the file, counted from one.
    pub source_row: u64,
    /// The word of a [`Code`].
    pub code: String,
    /// What exactly was wrong, for people.
    pub detail: String,
    /// For duplicates: the id of the example that stands for all of its kind.
    #[serde(default)]
    pub cluster: Option<String>,
}

fn schema() -> Schema {
    let row = number("source_row", DataType::UInt64);
    Schema::new(vec![text("record"), text("source_file"), row, text("code"), text("detail"), optional_text("cluster")])
}

/// Writes `rejects.parquet`.
pub struct RejectWriter(TableWriter);

impl RejectWriter {
    /// Begins the table.
    ///
    /// # Errors
    /// As [`TableWriter::new`].
    pub fn new(file: StagedFile) -> Result<Self> {
        TableWriter::new(file, Arc::new(schema())).map(Self)
    }

    /// Appends rows.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn write(&mut self, rejects: &[Reject]) -> Result<()> {
        let texts = |value: fn(&Reject) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rejects.iter().map(value)))
        };
        let rows = UInt64Array::from_iter_values(rejects.iter().map(|reject| reject.source_row));
        self.0.write(vec![
            texts(|reject| &reject.record),
            texts(|reject| &reject.source_file),
            Arc::new(rows),
            texts(|reject| &reject.code),
            texts(|reject| &reject.detail),
            Arc::new(rejects.iter().map(|reject| reject.cluster.as_deref()).collect::<StringArray>()),
        ])
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.0.rows()
    }

    /// Completes the table.
    ///
    /// # Errors
    /// As [`TableWriter::finish`].
    pub fn finish(self) -> Result<FinishedFile> {
        self.0.finish()
    }
}

/// Reads a whole table of rejects.
///
/// # Errors
/// As [`TableReader::open`] and [`TableReader::require`].
pub fn read_rejects(path: &Path) -> Result<Vec<Reject>> {
    let mut table = TableReader::open(path)?;
    table.require(&["record", "source_file", "source_row", "code", "detail"], "")?;
    let mut rejects = Vec::new();
    while let Some(batch) = table.next_batch()? {
        let text = |name| table.column(&batch, name, &DataType::Utf8);
        let (record, file, code, detail) = (text("record")?, text("source_file")?, text("code")?, text("detail")?);
        let rows = table.column(&batch, "source_row", &DataType::UInt64)?;
        let clusters = if table.has("cluster") { Some(text("cluster")?) } else { None };
        let at = |column: &ArrayRef, row| text_at(strings(column), row).unwrap_or_default();
        rejects.extend((0..batch.num_rows()).map(|row| Reject {
            record: at(&record, row),
            source_file: at(&file, row),
            source_row: counts(&rows).value(row),
            code: at(&code, row),
            detail: at(&detail, row),
            cluster: clusters.as_ref().and_then(|column| text_at(strings(column), row)),
        }));
    }
    Ok(rejects)
}
