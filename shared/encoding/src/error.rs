//! What can go wrong between an example and its tokens, said so that the reader knows what to do next.

use std::path::PathBuf;

/// A tokenizer, a chat template or an option cannot be used as asked. The message says what was expected and found;
/// [`EncodingError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// A file of the tokenizer is not there.
    #[error("{} has no {file}", path.display())]
    Missing {
        /// The folder that was searched.
        path: PathBuf,
        /// The file looked for.
        file: &'static str,
        /// What to do about it.
        hint: String,
    },
    /// A file of the tokenizer cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the tokenizer holds something else than expected.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A GGUF file that holds the tokenizer cannot be read.
    #[error(transparent)]
    Artifact(#[from] artifact::ArtifactError),
    /// The tokenizers library refused a text.
    #[error("the tokenizer failed: {message}")]
    Tokenizer {
        /// The library's reason.
        message: String,
    },
    /// A chat template could not be compiled or rendered.
    #[error("the chat template of {origin} {action}: {message}")]
    Template {
        /// Where the template comes from.
        origin: String,
        /// What failed: `does not compile`, `refused the messages`.
        action: &'static str,
        /// The engine's or the template's own words.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The options contradict the tokenizer or each other.
    #[error("{message}")]
    Options {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
}

impl EncodingError {
    /// The way out, where there is one to name.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Missing { hint, .. } | Self::Template { hint, .. } | Self::Options { hint, .. } => {
                (!hint.is_empty()).then_some(hint)
            }
            Self::Malformed { .. } => Some("the file may be cut short; fetch it again"),
            Self::Read { .. } | Self::Tokenizer { .. } | Self::Artifact(_) => None,
        }
    }

    pub(crate) fn library(error: impl std::fmt::Display) -> Self {
        Self::Tokenizer { message: error.to_string() }
    }
}

/// The crate's result.
pub type Result<T, E = EncodingError> = std::result::Result<T, E>;
