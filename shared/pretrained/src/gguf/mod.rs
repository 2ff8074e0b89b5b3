//! Models in GGUF files, in and out: names, shapes and settings of llama.cpp beside those of Hugging Face.

mod architecture;
mod configuration;
mod export;
mod rope;
mod source;

use std::path::{Path, PathBuf};

use artifact::ArtifactError;
use artifact::gguf::Gguf;
use model::{Decoder, ModelConfig, Trainable};
use serde_json::Value;

pub use export::{GgufFile, GgufType, gguf_file};
pub(crate) use source::GgufSource;

use crate::{PretrainedError, Result};

/// The ending of such files.
pub(crate) const ENDING: &str = "gguf";

/// The GGUF file that a base is given as: the file itself, or the only one of a folder without other weights.
///
/// # Errors
/// A folder of several such files, or one that cannot be listed.
pub fn gguf_path(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok(path.extension().is_some_and(|ending| ending == ENDING).then(|| path.to_path_buf()));
    }
    let weights = [artifact::files::MODEL_WEIGHTS, artifact::files::MODEL_INDEX];
    if !path.is_dir() || weights.iter().any(|name| path.join(name).is_file()) {
        return Ok(None);
    }
    let entries = std::fs::read_dir(path).map_err(|source| ArtifactError::Io {
        action: "cannot list",
        path: path.into(),
        source,
    })?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .collect();
    found.sort();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(ArtifactError::Unexpected {
            path: path.into(),
            expected: "one GGUF file".into(),
            found: format!("{count}, the first of them {}", found[0].display()),
            hint: "name the file itself".into(),
        }
        .into()),
    }
}

/// Opens a file: its weights under Hugging Face names, and the configuration that its metadata state.
pub(crate) fn open(path: &Path) -> Result<(GgufSource, Value)> {
    let gguf = Gguf::open(path)?;
    let refuse = |(expected, found): (String, String)| ArtifactError::Unexpected {
        path: path.into(),
        expected,
        found,
        hint: "export the model again, or give the Hugging Face folder that it was made from".into(),
    };
    let architecture = architecture::of_file(&gguf).map_err(refuse)?;
    let json = configuration::read(&gguf, architecture).map_err(refuse)?;
    Ok((GgufSource::new(gguf, architecture, &json), json))
}

/// The model of a file that has just been written, whatever its name.
///
/// # Errors
/// As [`crate::open_model`].
pub fn read_back(path: &Path) -> Result<Decoder> {
    let (source, json) = open(path)?;
    let config = ModelConfig::from_json(&json).map_err(PretrainedError::model(path))?;
    Decoder::load(&config, &source, Trainable::Nothing).map_err(PretrainedError::model(path))
}

/// What was expected, and what was found in its place.
type Refusal = (String, String);

#[cfg(test)]
mod tests;
