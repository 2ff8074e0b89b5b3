//! The files of a model or adapter before they are written: the same list goes into a stage's output folder, a
//! checkpoint, or any folder.

use std::path::{Path, PathBuf};

use artifact::weights::{NamedTensor, write_weights, write_weights_to};
use artifact::{FinishedFile, OutputFolder};

use crate::Result;

/// One file to be written.
#[derive(Debug)]
pub struct ModelFile {
    pub(crate) name: String,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Weights(Vec<NamedTensor<'static>>),
    CopyOf(PathBuf),
}

impl ModelFile {
    pub(crate) fn bytes(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), content: Content::Bytes(bytes) }
    }

    pub(crate) fn weights(name: &str, tensors: Vec<NamedTensor<'static>>) -> Self {
        Self { name: name.to_owned(), content: Content::Weights(tensors) }
    }

    pub(crate) fn copy(name: &str, from: PathBuf) -> Self {
        Self { name: name.to_owned(), content: Content::CopyOf(from) }
    }

    /// Its name in the folder.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Stages the files in a stage's output folder; they appear with its commit.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn stage(files: Vec<ModelFile>, folder: &OutputFolder) -> Result<Vec<FinishedFile>> {
    files
        .into_iter()
        .map(|ModelFile { name, content }| {
            Ok(match content {
                Content::Bytes(bytes) => folder.stage_bytes(&name, &bytes)?,
                Content::Weights(tensors) => write_weights(folder.stage(&name)?, tensors)?,
                Content::CopyOf(from) => folder.stage_copy(&name, &from)?,
            })
        })
        .collect()
}

/// Writes the files into a folder that is being filled, such as a checkpoint under its temporary name.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn write_to(files: Vec<ModelFile>, folder: &Path) -> Result<()> {
    for ModelFile { name, content } in files {
        let path = folder.join(name);
        match content {
            Content::Bytes(bytes) => artifact::files::write_atomically(&path, &bytes)?,
            Content::Weights(tensors) => write_weights_to(&path, tensors)?,
            Content::CopyOf(from) => artifact::files::write_atomically(&path, &artifact::files::read(&from)?)?,
        }
    }
    Ok(())
}
