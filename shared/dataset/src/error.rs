//! What can go wrong while reading foreign data, each with what was expected, what was found and what to do.

use std::path::PathBuf;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that stops the whole run. A single unusable row is no such failure; it is rejected instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A named input does not exist.
    #[error("no such file or folder: {path}")]
    Missing {
        /// As the user wrote it.
        path: String,
        /// A name beside it that is close, if any.
        nearest: Option<String>,
    },
    /// A glob pattern or folder led to no file.
    #[error("{what} holds no data file")]
    NothingFound {
        /// The pattern or folder.
        what: String,
    },
    /// The file is there and has no record.
    #[error("{file}: no record in it ({detail})")]
    Empty {
        /// The input's name.
        file: String,
        /// What was found, such as its size.
        detail: String,
    },
    /// Reading failed part of the way.
    #[error("{file}: cannot read on after byte {offset} of {size}, {rows} rows were read before")]
    Read {
        /// The input's name.
        file: String,
        /// Bytes taken from the file as stored.
        offset: u64,
        /// Size of the file as stored, or "unknown".
        size: String,
        /// Records that had been read.
        rows: u64,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Compressed data ends too early.
    #[error(
        "{file}: the {compression} data is cut short: it ends at byte {offset} in the middle of a block, {rows} rows were read before"
    )]
    CutShort {
        /// The input's name.
        file: String,
        /// gzip or zstd.
        compression: &'static str,
        /// Bytes that the file has.
        offset: u64,
        /// Records that had been read.
        rows: u64,
    },
    /// Compressed data is not what was compressed.
    #[error(
        "{file}: the {compression} data is damaged, at or before byte {offset} of {size} ({cause}); {rows} rows were read before"
    )]
    Damaged {
        /// The input's name.
        file: String,
        /// gzip, zstd, bzip2 or xz.
        compression: &'static str,
        /// Bytes taken from the file as stored.
        offset: u64,
        /// Size of the file as stored, or "unknown size".
        size: String,
        /// Records that had been read; some of them may hold wrong text.
        rows: u64,
        /// What the decoder says.
        cause: String,
    },
    /// A record cannot be parsed at all.
    #[error("{file}:{row}: {detail}")]
    Broken {
        /// The input's name.
        file: String,
        /// Line for JSONL and JSON, record for others; one-based.
        row: u64,
        /// What was expected and what was found.
        detail: String,
        /// Whether `--on-bad-record reject` can step over it.
        skippable: bool,
    },
    /// The file as a whole is not what its name or first bytes promise.
    #[error("{file}: {detail}")]
    BadFile {
        /// The input's name.
        file: String,
        /// What was expected and what was found.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// No record of a file fits any shape, or the shape asked for.
    #[error("{file}: none of its {rows} rows can be used: {detail}")]
    NoRowFits {
        /// The input's name.
        file: String,
        /// Records looked at.
        rows: u64,
        /// The first row's reason.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// `--map` or `--keep` names a column that no record has.
    #[error("{option} names `{column}`, which no record of {file} has; found: {found}")]
    NoSuchColumn {
        /// The input's name.
        file: String,
        /// The flag.
        option: &'static str,
        /// The column asked for.
        column: String,
        /// The columns that exist.
        found: String,
        /// The closest of them.
        nearest: Option<String>,
    },
    /// An option's value cannot be understood.
    #[error("{option}: {detail}")]
    Option {
        /// The flag.
        option: &'static str,
        /// What was expected and found.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// The rows do not add up: a defect of this program.
    #[error("{read} rows were read, but {written} written and {rejected} rejected: this is a defect, nothing was kept")]
    RowsDoNotAddUp {
        /// Rows read.
        read: u64,
        /// Rows written.
        written: u64,
        /// Rows rejected.
        rejected: u64,
    },
    /// Every row was rejected.
    #[error("no row is left: all {rows} were rejected ({reasons}), such as {first}")]
    NothingLeft {
        /// Rows read.
        rows: u64,
        /// Counts by code.
        reasons: String,
        /// The first rejected row, as `file:row: detail`.
        first: String,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A file could not be opened or inspected.
    #[error("cannot open {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// An output could not be written.
    #[error(transparent)]
    Artifact(#[from] artifact::ArtifactError),
}

impl Error {
    /// What the user can do about it, where there is something to say beyond the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { nearest: Some(name), .. } => Some(format!("did you mean {name}?")),
            Self::Missing { nearest: None, .. } => Some("check the path; quote a glob such as 'data/*.jsonl'".into()),
            Self::NothingFound { .. } => Some(
                "data files end in .jsonl .json .csv .tsv .parquet .arrow .txt, or one of these with .gz .zst .bz2 .xz; \
                 name a file of another ending by itself, and one that is hidden (by . or _)"
                    .into(),
            ),
            Self::Empty { .. } => Some("leave this file out, or check how it was written".into()),
            Self::CutShort { .. } => Some("download or copy the file again and compare its size".into()),
            Self::Damaged { .. } => Some("download or copy the file again and compare its checksum".into()),
            Self::Broken { skippable: true, .. } => Some(
                "correct that record, or pass --on-bad-record reject to set such records aside in rejects.parquet"
                    .into(),
            ),
            Self::BadFile { hint, .. } | Self::NoRowFits { hint, .. } | Self::Option { hint, .. } => {
                Some(hint.clone()).filter(|hint| !hint.is_empty())
            }
            Self::NoSuchColumn { nearest: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::NothingLeft { .. } => Some(
                "--dry-run shows an example of each reason; --format or --map may fit better, or relax the filter that took most"
                    .into(),
            ),
            Self::Artifact(error) => error.hint(),
            _ => None,
        }
    }
}

/// The name in `names` closest to `wanted`, if close enough to be a slip of the hand.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let folded = wanted.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(left.1)))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_ignores_strangers() {
        assert_eq!(nearest("qestion", ["answer", "question"]), Some("question".into()));
        assert_eq!(nearest("Question", ["answer", "question"]), Some("question".into()));
        assert_eq!(nearest("zebra", ["answer", "question"]), None);
    }
}
