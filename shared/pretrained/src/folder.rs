//! A model folder in the Hugging Face layout, in and out.

use std::path::Path;

use artifact::files::{CONFIG, GENERATION_CONFIG, MODEL_WEIGHTS, TOKENIZER_FILES, read_json, to_json};
use artifact::weights::Weights;
use candle_core::{DType, Tensor};
use model::{Decoder, Hold, ModelConfig, ModelError, TensorSource, Trainable};
use serde_json::{Map, Value};

use crate::gguf::{self, gguf_path};
use crate::tensors::{StoredWeights, to_bytes};
use crate::{ModelFile, PretrainedError, Result};

/// A model read from a folder.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// What the model is.
    pub config: ModelConfig,
    /// `config.json` as it was read: saved again with the model.
    pub config_json: Value,
    /// `generation_config.json`, where the folder has one.
    pub generation_config: Option<Value>,
    /// The model itself.
    pub decoder: Decoder,
}

/// In which type weights are written. Arithmetic is in f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveType {
    /// 32 bits.
    #[default]
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
}

impl SaveType {
    /// The type that `config.json` says its weights are stored in; f32 where it does not say.
    pub fn of_config(config_json: &Value) -> Self {
        let named = ["dtype", "torch_dtype"].iter().find_map(|key| config_json.get(key)?.as_str());
        match named.map(|name| name.trim_start_matches("torch.")) {
            Some("float16") => Self::F16,
            Some("bfloat16") => Self::BF16,
            _ => Self::F32,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }
}

/// Reads a configuration: the `config.json` of a folder, or a file of any name.
///
/// # Errors
/// Where there is none, where it is not JSON, or where it describes a model that is not supported.
pub fn open_config(path: &Path) -> Result<(ModelConfig, Value)> {
    if let Some(file) = gguf_path(path)? {
        let (_, json) = gguf::open(&file)?;
        let config = ModelConfig::from_json(&json).map_err(PretrainedError::model(&file))?;
        return Ok((config, json));
    }
    let (folder, file) = if path.is_dir() { (path, path.join(CONFIG)) } else { (parent(path), path.to_path_buf()) };
    if path.is_dir() && !file.is_file() {
        return Err(PretrainedError::NotSuchAFolder {
            folder: path.to_path_buf(),
            file: CONFIG,
            kind: "a model folder",
            hint: "give a Hugging Face model folder: config.json beside model.safetensors".to_owned(),
        });
    }
    let json: Value = read_json(&file)?;
    let config = ModelConfig::from_json(&json).map_err(PretrainedError::model(folder))?;
    Ok((config, json))
}

/// Reads a model: a folder with `config.json` and `model.safetensors` or the shards of its index, or a GGUF file. Frozen
/// weights of linear layers stay as they are stored.
///
/// # Errors
/// A missing or damaged file, an unsupported architecture, or tensors that do not fit the configuration.
pub fn open_model(path: &Path, trainable: Trainable) -> Result<Pretrained> {
    open_with(path, &|config, source| Decoder::load(config, source, trainable))
}

/// Reads a model whose weights are all frozen, those of linear layers held as `hold` says. `progress` is told how many of
/// how many tensors are done.
///
/// # Errors
/// As [`open_model`].
pub fn open_frozen(path: &Path, hold: Hold, progress: &dyn Fn(usize, usize)) -> Result<Pretrained> {
    open_with(path, &|config, source| Decoder::load_frozen(config, source, hold, &mut |done, all| progress(done, all)))
}

type Load<'a> = &'a dyn Fn(&ModelConfig, &dyn TensorSource) -> std::result::Result<Decoder, ModelError>;

fn open_with(path: &Path, load: Load<'_>) -> Result<Pretrained> {
    if !path.exists() {
        return Err(artifact::ArtifactError::Missing {
            path: path.to_path_buf(),
            hint: "give the path of a Hugging Face model folder or of a GGUF file".to_owned(),
        }
        .into());
    }
    if let Some(file) = gguf_path(path)? {
        let (source, config_json) = gguf::open(&file)?;
        let config = ModelConfig::from_json(&config_json).map_err(PretrainedError::model(&file))?;
        let decoder = load(&config, &source).map_err(PretrainedError::model(&file))?;
        return Ok(Pretrained { config, config_json, generation_config: None, decoder });
    }
    let (config, config_json) = open_config(path)?;
    let weights = StoredWeights(Weights::open_model(path)?);
    let decoder = load(&config, &weights).map_err(PretrainedError::model(path))?;
    let generation = path.join(GENERATION_CONFIG);
    let generation_config = if generation.is_file() { Some(read_json(&generation)?) } else { None };
    Ok(Pretrained { config, config_json, generation_config, decoder })
}

/// The files of a whole model: `config.json`, `generation_config.json`, `model.safetensors`. `parameters` are the
/// decoder's own or its merged ones.
///
/// # Errors
/// Where a tensor cannot be converted.
pub fn model_files(
    parameters: Vec<(String, Tensor)>,
    config_json: &Value,
    generation_config: Option<&Value>,
    save_type: SaveType,
) -> Result<Vec<ModelFile>> {
    let tensors = parameters
        .into_iter()
        .map(|(name, tensor)| to_bytes(name, &tensor, save_type.dtype()))
        .collect::<Result<_, _>>()
        .map_err(PretrainedError::model(Path::new(MODEL_WEIGHTS)))?;
    let generation = generation_config.cloned().unwrap_or_else(|| generation_from(config_json));
    Ok(vec![
        ModelFile::bytes(CONFIG, to_json(&with_type(config_json, save_type))),
        ModelFile::bytes(GENERATION_CONFIG, to_json(&generation)),
        ModelFile::weights(MODEL_WEIGHTS, tensors),
    ])
}

/// The configuration of `decoder` with its adapter folded in: where the adapter gave a tied output a tensor of its own,
/// they are no longer tied.
pub fn merged_config(decoder: &Decoder, config_json: &Value) -> Value {
    let mut json = config_json.clone();
    if let Some(object) = json.as_object_mut().filter(|_| decoder.is_untied()) {
        object.insert("tie_word_embeddings".to_owned(), Value::Bool(false));
    }
    json
}

/// Copies of the tokenizer's files and chat template that a folder (or the folder of a GGUF file) has.
pub fn tokenizer_files(folder: &Path) -> Vec<ModelFile> {
    let folder = if folder.is_file() { parent(folder) } else { folder };
    TOKENIZER_FILES
        .iter()
        .map(|name| (name, folder.join(name)))
        .filter(|(_, path)| path.is_file())
        .map(|(name, path)| ModelFile::copy(name, path))
        .collect()
}

/// The configuration with the type that the weights are now stored in: transformers converts to what it says.
fn with_type(config_json: &Value, save_type: SaveType) -> Value {
    let mut json = config_json.clone();
    if let Some(object) = json.as_object_mut() {
        let keys: Vec<&str> = ["dtype", "torch_dtype"].into_iter().filter(|key| object.contains_key(*key)).collect();
        for key in if keys.is_empty() { vec!["dtype"] } else { keys } {
            object.insert(key.to_owned(), Value::String(save_type.name().to_owned()));
        }
    }
    json
}

/// The token ids that generation needs, from the configuration.
fn generation_from(config_json: &Value) -> Value {
    let ids = ["bos_token_id", "eos_token_id", "pad_token_id"].into_iter().filter_map(|key| {
        let id = config_json.get(key).filter(|id| !id.is_null())?;
        Some((key.to_owned(), id.clone()))
    });
    Value::Object(ids.collect::<Map<_, _>>())
}

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
