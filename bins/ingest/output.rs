//! Where the rows go: one table for each split and one for the rejects, or one stream, or nowhere on a dry run.

use std::collections::BTreeMap;
use std::io::{BufWriter, Stdout};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};

use artifact::{
    Example, ExampleStream, ExampleWriter, FinishedFile, OutputFolder, Reject, RejectWriter, Split, stage_file,
};
use cli::{Interrupt, Progress};
use dataset::Result;
use dataset::ingest::Sink;

/// What takes the rows.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Tables {
    /// A folder of tables.
    Folder { splits: BTreeMap<Split, ExampleWriter>, rejects: RejectWriter },
    /// Standard output, and a file for the rejects where one was named.
    Stream { examples: ExampleStream<BufWriter<Stdout>>, rejects: Option<RejectWriter>, rejected: u64 },
}

impl Tables {
    pub(crate) fn folder(folder: &OutputFolder, splits: &[Split], kept: &[String]) -> Result<Self> {
        let writer = |split: &Split| Ok((*split, ExampleWriter::new(folder.stage(&split.file_name())?, kept)?));
        let splits = splits.iter().map(writer).collect::<Result<_>>()?;
        Ok(Self::Folder { splits, rejects: RejectWriter::new(folder.stage("rejects.parquet")?)? })
    }

    pub(crate) fn stream(rejects: Option<&Path>, kept: &[String]) -> Result<Self> {
        let rejects = rejects.map(|path| RejectWriter::new(stage_file(path)?)).transpose()?;
        let examples = ExampleStream::new(BufWriter::with_capacity(1 << 20, std::io::stdout()), kept)?;
        Ok(Self::Stream { examples, rejects, rejected: 0 })
    }

    /// Completes the tables; those of a folder wait for its commit.
    pub(crate) fn finish(self) -> Result<Vec<FinishedFile>> {
        match self {
            Self::Folder { splits, rejects } => {
                let mut files = Vec::new();
                for writer in splits.into_values() {
                    files.push(writer.finish()?);
                }
                files.push(rejects.finish()?);
                Ok(files)
            }
            Self::Stream { examples, rejects, .. } => {
                if let Some(rejects) = rejects {
                    rejects.finish()?.put()?;
                }
                // The end of the stream comes last: it says that all is well.
                examples.finish()?;
                Ok(Vec::new())
            }
        }
    }

    /// Rows in the tables, examples and rejects.
    pub(crate) fn rows(&self) -> (u64, u64) {
        match self {
            Self::Folder { splits, rejects } => (splits.values().map(ExampleWriter::rows).sum(), rejects.rows()),
            Self::Stream { examples, rejected, .. } => (examples.rows(), *rejected),
        }
    }

    fn examples(&mut self, split: Split, rows: &[Example]) -> Result<()> {
        match self {
            Self::Folder { splits, .. } => match splits.get_mut(&split) {
                Some(writer) => Ok(writer.write(rows)?),
                None => Ok(()),
            },
            Self::Stream { examples, .. } => Ok(examples.write(split, rows)?),
        }
    }

    fn rejects(&mut self, rows: &[Reject]) -> Result<()> {
        match self {
            Self::Folder { rejects, .. } => Ok(rejects.write(rows)?),
            Self::Stream { rejects, rejected, .. } => {
                *rejected += rows.len() as u64;
                rejects.as_mut().map_or(Ok(()), |writer| Ok(writer.write(rows)?))
            }
        }
    }
}

/// What goes to the thread that writes.
pub(crate) enum Parcel {
    Examples(Split, Vec<Example>),
    Rejects(Vec<Reject>),
    /// There are no more rows.
    Complete,
}

/// What has become of the tables when all rows are in them.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Written {
    /// Completed, waiting for the folder's commit.
    Folder(Vec<FinishedFile>),
    /// Still open: the end of a stream says that all is well.
    Stream(Tables),
}

/// Writes what arrives until there is no more, with the rows of both kinds.
///
/// # Errors
/// What keeps a table from being written.
pub(crate) fn write(mut tables: Tables, parcels: &Receiver<Parcel>) -> Result<Option<(Written, (u64, u64))>> {
    for parcel in parcels {
        match parcel {
            Parcel::Examples(split, rows) => tables.examples(split, &rows)?,
            Parcel::Rejects(rows) => tables.rejects(&rows)?,
            Parcel::Complete => {
                let rows = tables.rows();
                let written = match tables {
                    folder @ Tables::Folder { .. } => Written::Folder(folder.finish()?),
                    stream @ Tables::Stream { .. } => Written::Stream(stream),
                };
                return Ok(Some((written, rows)));
            }
        }
    }
    Ok(None)
}

/// Passes the rows on and moves the bar.
pub(crate) struct Watched<'a> {
    /// `None` on a dry run.
    pub(crate) writer: Option<SyncSender<Parcel>>,
    pub(crate) progress: &'a Progress,
    pub(crate) interrupt: &'a Interrupt,
}

impl Watched<'_> {
    fn send(&self, parcel: Parcel) -> Result<()> {
        // Nobody listens any more where writing has failed, which then tells why.
        let gone = |_| dataset::Error::Interrupted;
        self.writer.as_ref().map_or(Ok(()), |writer| writer.send(parcel).map_err(gone))
    }
}

impl Sink for Watched<'_> {
    fn examples(&mut self, split: Split, examples: Vec<Example>) -> Result<()> {
        self.send(Parcel::Examples(split, examples))
    }

    fn rejects(&mut self, rejects: Vec<Reject>) -> Result<()> {
        self.send(Parcel::Rejects(rejects))
    }

    fn complete(&mut self) -> Result<()> {
        self.send(Parcel::Complete)
    }

    fn proceed(&mut self, bytes: u64, rows: u64) -> bool {
        self.progress.set(bytes);
        self.progress.message(cli::format::plural(rows, "row"));
        !self.interrupt.requested()
    }
}
