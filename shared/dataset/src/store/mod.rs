//! Sets and sorted lists larger than memory: they hold what fits, and put sorted runs of the rest in nameless files.
//!
//! So the memory of a run depends on neither the number of rows nor their length, and what is found does not depend on
//! what was put where.

mod identities;
mod sorted;

pub(crate) use identities::Identities;
pub(crate) use sorted::Sorted;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Where runs are put: a folder, or the system's folder for temporary files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch(pub(crate) Option<PathBuf>);

impl Scratch {
    /// A nameless file that holds these bytes.
    fn file(&self, bytes: &[u8]) -> Result<File> {
        let mut file = artifact::files::scratch(self.0.as_deref())?;
        file.write_all(bytes).map_err(failed)?;
        Ok(file)
    }
}

/// Reads a part of a run.
fn read_at(mut file: &File, offset: u64, buffer: &mut [u8]) -> Result<()> {
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    file.read_exact(buffer).map_err(failed)
}

fn failed(source: std::io::Error) -> Error {
    artifact::ArtifactError::Io { action: "cannot use a temporary file in", path: std::env::temp_dir(), source }.into()
}
