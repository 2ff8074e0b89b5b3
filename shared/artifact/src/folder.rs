//! The folder that a stage fills: files are staged under temporary names and appear together at the commit.

use crate::files::{self, TEMPORARY_PREFIX};
use crate::hash::HashingWriter;
use crate::{ArtifactError, FileRecord, FolderLock, Identity, MANIFEST, Manifest, Result, Rows, hash_file};
use serde_json::Value;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::NamedTempFile;

/// An output folder in the making.
///
/// Invariant: between [`OutputFolder::open`] and [`OutputFolder::commit`] no file that was there before changes.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    started: Instant,
    /// Held until the folder is sealed or given up.
    _lock: FolderLock,
    /// Whether it was made for this run.
    created: bool,
}

impl Drop for OutputFolder {
    /// A folder that was made for a run which wrote nothing goes with it; one that holds anything stays.
    fn drop(&mut self) {
        if self.created {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// What a stage hands to [`OutputFolder::commit`].
#[derive(Debug)]
pub struct Committed {
    /// Every finished file, in the order in which the manifest lists them.
    pub outputs: Vec<FinishedFile>,
    /// What decides whether the folder is up to date.
    pub identity: Identity,
    /// The seed, for stages that make random choices.
    pub seed: Option<u64>,
    /// The row balance, for stages that pass rows on.
    pub rows: Option<Rows>,
    /// The stage's own summary.
    pub summary: Value,
}

impl OutputFolder {
    /// Creates the folder if needed and clears away what an interrupted run left unfinished in it.
    ///
    /// # Errors
    /// [`ArtifactError::Io`] if it cannot be created, [`ArtifactError::Unexpected`] if it is a file,
    /// [`ArtifactError::Busy`] while another process fills it.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Err(ArtifactError::Unexpected {
                path: path.into(),
                expected: "a folder to write to".into(),
                found: "a file".into(),
                hint: "choose another --out".into(),
            });
        }
        let created = !path.exists();
        files::create_folder(path)?;
        let lock = FolderLock::take(path)?;
        files::remove_unfinished(path);
        Ok(Self { path: path.into(), started: Instant::now(), _lock: lock, created })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a file that will be called `name` (which may contain `/`).
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn stage(&self, name: &str) -> Result<StagedFile> {
        let path = self.path.join(name);
        files::create_folder(files::parent(&path))?;
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(files::readable())
            .tempfile_in(&self.path)
            .map_err(ArtifactError::io("cannot write in", &self.path))?;
        let writer = HashingWriter::new(BufWriter::with_capacity(1 << 20, temporary));
        Ok(StagedFile { name: name.into(), path, writer })
    }

    /// Stages a file of the given content.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn stage_bytes(&self, name: &str, bytes: &[u8]) -> Result<FinishedFile> {
        let mut file = self.stage(name)?;
        file.write_all(bytes).map_err(ArtifactError::io("cannot write", self.path.join(name)))?;
        file.finish()
    }

    /// Stages a copy of another file.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] or [`ArtifactError::Io`].
    pub fn stage_copy(&self, name: &str, from: &Path) -> Result<FinishedFile> {
        self.stage_bytes(name, &files::read(from)?)
    }

    /// Begins a file under the first of `name-1.ending`, `name-2.ending` and so on that is not there: it replaces nothing.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn stage_beside(&self, name: &str, ending: &str) -> Result<StagedFile> {
        let mut number = 1;
        let numbered = |number: u32| format!("{name}-{number}.{ending}");
        while self.path.join(numbered(number)).exists() {
            number += 1;
        }
        self.stage(&numbered(number))
    }

    /// Puts one file in place without sealing the folder, so that what took long is not lost with a run that failed.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn keep(&self, file: FinishedFile) -> Result<PathBuf> {
        let path = file.path.clone();
        file.persist()?;
        Ok(path)
    }

    /// Puts all finished files in place and seals the folder with its manifest.
    ///
    /// The old manifest goes first and the new one comes last, so a crash in between leaves a folder that says it is
    /// unfinished; the new one lies under another name meanwhile, to tell whose the files are. A file whose content equals
    /// what is already there keeps its modification time, so that Make sees nothing new. Files that the previous manifest
    /// listed and this one does not are removed.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    #[expect(clippy::disallowed_methods, reason = "the one crate that puts files on disk")]
    pub fn commit(self, committed: Committed) -> Result<Manifest> {
        let Committed { outputs, identity, seed, rows, summary } = committed;
        let previous = Manifest::read(&self.path).ok().flatten();
        let manifest = Manifest {
            identity,
            seed,
            outputs: outputs.iter().map(|output| output.record.clone()).collect(),
            rows,
            summary,
            wall_seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            peak_memory_bytes: peak_memory_bytes(),
        };
        let unsealed = self.path.join(UNSEALED);
        files::write_atomically(&unsealed, &files::to_json(&manifest))?;
        files::remove_if_present(&self.path.join(MANIFEST))?;
        let stale = previous.into_iter().flat_map(|manifest| manifest.outputs);
        for old in stale.filter(|old| outputs.iter().all(|new| new.record.name != old.name)) {
            files::remove_if_present(&self.path.join(&old.name))?;
        }
        for output in outputs {
            output.persist()?;
        }
        files::sync_folder(&self.path);
        fs::rename(&unsealed, self.path.join(MANIFEST)).map_err(ArtifactError::io("cannot write", &self.path))?;
        files::sync_folder(&self.path);
        Ok(manifest)
    }
}

/// The manifest while its files are being put in place.
const UNSEALED: &str = ".unsealed-manifest.json";

/// Names of the files in `folder` that a run of `stage` would replace or remove, each with whether a stage of ours put it
/// there.
pub fn would_replace(folder: &Path, stage: &str) -> Vec<(String, bool)> {
    let manifests = [MANIFEST, UNSEALED].map(|name| files::read_json::<Manifest>(&folder.join(name)).ok());
    let mut own: Vec<String> = Vec::new();
    own.extend(manifests[0].is_some().then(|| MANIFEST.to_owned()));
    own.extend(manifests.into_iter().flatten().flat_map(|manifest| manifest.outputs).map(|output| output.name));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| files::writes(stage, name))
        .collect();
    names.retain(|name| !own.contains(name));
    names.sort();
    let foreign = names.into_iter().map(|name| (name, false));
    own.into_iter().map(|name| (name, true)).chain(foreign).collect()
}

/// Begins a single file at `path`, outside of any folder that a stage seals.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn stage_file(path: &Path) -> Result<StagedFile> {
    let folder = files::parent(path);
    files::create_folder(folder)?;
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(files::readable())
        .tempfile_in(folder)
        .map_err(ArtifactError::io("cannot write in", folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let writer = HashingWriter::new(BufWriter::with_capacity(1 << 20, temporary));
    Ok(StagedFile { name, path: path.into(), writer })
}

/// A file being written under a temporary name; dropped without [`StagedFile::finish`] it leaves no trace.
pub struct StagedFile {
    name: String,
    path: PathBuf,
    writer: HashingWriter<BufWriter<NamedTempFile>>,
}

impl StagedFile {
    /// The final path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes and syncs; the file still waits for the commit.
    ///
    /// # Errors
    /// [`ArtifactError::Io`], for instance when the disk is full.
    pub fn finish(mut self) -> Result<FinishedFile> {
        let failed = |error| ArtifactError::io("cannot write", &self.path)(error);
        let record = self.writer.record(self.name.clone());
        self.writer.flush().map_err(failed)?;
        let temporary = self
            .writer
            .into_inner()
            .into_inner()
            .map_err(|error| ArtifactError::io("cannot write", &self.path)(error.into_error()))?;
        temporary.as_file().sync_all().map_err(ArtifactError::io("cannot write", &self.path))?;
        Ok(FinishedFile { path: self.path, record, temporary })
    }
}

impl Write for StagedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }
}

/// A complete file waiting for the commit.
#[derive(Debug)]
pub struct FinishedFile {
    path: PathBuf,
    record: FileRecord,
    temporary: NamedTempFile,
}

impl FinishedFile {
    /// Name, size and hash.
    pub fn record(&self) -> &FileRecord {
        &self.record
    }

    /// Puts a single file in place, without a folder's commit.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn put(self) -> Result<FileRecord> {
        self.persist()
    }

    /// Where its content lies until the commit, to be read back.
    pub fn content(&self) -> &Path {
        self.temporary.path()
    }

    fn persist(self) -> Result<FileRecord> {
        let Self { path, record, temporary } = self;
        let unchanged = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == record.bytes)
            && hash_file(&path, record.name.clone()).is_ok_and(|found| found == record);
        if !unchanged {
            temporary.persist(&path).map_err(|error| ArtifactError::io("cannot write", &path)(error.error))?;
        }
        Ok(record)
    }
}

/// Largest resident size of this process so far, in bytes, where the system tells.
pub fn peak_memory_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Resident size of this process now, in bytes, where the system tells.
pub fn resident_memory_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

fn status_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}
