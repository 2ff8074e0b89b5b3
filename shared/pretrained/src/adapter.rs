//! A PEFT adapter folder, in and out.

use std::path::Path;

use artifact::files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_json, to_json};
use artifact::weights::Weights;
use candle_core::DType;
use model::{Decoder, LoraConfig};
use serde_json::Value;

use crate::tensors::{StoredWeights, to_bytes};
use crate::{ModelFile, PretrainedError, Result};

/// Reads an adapter folder onto a decoder.
///
/// # Errors
/// A missing or damaged file, a setting that is not supported, or tensors that are not exactly those of the settings.
pub fn open_adapter(decoder: &mut Decoder, folder: &Path) -> Result<()> {
    let config = folder.join(ADAPTER_CONFIG);
    if folder.is_dir() && !config.is_file() {
        return Err(PretrainedError::NotSuchAFolder {
            folder: folder.to_path_buf(),
            file: ADAPTER_CONFIG,
            kind: "an adapter folder",
            hint: "give a PEFT adapter folder: adapter_config.json beside adapter_model.safetensors".to_owned(),
        });
    }
    let json: Value = read_json(&config)?;
    let config = LoraConfig::from_json(&json).map_err(PretrainedError::model(folder))?;
    let weights = StoredWeights(Weights::open(&folder.join(ADAPTER_WEIGHTS))?);
    decoder.load_lora(&config, &weights).map_err(PretrainedError::model(folder))
}

/// The files of a decoder's adapter: `adapter_config.json` and `adapter_model.safetensors`; none without an adapter.
///
/// # Errors
/// Where a tensor cannot be converted.
pub fn adapter_files(decoder: &Decoder, base_model: Option<&str>) -> Result<Vec<ModelFile>> {
    let Some(json) = decoder.adapter_json(base_model) else { return Ok(Vec::new()) };
    let tensors = decoder
        .adapter_parameters()
        .into_iter()
        .map(|(name, tensor)| to_bytes(name, &tensor, DType::F32))
        .collect::<Result<_, _>>()
        .map_err(PretrainedError::model(Path::new(ADAPTER_WEIGHTS)))?;
    Ok(vec![ModelFile::bytes(ADAPTER_CONFIG, to_json(&json)), ModelFile::weights(ADAPTER_WEIGHTS, tensors)])
}

/// What an adapter says of its base model, from what the user gave: a hub name as it is (without its revision), a
/// folder by its own name. An artifact does not depend on where its inputs lay, so a path is never stored; whoever
/// opens the adapter gives the base model, as with `PeftModel.from_pretrained(base, adapter)`.
pub fn base_model_name(given: &str) -> String {
    let path = Path::new(given);
    if path.exists() {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        return whole.file_name().map_or_else(|| given.to_owned(), |name| name.to_string_lossy().into_owned());
    }
    given.split_once('@').map_or(given, |(name, _)| name).to_owned()
}
