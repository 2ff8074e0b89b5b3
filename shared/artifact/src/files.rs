//! File names that the stages agree on, and the few raw file operations the project uses: each write appears whole
//! under its final name or not at all.

use crate::{ArtifactError, MANIFEST, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rejected rows, in each stage that can reject.
pub const REJECTS: &str = "rejects.parquet";
/// Per-step figures of a training run; no value depends on time.
pub const METRICS: &str = "metrics.parquet";
/// Per-step wall time of a training run, kept apart because it differs from run to run.
pub const THROUGHPUT: &str = "throughput.parquet";
/// Loss of each example over training: when it was learnt from, and at each validation.
pub const EXAMPLE_LOSSES: &str = "example_losses.parquet";
/// Loss of each example, written by evaluate.
pub const EXAMPLES: &str = "examples.parquet";
/// Summary of evaluate.
pub const METRICS_JSON: &str = "metrics.json";
/// Generated text beside its reference, written by test.
pub const PREDICTIONS: &str = "predictions.parquet";
/// Test rows that training has seen, written by test.
pub const LEAKAGE: &str = "leakage.parquet";
/// Examples that stand out over training, with the reason, written by evaluate.
pub const SUSPECTS: &str = "suspects.parquet";
/// The same as the page for people, short enough for a pull request.
pub const REPORT_MARKDOWN: &str = "report.md";
/// The same as the page for people, for programs.
pub const REPORT_JSON: &str = "report.json";
/// Summary of test.
pub const SCORECARD: &str = "scorecard.json";
/// The page for people.
pub const REPORT_HTML: &str = "report.html";
/// The Hugging Face model description.
pub const CONFIG: &str = "config.json";
/// The Hugging Face generation defaults.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// The weights of a whole model.
pub const MODEL_WEIGHTS: &str = "model.safetensors";
/// Where the shards of a large model are listed.
pub const MODEL_INDEX: &str = "model.safetensors.index.json";
/// PEFT's description of an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The weights of an adapter.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// The tokenizer itself.
pub const TOKENIZER: &str = "tokenizer.json";
/// The files that travel with a model so that it is used with the tokenizer and template it was tuned with.
pub const TOKENIZER_FILES: [&str; 4] =
    [TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];
/// The folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// The questions of a multiple choice with their answers, written by evaluate.
pub const CHOICES: &str = "choices.parquet";
/// A whole model in llama.cpp's format.
pub const GGUF: &str = "model.gguf";

/// Whether the stage of that name may write a file of this name into its folder.
pub fn writes(stage: &str, name: &str) -> bool {
    const TABLES: [&str; 4] = ["train.parquet", "validation.parquet", "test.parquet", REJECTS];
    const MODEL: [&str; 4] = [CONFIG, GENERATION_CONFIG, MODEL_WEIGHTS, MODEL_INDEX];
    const PAGES: [&str; 3] = [REPORT_HTML, REPORT_MARKDOWN, REPORT_JSON];
    let any = |lists: &[&[&str]]| name == MANIFEST || lists.iter().any(|names| names.contains(&name));
    match stage {
        "retune-ingest" => any(&[&TABLES, &[REPORT_HTML]]),
        "retune-tokenize" => any(&[&TABLES, &TOKENIZER_FILES]),
        "retune-train" => {
            let figures = [METRICS, EXAMPLE_LOSSES, THROUGHPUT, ADAPTER_CONFIG, ADAPTER_WEIGHTS];
            any(&[&figures, &MODEL, &TOKENIZER_FILES]) || is_shard(name)
        }
        "retune-evaluate" => any(&[&PAGES, &[METRICS_JSON, EXAMPLES, SUSPECTS, CHOICES]]),
        "retune-test" => any(&[&PAGES, &[PREDICTIONS, SCORECARD, LEAKAGE, THROUGHPUT]]),
        "retune-export" => any(&[&MODEL, &TOKENIZER_FILES, &[GGUF]]) || is_shard(name),
        _ => name == MANIFEST,
    }
}

fn is_shard(name: &str) -> bool {
    name.starts_with("model-") && name.ends_with(".safetensors")
}

/// Reads a whole file.
///
/// # Errors
/// [`ArtifactError::Missing`] or [`ArtifactError::Io`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(ArtifactError::io("cannot read", path))
}

/// Reads a JSON file.
///
/// # Errors
/// As [`read`], and [`ArtifactError::Json`] with line and column.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|source| ArtifactError::Json { path: path.into(), source })
}

/// Pretty JSON with a final newline: the form of every JSON file the stages write.
///
/// # Panics
/// Never for our own types: their keys are strings.
pub fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("our types serialize to JSON");
    text.push(b'\n');
    text
}

/// Writes `bytes` to `path` through a temporary file in the same folder, fsync and rename.
///
/// # Errors
/// [`ArtifactError::Io`]; the old file, if any, is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = parent(path);
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(readable())
        .tempfile_in(folder)
        .map_err(ArtifactError::io("cannot write in", folder))?;
    temporary.write_all(bytes).map_err(ArtifactError::io("cannot write", path))?;
    temporary.as_file().sync_all().map_err(ArtifactError::io("cannot write", path))?;
    temporary.persist(path).map_err(|error| ArtifactError::io("cannot write", path)(error.error))?;
    Ok(())
}

/// Builds a folder of files under a temporary name beside `path` and renames it into place when `fill` succeeds, so
/// that the folder is whole or absent. An existing folder of that name is replaced.
///
/// # Errors
/// Whatever `fill` returns, or [`ArtifactError::Io`].
#[expect(clippy::disallowed_methods, reason = "the one crate that puts files on disk")]
pub fn write_folder_atomically<E: From<ArtifactError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = parent(path);
    create_folder(folder)?;
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempdir_in(folder)
        .map_err(ArtifactError::io("cannot write in", folder))?;
    set_folder_permissions(temporary.path())?;
    fill(temporary.path())?;
    sync_folder(temporary.path());
    if path.exists() {
        fs::remove_dir_all(path).map_err(ArtifactError::io("cannot replace", path))?;
    }
    fs::rename(temporary.path(), path).map_err(ArtifactError::io("cannot write", path))?;
    sync_folder(folder);
    // Renamed away: there is nothing left to remove.
    let _ = temporary.keep();
    Ok(())
}

/// Removes from `folder` what a killed process left unfinished in it: nobody refers to a temporary file or folder.
pub fn remove_unfinished(folder: &Path) {
    // As tempfile names them: what others call `.tmp-` is left alone.
    let random = |name: &str| name.len() == 6 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().strip_prefix(TEMPORARY_PREFIX).is_some_and(random) {
            // What cannot be removed does no harm either.
            let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
        }
    }
}

/// A file without a name, for what does not fit in memory: it is gone when it is closed, whatever happens. It lies in
/// `folder`, or in the system's folder for temporary files.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn scratch(folder: Option<&Path>) -> Result<File> {
    let place = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
    tempfile::tempfile_in(&place).map_err(ArtifactError::io("cannot write in", place))
}

/// Creates a folder and its parents.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn create_folder(path: &Path) -> Result<()> {
    // Where the system says that there is no such thing, that is not of the folder which is to be made.
    fs::create_dir_all(path).map_err(|source| {
        let action = "cannot create the folder";
        ArtifactError::Io { action, path: path.into(), source }
    })
}

/// Removes a file if it is there.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn remove_if_present(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(ArtifactError::io("cannot remove", path)),
    }
}

/// Removes a folder and what is in it, if it is there.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn remove_folder_if_present(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(ArtifactError::io("cannot remove", path)),
    }
}

/// The prefix of every file that is not finished: what bears it may be deleted at any time.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename in `folder` durable. Systems that cannot open a folder for this are passed over.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

/// Temporary files are born readable by their owner only; artifacts are for everyone whom the umask allows.
#[cfg(unix)]
pub(crate) fn readable() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o666)
}

#[cfg(unix)]
fn set_folder_permissions(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(ArtifactError::io("cannot write", path))
}

/// Free bytes on the file system that holds `path`, where the system tells.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let mut existing: PathBuf = path.into();
    while !existing.exists() {
        existing = existing.parent()?.to_path_buf();
        if existing.as_os_str().is_empty() {
            existing = ".".into();
        }
    }
    fs4::available_space(existing).ok()
}
