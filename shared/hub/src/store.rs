//! The cache on disk, as hf-hub and Python's huggingface_hub lay it out: `blobs/HASH` holds a file's bytes,
//! `snapshots/COMMIT/NAME` links to them, `refs/REVISION` names a commit, and `.no_exist/COMMIT/NAME` remembers what a
//! commit does not hold. A blob appears under its name when it is whole and checked, a link after its blob.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo};

use crate::client::repository;
use crate::error::HubError;
use crate::name::is_commit;
use crate::{ModelName, Result};

/// One model's part of the cache.
pub(crate) struct Store {
    cache: PathBuf,
    folder: PathBuf,
    name: ModelName,
    layout: CacheRepo,
}

/// What the cache knows of a file of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is there.
    Here,
    /// The commit does not hold it.
    Absent,
    /// Nobody asked yet.
    Unknown,
}

impl Store {
    pub(crate) fn new(cache: &Path, name: &ModelName) -> Self {
        let repo = repository(name);
        let folder = cache.join(repo.folder_name());
        Self { cache: cache.into(), folder, name: name.clone(), layout: Cache::new(cache.into()).repo(repo) }
    }

    /// The cache's folder.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The commit that the revision was when it was last looked up.
    pub(crate) fn commit(&self) -> Option<String> {
        if self.name.is_pinned() {
            return Some(self.name.revision().to_owned());
        }
        let kept = fs::read_to_string(self.folder.join("refs").join(self.name.revision())).ok()?;
        Some(kept.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The folder of a commit's files.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// Whether the cache holds a file of a commit.
    pub(crate) fn knows(&self, commit: &str, file: &str) -> Known {
        if self.snapshot(commit).join(file).is_file() {
            Known::Here
        } else if self.absent(commit, file).is_file() {
            Known::Absent
        } else {
            Known::Unknown
        }
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(file)
    }

    /// Where a file's bytes lie when they are whole.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    /// Where they gather.
    pub(crate) fn unfinished(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(&format!("{etag}.incomplete"))
    }

    /// Waits until no other process downloads this file; it is ours until the lock is dropped.
    #[expect(clippy::disallowed_methods, reason = "a lock file of the shared cache, where other tools look for it")]
    pub(crate) fn lock(&self, etag: &str) -> Result<File> {
        let folder = self.cache.join(".locks").join(repository(&self.name).folder_name());
        let path = folder.join(format!("{etag}.lock"));
        create(&folder)?;
        let options = File::options().create(true).append(true).open(&path);
        let file = options.map_err(HubError::io("open the lock", &path))?;
        // A file system without locks has one user at a time: what is damaged then does not pass its check.
        if file.lock().is_err() {
            tracing::debug!("{} cannot be locked", path.display());
        }
        Ok(file)
    }

    /// Opens what has come of a file, to go on behind it.
    #[expect(clippy::disallowed_methods, reason = "a download grows in place, so that the next run can go on")]
    pub(crate) fn open_unfinished(&self, etag: &str) -> Result<File> {
        create(&self.folder.join("blobs"))?;
        let path = self.unfinished(etag);
        let options = File::options().create(true).read(true).append(true).open(&path);
        options.map_err(HubError::io("write", &path))
    }

    /// The bytes are whole and checked: gives them their name.
    #[expect(clippy::disallowed_methods, reason = "the download appears under its name once it is checked")]
    pub(crate) fn finish(&self, etag: &str) -> Result<()> {
        let blob = self.blob(etag);
        fs::rename(self.unfinished(etag), &blob).map_err(HubError::io("write", &blob))
    }

    /// Throws away what has come of a file.
    pub(crate) fn discard(&self, etag: &str) {
        // What is not there is gone already; what cannot be removed does not pass its check.
        let _ = fs::remove_file(self.unfinished(etag));
    }

    /// Lets a commit's file be the bytes of this name.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let link = self.snapshot(commit).join(file);
        let folder = link.parent().unwrap_or(&self.folder);
        create(folder)?;
        let failed = HubError::io("write", &link);
        // A link to bytes that are gone stands in the way of a new one.
        let _ = fs::remove_file(&link);
        // Up from the file's folder to snapshots/COMMIT, and two more.
        let up = "../".repeat(file.matches('/').count() + 2);
        place(&PathBuf::from(format!("{up}blobs/{etag}")), &self.blob(etag), &link).map_err(failed)
    }

    /// Remembers what commit the revision is, and which of the files asked for it does not hold.
    pub(crate) fn remember(&self, commit: &str, absent: &[String]) -> Result<()> {
        if !self.name.is_pinned() {
            let path = self.folder.join("refs").join(self.name.revision());
            self.layout.create_ref(commit).map_err(HubError::io("write", &path))?;
        }
        for file in absent {
            let path = self.absent(commit, file);
            create(path.parent().unwrap_or(&self.folder))?;
            mark(&path)?;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn place(target: &Path, blob: &Path, link: &Path) -> std::io::Result<()> {
    // A file system without links gets a copy.
    std::os::unix::fs::symlink(target, link).or_else(|_| copy(blob, link))
}

#[cfg(not(unix))]
fn place(_: &Path, blob: &Path, link: &Path) -> std::io::Result<()> {
    copy(blob, link)
}

#[expect(clippy::disallowed_methods, reason = "the shared cache where it cannot link")]
fn copy(blob: &Path, link: &Path) -> std::io::Result<()> {
    let part = link.with_extension("incomplete");
    fs::copy(blob, &part)?;
    fs::rename(part, link)
}

#[expect(clippy::disallowed_methods, reason = "an empty mark in the shared cache, as other tools leave it")]
fn mark(path: &Path) -> Result<()> {
    fs::write(path, "").map_err(HubError::io("write", path))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(HubError::io("create the folder", folder))
}
