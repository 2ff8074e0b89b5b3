//! The whole way from files to examples: read → decode → shape → filter → identity → duplicates → split.
//!
//! Decoding and shaping run on all threads, chunk by chunk; what looks across rows (duplicates, counts, the order of
//! output) runs on one, in file order. So the result does not depend on the number of threads.

mod convert;
mod ordered;
mod plan;
mod run;
mod summary;

pub use plan::FilePlan;
pub use run::run;
pub use summary::{FileSummary, Leaks, RejectSummary, SplitSummary, Summary};

use artifact::{Example, Reject, Split};

use crate::contamination::Unseen;
use crate::duplicates::Dedup;
use crate::error::Result;
use crate::mapping::{FieldPath, Mapping};
use crate::records::ReadOptions;
use crate::shape::Shape;
use crate::split::{SplitBy, SplitPlan};

/// What to do with a record that cannot be parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadRecord {
    /// Stop and name it.
    #[default]
    Fail,
    /// Set it aside with the rejects.
    Reject,
}

/// A column to keep beside an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptColumn {
    /// Its name in the output.
    pub name: String,
    /// Where it comes from.
    pub path: FieldPath,
}

impl KeptColumn {
    /// Parses `COLUMN` or `NAME=COLUMN`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').unwrap_or((text, text));
        Ok(Self { name: name.trim().to_owned(), path: FieldPath::parse(path.trim())? })
    }
}

/// Everything that decides what becomes of a row.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to read the files.
    pub read: ReadOptions,
    /// Line-aligned partners of the inputs, one for each, or none.
    pub aligned: Vec<crate::inputs::Input>,
    /// `--format`; `None` detects it for each file.
    pub shape: Option<Shape>,
    /// `--map`.
    pub mapping: Mapping,
    /// `--keep`.
    pub keep: Vec<KeptColumn>,
    /// `--on-bad-record`.
    pub on_bad_record: OnBadRecord,
    /// `--min-chars`.
    pub min_chars: Option<u64>,
    /// `--max-chars`.
    pub max_chars: Option<u64>,
    /// `--dedup`.
    pub dedup: Dedup,
    /// `--decontaminate`.
    pub unseen: Unseen,
    /// `--split` or `--as`.
    pub split: SplitPlan,
    /// `--split-by`.
    pub split_by: SplitBy,
    /// Threads to use, at least one.
    pub threads: usize,
}

/// Takes the rows, in file order.
pub trait Sink {
    /// Rows for one split.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn examples(&mut self, split: Split, examples: Vec<Example>) -> Result<()>;

    /// Rows set aside.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn rejects(&mut self, rejects: Vec<Reject>) -> Result<()>;

    /// Called between chunks with the bytes and rows read so far; `false` stops the run.
    fn proceed(&mut self, bytes: u64, rows: u64) -> bool;
}

#[cfg(test)]
mod tests;
