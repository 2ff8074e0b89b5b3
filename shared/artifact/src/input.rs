//! Where a stage finds what the stage before it wrote: a sealed folder, or a bare Parquet file of any origin.

use crate::{ArtifactError, CONTRACT, MANIFEST, Manifest, Result};
use std::path::{Path, PathBuf};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the model learns from.
    Train,
    /// What decides when to stop.
    Validation,
    /// What nobody looks at until the end.
    Test,
}

impl Split {
    /// All of them, in the order of a pipeline.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The word on the command line and in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The file of this split in a folder.
    pub fn file_name(self) -> String {
        format!("{}.parquet", self.as_str())
    }
}

/// Finds one split at `path`: in a sealed folder its file (`None` where the folder has no such split), or `path`
/// itself where that is a file.
///
/// # Errors
/// [`ArtifactError::Missing`] where nothing is there, [`ArtifactError::Unexpected`] where the folder is unfinished,
/// [`ArtifactError::Contract`] where it was written under another contract version. `writer` is the stage to name in
/// the hint.
pub fn resolve_split(path: &Path, split: Split, writer: &str) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok(Some(path.into()));
    }
    if !path.is_dir() {
        let hint = format!("check the path, or run {writer} --out {} first", path.display());
        return Err(ArtifactError::Missing { path: path.into(), hint });
    }
    let manifest = Manifest::read(path)?.ok_or_else(|| ArtifactError::Unexpected {
        path: path.into(),
        expected: format!("a folder finished by {writer}"),
        found: format!("no {MANIFEST} in it"),
        hint: format!("run {writer} --out {} to the end, or name a Parquet file instead of a folder", path.display()),
    })?;
    if manifest.identity.contract != CONTRACT {
        let (expected, found) = (CONTRACT, manifest.identity.contract);
        return Err(ArtifactError::Contract { path: path.join(MANIFEST), expected, found });
    }
    let name = split.file_name();
    if !manifest.outputs.iter().any(|output| output.name == name) {
        return Ok(None);
    }
    let file = path.join(&name);
    if !file.is_file() {
        let hint = format!("run {writer} again: the folder's manifest lists the file");
        return Err(ArtifactError::Missing { path: file, hint });
    }
    Ok(Some(file))
}
