//! Content hashes: SHA-256, so that `sha256sum` confirms what a manifest says.

use crate::{ArtifactError, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// What a manifest says of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// For an output its name in the folder; for an input the name that the stage reads it under.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Hashes the file at `path`; it is recorded as `name`.
///
/// # Errors
/// [`ArtifactError::Missing`] or [`ArtifactError::Io`].
pub fn hash_file(path: &Path, name: impl Into<String>) -> Result<FileRecord> {
    let mut file = File::open(path).map_err(ArtifactError::io("cannot read", path))?;
    let mut hasher = HashingWriter::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(ArtifactError::io("cannot read", path))?;
        if read == 0 {
            return Ok(hasher.record(name.into()));
        }
        hasher.write_all(&buffer[..read]).map_err(ArtifactError::io("cannot read", path))?;
    }
}

/// Hashes and counts the bytes on their way to another writer.
pub(crate) struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    pub(crate) fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    pub(crate) fn record(&self, name: String) -> FileRecord {
        let digest = self.hasher.clone().finalize();
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        FileRecord { name, bytes: self.bytes, sha256 }
    }

    pub(crate) fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
