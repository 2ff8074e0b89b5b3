//! Examples as an Arrow IPC stream, for a pipe or another engine's worker.

use crate::example::{check_extra, columns, schema};
use crate::{ArtifactError, Example, Result, Split};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// The column that says which split an example falls to: a stream holds them all.
pub const SPLIT_COLUMN: &str = "split";

/// Writes examples of all splits to one stream: the columns of an example table, and `split` as the last one.
pub struct ExampleStream<W: Write> {
    writer: StreamWriter<W>,
    schema: SchemaRef,
    extra: usize,
    rows: u64,
}

impl<W: Write> ExampleStream<W> {
    /// Begins a stream with these extra columns.
    ///
    /// # Errors
    /// [`ArtifactError::Io`], or [`ArtifactError::Unexpected`] where an extra column would hide one of ours.
    pub fn new(sink: W, extra: &[String]) -> Result<Self> {
        check_extra(extra, Path::new("-"))?;
        let mut fields = schema(extra).fields().to_vec();
        fields.push(Arc::new(Field::new(SPLIT_COLUMN, DataType::Utf8, false)));
        let schema = Arc::new(Schema::new(fields));
        let writer = StreamWriter::try_new(sink, &schema).map_err(failed)?;
        Ok(Self { writer, schema, extra: extra.len(), rows: 0 })
    }

    /// Appends examples of one split.
    ///
    /// # Errors
    /// [`ArtifactError::Io`], for instance where the reader went away.
    pub fn write(&mut self, split: Split, examples: &[Example]) -> Result<()> {
        let mut all = columns(examples, self.extra);
        let splits: ArrayRef = Arc::new(StringArray::from(vec![split.as_str(); examples.len()]));
        all.push(splits);
        let batch = RecordBatch::try_new(self.schema.clone(), all).map_err(failed)?;
        self.rows += examples.len() as u64;
        self.writer.write(&batch).map_err(failed)
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the end of the stream: a reader that does not find it knows that the run broke off.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(failed)?;
        self.writer.get_mut().flush().map_err(ArtifactError::io("cannot write", "-"))
    }
}

fn failed(error: ArrowError) -> ArtifactError {
    match error {
        ArrowError::IoError(_, source) => ArtifactError::Io { action: "cannot write", path: "-".into(), source },
        source => ArtifactError::Arrow { path: "-".into(), source },
    }
}
