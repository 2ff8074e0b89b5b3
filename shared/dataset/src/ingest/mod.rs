//! The whole way from files to examples: read → decode → shape → filter → identity → duplicates → split.
//!
//! Decoding and shaping run on all threads, chunk by chunk; what looks across rows (duplicates, counts, the order of
//! output) runs on one, in file order. So the result does not depend on the number of threads.

mod convert;
mod lengths;
mod ordered;
mod plan;
mod run;
mod summary;

pub use lengths::{Gallery, Histogram, Shown};
pub use plan::FilePlan;
pub use plan::kept_labels;
pub use run::run;
pub use summary::{FileSummary, Reason, SplitSummary, Summary};

use std::path::PathBuf;

use artifact::{Example, Reject, Split};

use crate::contamination::Unseen;
use crate::duplicates::{Dedup, Near};
use crate::error::Result;
use crate::exclusion::Excluded;
use crate::mapping::{FieldPath, Mapping};
use crate::mixing::Mix;
use crate::quality::{Cleaning, Languages, Pii, Rules};
use crate::records::ReadOptions;
use crate::shape::Shape;
use crate::shard::Shard;
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
    /// `--clean`.
    pub cleaning: Cleaning,
    /// `--pii`.
    pub pii: Pii,
    /// `--language`.
    pub languages: Languages,
    /// `--check`: rules whose findings are counted.
    pub check: Rules,
    /// `--reject`: rules whose findings set a row aside.
    pub reject: Rules,
    /// `--dedup`.
    pub dedup: Dedup,
    /// The parameters of near duplicates.
    pub near: Near,
    /// `--decontaminate`.
    pub unseen: Unseen,
    /// `--exclude`.
    pub excluded: Option<Excluded>,
    /// `--split` or `--as`.
    pub split: SplitPlan,
    /// `--split-by`.
    pub split_by: SplitBy,
    /// `--stratify`: the column whose values each get the shares of the splits.
    pub stratify: Option<String>,
    /// `--mix`.
    pub mix: Mix,
    /// `--shard`.
    pub shard: Shard,
    /// Where what does not fit in memory is put; the system's folder for temporary files unless given.
    pub scratch: Option<PathBuf>,
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

    /// Called once all rows were handed over, before the run is summed up.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn complete(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called between chunks with the bytes and rows read so far; `false` stops the run.
    fn proceed(&mut self, bytes: u64, rows: u64) -> bool;
}

#[cfg(test)]
mod tests;
