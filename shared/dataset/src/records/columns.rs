//! Parquet files, Arrow IPC files and Arrow IPC streams, a batch at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::payload::Payload;
use super::{Chunks, empty};
use crate::error::{Error, Result};
use crate::inputs::{ByteStream, Container, Input, Progress, fail_read};

/// Rows in a batch of a Parquet file.
const BATCH_ROWS: usize = 1024;

/// Opens a table; returns its batches and column names.
pub(crate) fn open(
    input: &Input,
    container: Container,
    stream: ByteStream,
    progress: &Arc<Progress>,
) -> Result<(Chunks, Vec<String>)> {
    if container == Container::ArrowStream {
        let later = stream.failure_later();
        let place = input.clone();
        let reader = whole(|| StreamReader::try_new(stream.into_reader(), None));
        let mut reader = reader.map_err(|error| bad_file(input, &error))?;
        let names = names(&reader.schema());
        let batches = std::iter::from_fn(move || {
            let batch = whole(|| reader.next().transpose()).transpose()?;
            Some(batch.map_err(|error| match error {
                ArrowError::IoError(_, source) => later(source, 0),
                other => damaged(&place, other),
            }))
        });
        return Ok((chunks(input, Box::new(batches), None), names));
    }
    let file = seekable(input, container)?;
    let size = input.size.unwrap_or_default();
    // The sniffed first block is read again from the file itself, and counted once there.
    let counted = Some((Arc::clone(progress), size.saturating_sub(progress_of_sniff(size))));
    let place = input.clone();
    if container == Container::Parquet {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| bad_file(input, &error))?;
        let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| bad_file(input, &error))?;
        let names = names(&arrow::record_batch::RecordBatchReader::schema(&reader));
        let batches = reader.map(move |batch| batch.map_err(|error| damaged(&place, error)));
        let counted = counted.map(|(progress, size)| Counted { progress, size, rows });
        return Ok((chunks(input, Box::new(batches), counted), names));
    }
    let mut reader = whole(|| FileReader::try_new(file, None)).map_err(|error| bad_file(input, &error))?;
    let names = names(&reader.schema());
    let batches = std::iter::from_fn(move || {
        let batch = whole(|| reader.next().transpose()).transpose()?;
        Some(batch.map_err(|error| damaged(&place, error)))
    });
    Ok((chunks(input, Box::new(batches), None), names))
}

/// Of buffers that lie outside of a damaged file, arrow's readers of IPC panic.
fn whole<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ArrowError::IpcError("a buffer lies outside of the file, which is damaged".into())))
}

/// How the bytes of a table are told while its rows are read.
struct Counted {
    progress: Arc<Progress>,
    size: u64,
    rows: u64,
}

fn progress_of_sniff(size: u64) -> u64 {
    size.min(256 * 1024)
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Large batches are cut so that chunks stay small, by rows alone.
fn chunks(input: &Input, batches: Batches, counted: Option<Counted>) -> Chunks {
    let name = input.name.clone();
    let mut rows = 0u64;
    let mut batches = batches.fuse();
    let mut waiting: Option<RecordBatch> = None;
    Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(batch) = waiting.take() {
                let head = batch.slice(0, batch.num_rows().min(BATCH_ROWS));
                if batch.num_rows() > BATCH_ROWS {
                    waiting = Some(batch.slice(BATCH_ROWS, batch.num_rows() - BATCH_ROWS));
                }
                rows += head.num_rows() as u64;
                if let Some(counted) = &counted {
                    counted.progress.add(counted.size * head.num_rows() as u64 / counted.rows.max(1));
                }
                return Some(Ok(Payload::Columns(head)));
            }
            match batches.next() {
                None if rows == 0 => {
                    rows = 1;
                    return Some(Err(empty(&name, "a table without rows")));
                }
                None => return None,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(batch)) if batch.num_rows() > 0 => waiting = Some(batch),
                Some(Ok(_)) => {}
            }
        }
    }))
}

/// Parquet and Arrow files have their directory at the end: they are read from a plain file only.
fn seekable(input: &Input, container: Container) -> Result<File> {
    let refuse = |detail: &str, hint: &str| Error::BadFile {
        file: input.name.clone(),
        detail: format!("{} {detail}", container.label()),
        hint: hint.to_owned(),
    };
    let path = input.path.as_ref().ok_or_else(|| {
        refuse("files cannot be read from standard input", "name the file, or send an Arrow IPC stream")
    })?;
    let open = |source| Error::Open { path: path.clone(), source };
    let file = File::open(path).map_err(open)?;
    let mut magic = [0; 4];
    std::io::Read::read(&mut &file, &mut magic).map_err(open)?;
    if magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(refuse(
            "inside another compression cannot be read",
            "decompress the file first: it is compressed inside",
        ));
    }
    std::io::Seek::rewind(&mut &file).map_err(open)?;
    Ok(file)
}

fn bad_file(input: &Input, error: &dyn std::fmt::Display) -> Error {
    Error::BadFile {
        file: input.name.clone(),
        detail: format!("the table cannot be opened: {error}"),
        hint: "check that the file is whole: compare its size with the original".into(),
    }
}

fn damaged(input: &Input, error: ArrowError) -> Error {
    let message = error.to_string();
    if message.contains("feature") {
        return Error::BadFile {
            file: input.name.clone(),
            detail: format!("it is compressed in a way that cannot be read: {message}"),
            hint: "write the table as Parquet with zstd, snappy, gzip or lz4".into(),
        };
    }
    fail_read(&input.name, input.size, 0, 0, std::io::Error::other(error))
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}
