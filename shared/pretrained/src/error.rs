//! What can be wrong with a model folder: the file, what was expected and found, and what to do.

use std::path::PathBuf;

use artifact::ArtifactError;
use model::ModelError;

/// A model or adapter folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// A file could not be read or written, or is damaged.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The folder does not hold what its kind of folder must hold.
    #[error("{} holds no {file}, which {kind} must have", folder.display())]
    NotSuchAFolder {
        /// The folder.
        folder: PathBuf,
        /// The file it lacks.
        file: &'static str,
        /// What was looked for.
        kind: &'static str,
        /// What to do.
        hint: String,
    },
    /// llama.cpp would compute something else, or has no name for it.
    #[error("this model cannot be written as GGUF: {reason}")]
    NotForGguf {
        /// What stands in the way.
        reason: String,
    },
    /// The configuration, the weights or the adapter do not fit each other, or are not supported.
    #[error("{}: {source}", folder.display())]
    Model {
        /// The folder.
        folder: PathBuf,
        /// What does not fit.
        source: ModelError,
    },
}

impl PretrainedError {
    /// What to do next, in a sentence or a command.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Artifact(error) => error.hint(),
            Self::NotSuchAFolder { hint, .. } => Some(hint.clone()),
            Self::NotForGguf { .. } => Some("write a Hugging Face folder: --to hf".to_owned()),
            Self::Model { source, .. } => match source {
                ModelError::MissingTensors { .. } | ModelError::SurplusTensors { .. } | ModelError::Shape { .. } => {
                    Some("config.json and the weights must come from the same model".to_owned())
                }
                ModelError::AdapterKeys { .. } => {
                    Some("give the base model that the adapter was trained on with --model".to_owned())
                }
                _ => None,
            },
        }
    }

    pub(crate) fn model(folder: &std::path::Path) -> impl FnOnce(ModelError) -> Self + use<> {
        let folder = folder.to_path_buf();
        move |source| Self::Model { folder, source }
    }
}
