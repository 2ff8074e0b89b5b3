//! Where the rows go: one table for each split and one for the rejects, or nowhere on a dry run.

use std::collections::BTreeMap;

use artifact::{Example, ExampleWriter, FinishedFile, OutputFolder, Reject, RejectWriter, Split};
use cli::{Interrupt, Progress};
use dataset::Result;
use dataset::ingest::Sink;

/// The tables being written.
pub(crate) struct Tables {
    splits: BTreeMap<Split, ExampleWriter>,
    rejects: RejectWriter,
}

impl Tables {
    pub(crate) fn begin(folder: &OutputFolder, splits: &[Split], kept: &[String]) -> Result<Self> {
        let writer = |split: &Split| Ok((*split, ExampleWriter::new(folder.stage(&split.file_name())?, kept)?));
        let splits = splits.iter().map(writer).collect::<Result<_>>()?;
        Ok(Self { splits, rejects: RejectWriter::new(folder.stage("rejects.parquet")?)? })
    }

    pub(crate) fn finish(self) -> Result<Vec<FinishedFile>> {
        let mut files = Vec::new();
        for writer in self.splits.into_values() {
            files.push(writer.finish()?);
        }
        files.push(self.rejects.finish()?);
        Ok(files)
    }

    /// Rows in the tables, examples and rejects.
    pub(crate) fn rows(&self) -> (u64, u64) {
        (self.splits.values().map(ExampleWriter::rows).sum(), self.rejects.rows())
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
        if let Some(writer) = self.tables.as_mut().and_then(|tables| tables.splits.get_mut(&split)) {
            writer.write(&examples)?;
        }
        Ok(())
    }

    fn rejects(&mut self, rejects: Vec<Reject>) -> Result<()> {
        if let Some(tables) = &mut self.tables {
            tables.rejects.write(&rejects)?;
        }
        Ok(())
    }

    fn proceed(&mut self, bytes: u64, rows: u64) -> bool {
        self.progress.set(bytes);
        self.progress.message(cli::format::plural(rows, "row"));
        !self.interrupt.requested()
    }
}
