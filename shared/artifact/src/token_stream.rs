//! Rows of tokens as an Arrow IPC stream, for a pipe or another engine's worker.

use crate::tokens::{columns, schema};
use crate::{ArtifactError, Result, Split, TokenRow};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use std::io::Write;
use std::sync::Arc;

/// Writes rows of all splits to one stream: the columns of a table of tokens, and `split` as the last one.
pub struct TokenStream<W: Write> {
    writer: StreamWriter<W>,
    schema: SchemaRef,
    rows: u64,
}

impl<W: Write> TokenStream<W> {
    /// Begins a stream.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn new(sink: W) -> Result<Self> {
        let mut fields = schema(false).fields().to_vec();
        fields.push(Arc::new(Field::new("split", DataType::Utf8, false)));
        let schema = Arc::new(Schema::new(fields));
        let writer = StreamWriter::try_new(sink, &schema).map_err(failed)?;
        Ok(Self { writer, schema, rows: 0 })
    }

    /// Appends rows of one split.
    ///
    /// # Errors
    /// [`ArtifactError::Io`], for instance where the reader went away.
    pub fn write(&mut self, split: Split, rows: &[TokenRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut all = columns(rows);
        let splits: ArrayRef = Arc::new(StringArray::from(vec![split.as_str(); rows.len()]));
        all.push(splits);
        let batch = RecordBatch::try_new(self.schema.clone(), all).map_err(failed)?;
        self.rows += rows.len() as u64;
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
