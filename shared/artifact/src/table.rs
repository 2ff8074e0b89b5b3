//! Parquet tables: one way to write them, so that equal rows are equal bytes, and one way to read them, which checks
//! the columns first.

use crate::{ArtifactError, FinishedFile, Result, StagedFile};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::StreamReader;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Stdin};
use std::path::{Path, PathBuf};

/// Rows a row group holds at most.
const ROW_GROUP: usize = 64 * 1024;
/// Bytes after which a row group ends early: rows of thousands of tokens would otherwise pile up in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Columns whose values differ from row to row: a dictionary of them, or their least and greatest, help no reader.
const DIFFERENT: [&str; 4] = ["id", "text", "record", "source_row"];
/// Rows a batch holds at most while reading.
const BATCH: usize = 4096;
/// Bytes a batch holds about at most: of long rows it has fewer.
const BATCH_BYTES: u64 = 16 << 20;
/// The path that means standard input.
const STREAM: &str = "-";

/// Writes record batches of one schema to a staged Parquet file, Zstandard-compressed, without anything that depends
/// on time or host.
pub struct TableWriter {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<StagedFile>,
    rows: u64,
}

impl TableWriter {
    /// Begins a table.
    ///
    /// # Errors
    /// [`ArtifactError::Parquet`].
    pub fn new(file: StagedFile, schema: SchemaRef) -> Result<Self> {
        let path = file.path().to_path_buf();
        let level = ZstdLevel::try_new(1).expect("level 1 exists");
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("retune ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP));
        for column in DIFFERENT {
            let column = ColumnPath::from(column);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, EnabledStatistics::None);
        }
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()))
            .map_err(|source| ArtifactError::Parquet { path: path.clone(), source })?;
        Ok(Self { path, schema, writer, rows: 0 })
    }

    /// The table's schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends columns of equal length.
    ///
    /// # Errors
    /// [`ArtifactError::Arrow`] if they do not fit the schema, [`ArtifactError::Parquet`] or [`ArtifactError::Io`] if
    /// they cannot be written.
    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|source| ArtifactError::Arrow { path: self.path.clone(), source })?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(|error| write_error(&self.path, error))?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush().map_err(|error| write_error(&self.path, error))?;
        }
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Completes the file; it still waits for the folder's commit.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn finish(self) -> Result<FinishedFile> {
        let file = self.writer.into_inner().map_err(|error| write_error(&self.path, error))?;
        file.finish()
    }
}

/// A full disk reaches us wrapped in the Parquet library's error: unwrap it, so that the hint fits.
fn write_error(path: &Path, error: parquet::errors::ParquetError) -> ArtifactError {
    match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => ArtifactError::Io { action: "cannot write", path: path.into(), source: *source },
            Err(inner) => {
                ArtifactError::Parquet { path: path.into(), source: parquet::errors::ParquetError::External(inner) }
            }
        },
        source => ArtifactError::Parquet { path: path.into(), source },
    }
}

/// What a file is that does not begin as Parquet does, in words.
fn other_than_parquet(file: &mut File) -> std::io::Result<Option<&'static str>> {
    let mut first = Vec::new();
    file.take(4096).read_to_end(&mut first)?;
    file.rewind()?;
    let plain = || first.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    Ok(Some(match first[..] {
        [b'P', b'A', b'R', b'1', ..] => return Ok(None),
        [] => "an empty file",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => "an Arrow IPC file",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed data",
        _ if first.contains(&0) => "binary data of another kind",
        _ if matches!(plain(), Some(b'{' | b'[')) => "JSON",
        _ => "text, such as CSV",
    }))
}

/// Reads a table batch by batch: a Parquet file, or standard input as an Arrow IPC stream.
pub struct TableReader {
    path: PathBuf,
    schema: SchemaRef,
    rows: u64,
    reader: Source,
}

enum Source {
    File(Box<ParquetRecordBatchReader>),
    Stream(Box<StreamReader<BufReader<Tail<Stdin>>>>),
}

/// Remembers the last bytes that went through, to see whether they are [`END`].
struct Tail<R> {
    inner: R,
    last: [u8; 8],
}

/// What a complete Arrow IPC stream ends in: a message without length.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        for byte in &buffer[count.saturating_sub(END.len())..count] {
            self.last.rotate_left(1);
            self.last[END.len() - 1] = *byte;
        }
        Ok(count)
    }
}

impl TableReader {
    /// Opens the table and reads its schema; `-` is an Arrow IPC stream on standard input.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`], or [`ArtifactError::Parquet`] where the file is not Parquet or is cut short;
    /// [`ArtifactError::Unexpected`] where standard input is not an Arrow IPC stream.
    pub fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == STREAM {
            return Self::stream(path);
        }
        let mut file = File::open(path).map_err(ArtifactError::io("cannot read", path))?;
        if let Some(found) = other_than_parquet(&mut file).map_err(ArtifactError::io("cannot read", path))? {
            return Err(ArtifactError::Unexpected {
                path: path.into(),
                expected: "a Parquet table, as the stages hand on".into(),
                found: found.into(),
                hint: format!("retune-ingest reads such files: retune-ingest {} --out data", path.display()),
            });
        }
        let parquet = |source| ArtifactError::Parquet { path: path.into(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet)?;
        let schema = builder.schema().clone();
        let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
        let bytes: i64 = builder.metadata().row_groups().iter().map(|group| group.total_byte_size().max(0)).sum();
        let batch = (BATCH_BYTES * rows / (bytes as u64).max(1)).clamp(16, BATCH as u64) as usize;
        let reader = builder.with_batch_size(batch).build().map_err(parquet)?;
        Ok(Self { path: path.into(), schema, rows, reader: Source::File(Box::new(reader)) })
    }

    fn stream(path: &Path) -> Result<Self> {
        let unlike = |found: arrow::error::ArrowError| ArtifactError::Unexpected {
            path: path.into(),
            expected: "an Arrow IPC stream on standard input".into(),
            found: found.to_string(),
            hint: "write one with retune-ingest --out -, pyarrow.ipc.new_stream or Polars' write_ipc_stream".into(),
        };
        let reader = StreamReader::try_new(BufReader::new(Tail { inner: std::io::stdin(), last: [0; 8] }), None)
            .map_err(unlike)?;
        let schema = reader.schema();
        Ok(Self { path: path.into(), schema, rows: 0, reader: Source::Stream(Box::new(reader)) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rows in the whole table; 0 for a stream, which does not tell.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The file's schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether the table has a column of that name.
    pub fn has(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some()
    }

    /// Refuses the table unless it has each of these columns.
    ///
    /// # Errors
    /// [`ArtifactError::Unexpected`] naming the columns that are missing and those that are there.
    pub fn require(&self, names: &[&str], hint: &str) -> Result<()> {
        let missing: Vec<&str> = names.iter().copied().filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let found: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        Err(ArtifactError::Unexpected {
            path: self.path.clone(),
            expected: format!("the column{} {}", if missing.len() == 1 { "" } else { "s" }, missing.join(", ")),
            found: format!("the columns {}", found.join(", ")),
            hint: hint.into(),
        })
    }

    /// The next batch, `None` at the end.
    ///
    /// # Errors
    /// [`ArtifactError::Arrow`] where the data is damaged.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let next = match &mut self.reader {
            Source::File(reader) => reader.next(),
            Source::Stream(reader) => {
                let next = reader.next();
                if next.is_none() && reader.get_ref().get_ref().last != END {
                    return Err(ArtifactError::Unexpected {
                        path: self.path.clone(),
                        expected: "a whole Arrow IPC stream".into(),
                        found: "one without its end".into(),
                        hint: "the program that writes it ended early: see what it said".into(),
                    });
                }
                next
            }
        };
        next.transpose().map_err(|source| ArtifactError::Arrow { path: self.path.clone(), source })
    }

    /// The named column of a batch, converted to `wanted` where the file stores it otherwise (64-bit integers, large
    /// or view strings, large or fixed-size lists).
    ///
    /// # Errors
    /// [`ArtifactError::Unexpected`] where it cannot be converted without loss.
    pub fn column(&self, batch: &RecordBatch, name: &str, wanted: &DataType) -> Result<ArrayRef> {
        let unexpected = |found: String| ArtifactError::Unexpected {
            path: self.path.clone(),
            expected: format!("the column {name} as {wanted}"),
            found,
            hint: String::new(),
        };
        let column = batch.column_by_name(name).ok_or_else(|| unexpected("no such column".into()))?;
        if column.data_type() == wanted {
            return Ok(column.clone());
        }
        // Arrow would spell lists and structs in a form for people, which nobody reads again.
        if wanted == &DataType::Utf8 && column.data_type().is_nested() {
            return Err(unexpected(column.data_type().to_string()));
        }
        let converted = cast(column, wanted).map_err(|_| unexpected(column.data_type().to_string()))?;
        if converted.null_count() > column.null_count() {
            return Err(unexpected(format!("{} values that do not fit", column.data_type())));
        }
        Ok(converted)
    }
}
