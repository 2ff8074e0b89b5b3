//! One writer for a folder at a time.
//!
//! The lock is the system's advisory one on the folder itself: it leaves no file behind, and a killed process gives it
//! back. Where a file system knows no locks, or folders cannot be locked, there is none.

use crate::{ArtifactError, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// A folder's lock, given back when dropped.
#[derive(Debug)]
pub struct FolderLock {
    _folder: Option<File>,
}

impl FolderLock {
    /// Takes the lock of an existing folder; does nothing for one that is not there.
    ///
    /// # Errors
    /// [`ArtifactError::Busy`] while another process, or another part of this one, holds it.
    pub fn take(path: &Path) -> Result<Self> {
        let Ok(folder) = File::open(path) else { return Ok(Self { _folder: None }) };
        match folder.try_lock() {
            Ok(()) => Ok(Self { _folder: Some(folder) }),
            Err(TryLockError::WouldBlock) => Err(ArtifactError::Busy { path: path.into() }),
            Err(TryLockError::Error(_)) => Ok(Self { _folder: None }),
        }
    }
}
