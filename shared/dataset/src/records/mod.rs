//! Reading records: each container format gives chunks of whole records in file order, and a chunk is decoded into
//! records on any thread.
//!
//! A chunk's borders depend on the file alone, never on the number of threads, so that all that follows is the same
//! for any number of them. Memory is bounded by chunks in flight and by the largest single record.

mod arrow_value;
mod columns;
mod delimited;
mod json;
mod lines;
mod nested;
mod payload;
mod record;
mod scanner;
mod strict;
mod text;

pub use lines::excerpt;
pub use nested::RecordsPath;
pub use payload::{Item, Payload, Place, Unreadable};
pub use record::{Fields, Record, as_text, kind_of};
pub(crate) use strict::parse as parse_json;
pub use text::TextSplit;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::inputs::{self, Container, Input, Progress};

/// A chunk holds about this many bytes of records.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// The chunks of one file, in order.
pub type Chunks = Box<dyn Iterator<Item = Result<Payload>> + Send>;

/// What the user said about how to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// `--input-format`.
    pub container: Option<Container>,
    /// `--encoding`; `None` finds it for each file.
    pub encoding: Option<inputs::Encoding>,
    /// `--records`.
    pub records: Option<RecordsPath>,
    /// `--text-split`.
    pub text_split: TextSplit,
}

/// An opened file and what was found out about it.
pub struct Source {
    /// How its records lie.
    pub container: Container,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
    /// Column names where the file declares them.
    pub columns: Option<Vec<String>>,
    /// The steps of `--records` that are left to do in each element.
    pub nested: Option<RecordsPath>,
    /// The records.
    pub chunks: Chunks,
}

/// Opens one input for reading.
///
/// # Errors
/// Everything that can be wrong with a file before its first record.
pub fn open(input: &Input, options: &ReadOptions, progress: &Arc<Progress>) -> Result<Source> {
    let inputs::Opened { stream, container, mut notes } =
        inputs::open(input, options.container, options.encoding, progress)?;
    let mut nested = options.records.as_ref().map(RecordsPath::within_record);
    let mut columns = None;
    let chunks: Chunks = match container {
        Container::JsonLines => Box::new(lines::JsonLines::new(stream)),
        Container::Json => {
            let (reader, rest) = json::JsonValues::new(stream, options.records.as_ref())?;
            nested = rest;
            Box::new(reader)
        }
        Container::Delimited(delimiter) => {
            let reader = delimited::Delimited::new(stream, delimiter)?;
            columns = Some(reader.header().to_vec());
            notes.extend(reader.note());
            Box::new(reader)
        }
        Container::Text => Box::new(text::Texts::new(stream, options.text_split.clone())),
        Container::Parquet | Container::ArrowFile | Container::ArrowStream => {
            let (reader, names) = columns::open(input, container, stream, progress)?;
            columns = Some(names);
            reader
        }
    };
    if !container.is_text() && options.text_split != TextSplit::default() {
        notes.push(format!("--text-split has no say here: this is {}, not running text", container.label()));
    }
    Ok(Source { container, notes, columns, nested, chunks })
}

/// Opens two line-aligned texts: line N of both is record N, with the fields `source` and `target`.
///
/// # Errors
/// As [`open`].
pub fn open_aligned(
    source: &Input,
    target: &Input,
    encoding: Option<inputs::Encoding>,
    progress: &Arc<Progress>,
) -> Result<Source> {
    let open = |input| inputs::open(input, Some(Container::Text), encoding, progress);
    let (left, right) = (open(source)?, open(target)?);
    let mut notes = vec![format!("aligned line by line with {}", target.name)];
    notes.extend(left.notes.into_iter().chain(right.notes));
    let chunks = Box::new(text::Aligned::new(left.stream, right.stream));
    let columns = Some(vec!["source".to_owned(), "target".to_owned()]);
    Ok(Source { container: Container::Text, notes, columns, nested: None, chunks })
}

/// A file of which nothing was read.
pub(crate) fn empty(file: &str, detail: &str) -> Error {
    Error::Empty { file: file.to_owned(), detail: detail.to_owned() }
}

/// What was wrong with a record, if anything was.
pub type Taken = std::result::Result<(), String>;

/// Gives each record of the files to `take`, in order, with its file's name and its row. A record that cannot be parsed ends
/// it, as does one of which `take` says what is wrong.
///
/// # Errors
/// As reading inputs does, and for that record, by file and row.
pub fn for_each(files: &[Input], take: &mut dyn FnMut((&str, u64), &Record) -> Taken) -> Result<()> {
    let progress = Arc::new(Progress::default());
    for file in files {
        let mut base = 0;
        for chunk in open(file, &ReadOptions::default(), &progress)?.chunks {
            let mut broken = None;
            let span = chunk?.visit(None, &mut |item| {
                let row = base + item.row;
                let found = match item.content {
                    Ok(record) => take((&file.name, row), &record).map_err(|detail| (row, detail)),
                    Err(unreadable) => Err((unreadable.line.unwrap_or(row), unreadable.detail)),
                };
                if let Err(what) = found {
                    broken.get_or_insert(what);
                }
            });
            base += span;
            if let Some((row, detail)) = broken {
                return Err(Error::Broken { file: file.name.clone(), row, detail, skippable: false });
            }
        }
    }
    Ok(())
}
