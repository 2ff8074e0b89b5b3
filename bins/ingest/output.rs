//! Where the rows go: one table for each split and one for the rejects, or one stream, or nowhere on a dry run.

use std::collections::BTreeMap;
use std::io::{BufWriter, Stdout};
use std::path::Path;

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

/// Takes the rows and moves the bar.
pub(crate) struct Watched<'a> {
    /// `None` on a dry run.
    pub(crate) tables: Option<Tables>,
    pub(crate) progress: &'a Progress,
    pub(crate) interrupt: &'a Interrupt,
}

impl Sink for Watched<'_> {
    fn examples(&mut self, split: Split, examples: Vec<Example>) -> Result<()> {
        self.tables.as_mut().map_or(Ok(()), |tables| tables.examples(split, &examples))
    }

    fn rejects(&mut self, rejects: Vec<Reject>) -> Result<()> {
        self.tables.as_mut().map_or(Ok(()), |tables| tables.rejects(&rejects))
    }

    fn proceed(&mut self, bytes: u64, rows: u64) -> bool {
        self.progress.set(bytes);
        self.progress.message(cli::format::plural(rows, "row"));
        !self.interrupt.requested()
    }
}
