//! Content hashes of models and adapters, for the manifests of the stages that read them. The names do not depend on
//! where the folders lie.

use std::path::Path;

use artifact::files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, TOKENIZER_FILES};
use artifact::weights::Weights;
use artifact::{FileRecord, hash_file};

use crate::Result;
use crate::folder::parent;
use crate::gguf::gguf_path;

/// Configuration, weights and tokenizer of a model folder.
///
/// # Errors
/// Where a file is missing or cannot be read.
pub fn model_records(folder: &Path) -> Result<Vec<FileRecord>> {
    let mut records = weight_records(folder)?;
    records.extend(tokenizer_records(folder)?);
    Ok(records)
}

/// Configuration and weights of a model folder, or the GGUF file that holds both.
///
/// # Errors
/// Where a file is missing or cannot be read.
pub fn weight_records(folder: &Path) -> Result<Vec<FileRecord>> {
    let named = |path: &Path| format!("model/{}", path.file_name().unwrap_or_default().to_string_lossy());
    if let Some(file) = gguf_path(folder)? {
        return Ok(vec![hash_file(&file, named(&file))?]);
    }
    let mut records = vec![hash_file(&folder.join(CONFIG), format!("model/{CONFIG}"))?];
    for path in Weights::open_model(folder)?.paths() {
        records.push(hash_file(path, named(path))?);
    }
    Ok(records)
}

/// Tokenizer files and chat template that a folder (or the folder of a GGUF file) has.
///
/// # Errors
/// Where a file cannot be read.
pub fn tokenizer_records(folder: &Path) -> Result<Vec<FileRecord>> {
    let folder = if folder.is_file() { parent(folder) } else { folder };
    let there = TOKENIZER_FILES.iter().filter(|name| folder.join(name).is_file());
    Ok(there.map(|name| hash_file(&folder.join(name), format!("tokenizer/{name}"))).collect::<artifact::Result<_>>()?)
}

/// Settings and weights of an adapter folder.
///
/// # Errors
/// Where a file is missing or cannot be read.
pub fn adapter_records(folder: &Path) -> Result<Vec<FileRecord>> {
    let names = [ADAPTER_CONFIG, ADAPTER_WEIGHTS];
    let records = names.map(|name| hash_file(&folder.join(name), format!("adapter/{name}")));
    Ok(records.into_iter().collect::<artifact::Result<_>>()?)
}
