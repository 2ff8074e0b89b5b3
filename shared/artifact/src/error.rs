//! What can be wrong with an artifact, said so that the reader knows what to do next.

use std::io;
use std::path::PathBuf;

/// An artifact could not be read or written. The message names the file, what was expected and what was found;
/// [`ArtifactError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The file or folder does not exist.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The missing path.
        path: PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, such as `cannot write`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process fills the folder.
    #[error("another run is writing to {}", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The file holds something else than expected.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Unexpected {
        /// The offending file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
        /// What to do about it.
        hint: String,
    },
    /// One row of a table is wrong.
    #[error("{} row {row}: expected {expected}, found {found}", path.display())]
    Row {
        /// The offending file.
        path: PathBuf,
        /// One-based row.
        row: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The folder was written under another contract version.
    #[error("{} was written under contract version {found}, this program reads version {expected}", path.display())]
    Contract {
        /// The manifest.
        path: PathBuf,
        /// This program's version.
        expected: u32,
        /// The folder's version.
        found: u32,
    },
    /// Parquet could not be decoded or encoded.
    #[error("{}: not readable as Parquet: {source}", path.display())]
    Parquet {
        /// The offending file.
        path: PathBuf,
        /// The library's reason.
        source: parquet::errors::ParquetError,
    },
    /// Arrow arrays could not be built or converted.
    #[error("{}: {source}", path.display())]
    Arrow {
        /// The offending file.
        path: PathBuf,
        /// The library's reason.
        source: arrow::error::ArrowError,
    },
    /// The file is not valid JSON of the expected shape.
    #[error("{}: not valid JSON: {source}", path.display())]
    Json {
        /// The offending file.
        path: PathBuf,
        /// The library's reason, with line and column.
        source: serde_json::Error,
    },
}

impl ArtifactError {
    /// What to do next, in a sentence or a command.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { hint, .. } | Self::Unexpected { hint, .. } => (!hint.is_empty()).then(|| hint.clone()),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    Some("free space or choose another --out; what was there before is untouched".into())
                }
                io::ErrorKind::PermissionDenied => Some("check the permissions of the file and its folder".into()),
                _ => None,
            },
            Self::Busy { .. } => Some("wait until it is done, or choose another folder with --out".into()),
            Self::Contract { .. } => Some("run the stage that wrote it again".into()),
            Self::Parquet { .. } => Some(
                "the file may be cut short or of another format; write it again (the stage that made it, with --force)"
                    .into(),
            ),
            Self::Row { .. } | Self::Arrow { .. } | Self::Json { .. } => None,
        }
    }

    /// An [`ArtifactError::Io`] closure for `map_err`; a file that is not there becomes [`ArtifactError::Missing`].
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path, hint: String::new() },
            _ => Self::Io { action, path, source },
        }
    }
}
