//! The model that a run starts from, and the files in which it leaves.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use artifact::{FileRecord, Identity, files, hash_file};
use model::{Decoder, LoraConfig, ModelConfig, ModelError, Trainable};
use pretrained::{ModelFile, Pretrained, SaveType};
use retune::locate::{Located, Part, locate};
use retune::tokens::{Limits, check_tokenizer};
use serde_json::Value;

use super::args::Args;
use super::init;
use super::lora_settings;
use super::quantize;
use super::resolve::Settings;

/// What a run starts from: found and described, not yet loaded.
pub(crate) struct Base {
    folder: Option<PathBuf>,
    name: String,
    origins: [(&'static str, Option<String>); 2],
    config: ModelConfig,
    config_json: Value,
    adapter: Option<(PathBuf, LoraConfig)>,
    tokenizer: Option<PathBuf>,
}

impl Base {
    /// Reads the configuration of the model, and of the adapter to continue.
    pub(crate) fn find(args: &Args) -> Result<Self> {
        let adapter = args.adapter.as_deref().map(read_adapter_config).transpose()?;
        let (adapter, adapter_origin) = adapter.map_or((None, None), |(found, origin)| (Some(found), origin));
        let token_folder = args.tokens.is_dir().then(|| args.tokens.clone());
        let has_tokenizer = |folder: &PathBuf| folder.join(files::TOKENIZER).is_file();
        if let Some(path) = &args.init_config {
            let tokenizer = token_folder.filter(has_tokenizer);
            let (config, config_json) = init::configuration(path, tokenizer.as_deref())?;
            let origins = [("model", None), ("adapter", None)];
            return Ok(Self { folder: None, name: String::new(), origins, config, config_json, adapter, tokenizer });
        }
        let given = args.model.as_deref().expect("clap requires --model without --init-config");
        let Located { folder, name, origin } = locate(given, "--model", Part::Model)?;
        let (config, config_json) = pretrained::open_config(&folder)?;
        let beside = if folder.is_file() { folder.parent().map(Path::to_path_buf) } else { Some(folder.clone()) };
        for tokens in std::iter::once(&args.tokens).chain(&args.validation) {
            check_tokenizer(tokens, &folder)?;
        }
        let tokenizer = token_folder.into_iter().chain(beside).find(has_tokenizer);
        let origins = [("model", origin), ("adapter", adapter_origin)];
        Ok(Self { folder: Some(folder), name, origins, config, config_json, adapter, tokenizer })
    }

    /// The settings of the adapter to continue.
    pub(crate) fn adapter(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref().map(|(_, config)| config)
    }

    /// `identity`, with where on a hub base and adapter came from.
    pub(crate) fn name_origins(&self, identity: Identity) -> Identity {
        self.origins.iter().fold(identity, |identity, (role, origin)| identity.with_origin(role, origin.as_deref()))
    }

    /// Number of token ids, and the longest example.
    pub(crate) fn limits(&self) -> Limits {
        Limits::of(&self.config)
    }

    /// Size of the weights: of their files, or of what random weights will take.
    pub(crate) fn stored_bytes(&self) -> Result<u64> {
        let Some(folder) = &self.folder else {
            let parameters = self.config.description().parameters();
            return Ok(parameters.iter().map(|parameter| 4 * parameter.shape.iter().product::<usize>() as u64).sum());
        };
        let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
        if let Some(file) = pretrained::gguf_path(folder)? {
            return Ok(size(&file));
        }
        Ok(artifact::weights::Weights::open_model(folder)?.paths().map(size).sum())
    }

    /// Content hashes for the manifest, under names that do not depend on the machine.
    pub(crate) fn records(&self, args: &Args) -> Result<Vec<FileRecord>> {
        let mut records = Vec::new();
        if let Some(path) = &args.init_config {
            records.push(hash_file(path, "init-config")?);
        }
        if let Some(folder) = &self.folder {
            records.extend(pretrained::weight_records(folder)?);
        }
        if let Some((folder, _)) = &self.adapter {
            for name in [files::ADAPTER_CONFIG, files::ADAPTER_WEIGHTS] {
                records.push(hash_file(&folder.join(name), format!("adapter/{name}"))?);
            }
        }
        if let Some(folder) = &self.tokenizer {
            for name in files::TOKENIZER_FILES.iter().filter(|name| folder.join(name).is_file()) {
                records.push(hash_file(&folder.join(name), format!("tokenizer/{name}"))?);
            }
        }
        Ok(records)
    }

    /// Loads the model as the run starts it: from `checkpoint` where it is resumed.
    pub(crate) fn load(&self, args: &Args, settings: &Settings, checkpoint: Option<&Path>) -> Result<Loaded> {
        let lora = settings.method != "full";
        let whole = checkpoint.filter(|_| !lora).or(self.folder.as_deref());
        let (mut decoder, generation_config) = match whole {
            Some(folder) => {
                let found =
                    if lora { open_frozen(folder, settings)? } else { pretrained::open_model(folder, Trainable::All)? };
                (found.decoder, found.generation_config)
            }
            None => (Decoder::random(&self.config, settings.seed)?, None),
        };
        if lora {
            let adapter = checkpoint.or(self.adapter.as_ref().map(|(folder, _)| folder.as_path()));
            match adapter {
                Some(folder) => pretrained::open_adapter(&mut decoder, folder)?,
                None => {
                    decoder.add_lora(&lora_settings::lora(args, None)?, settings.seed).map_err(wrong_target)?;
                }
            }
        }
        Ok(Loaded { decoder, lora, name: self.name.clone(), config_json: self.config_json.clone(), generation_config })
    }

    /// The tokenizer's files and chat template, to travel with the result.
    pub(crate) fn tokenizer_files(&self) -> Vec<ModelFile> {
        self.tokenizer.as_deref().map(pretrained::tokenizer_files).unwrap_or_default()
    }
}

/// A model in memory, and what is needed to write it.
pub(crate) struct Loaded {
    /// The model with its trainable tensors.
    pub(crate) decoder: Decoder,
    lora: bool,
    name: String,
    config_json: Value,
    generation_config: Option<Value>,
}

impl Loaded {
    /// The files of what is trained: an adapter, or a whole model.
    pub(crate) fn files(&self) -> Result<Vec<ModelFile>> {
        if self.lora {
            return Ok(pretrained::adapter_files(&self.decoder, Some(&self.name))?);
        }
        let generation = self.generation_config.as_ref();
        Ok(pretrained::model_files(self.decoder.parameters(), &self.config_json, generation, SaveType::F32)?)
    }

    /// Names of those files.
    pub(crate) fn file_names(&self) -> &'static [&'static str] {
        if self.lora {
            &[files::ADAPTER_CONFIG, files::ADAPTER_WEIGHTS]
        } else {
            &[files::CONFIG, files::GENERATION_CONFIG, files::MODEL_WEIGHTS]
        }
    }

    /// Whether an adapter is trained, and not the model itself.
    pub(crate) fn is_adapter(&self) -> bool {
        self.lora
    }

    /// Size of what is trained, as written.
    pub(crate) fn result_bytes(&self) -> u64 {
        4 * self.counts().1
    }

    /// Size of a checkpoint: what is trained, and two moments of each element.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        3 * self.result_bytes()
    }

    /// Parameters of the model with its adapter, and how many of them are trained.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let base = self.decoder.parameter_count();
        let adapter: u64 = self.decoder.adapter_parameters().iter().map(|(_, tensor)| tensor.elem_count() as u64).sum();
        let trained = self.decoder.trainable().iter().map(|parameter| parameter.var.elem_count() as u64).sum();
        (base + adapter, trained)
    }
}

/// A name that the model does not have is a matter of the flag that gave it.
fn wrong_target(error: ModelError) -> anyhow::Error {
    match error {
        ModelError::UnknownTarget { .. }
        | ModelError::UnknownModule { .. }
        | ModelError::NothingTargeted { .. }
        | ModelError::Pattern { .. } => cli::Usage(error.to_string()).into(),
        _ => error.into(),
    }
}

type FoundAdapter = ((PathBuf, LoraConfig), Option<String>);

/// Reads a base that stays as it is, in the form that the settings say, with a bar where that takes its time.
fn open_frozen(folder: &Path, settings: &Settings) -> Result<Pretrained> {
    let label = settings.quantize_base.map_or("loading", |_| "quantising the base");
    let bar = cli::Progress::new(label, None, cli::Unit::Rows);
    Ok(pretrained::open_frozen(folder, quantize::hold(settings.quantize_base), &|done, _| bar.set(done as u64))?)
}

fn read_adapter_config(given: &Path) -> Result<FoundAdapter> {
    let Located { folder, origin, .. } = locate(&given.to_string_lossy(), "--adapter", Part::Adapter)?;
    let json: Value = files::read_json(&folder.join(files::ADAPTER_CONFIG))?;
    let config = LoraConfig::from_json(&json).with_context(|| format!("{}", folder.display()))?;
    Ok(((folder, config), origin))
}
