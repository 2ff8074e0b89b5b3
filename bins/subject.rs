//! The model under examination: a base, perhaps an adapter on it, and the tokenizer that goes with them.

use std::path::Path;

use anyhow::{Context, Result};
use artifact::{FileRecord, Identity, files, hash_file};
use cli::Hint;
use encoding::{
    ChatTemplate, EncodeOptions, EncodingError, ExampleEncoder, Render, TemplateOptions, TemplateOrigin, Tokenizer,
};
use generation::Detokenizer;
use model::{Decoder, ModelConfig, Trainable};
use pretrained::PretrainedError;
use serde_json::Value;

use crate::locate::{Located, Part, locate};

/// A model found but not loaded yet.
#[derive(Debug, Clone)]
pub struct Subject {
    model: Located,
    adapter: Option<Located>,
}

/// A model in memory.
#[derive(Debug)]
pub struct Loaded {
    /// What it is.
    pub config: ModelConfig,
    /// The weights, with the adapter where there is one.
    pub decoder: Decoder,
    /// Tokens that end a text, by the model's own files.
    pub end_tokens: Vec<u32>,
}

impl Subject {
    /// Finds the folders, here or on the hub.
    ///
    /// # Errors
    /// Where one does not exist.
    pub fn find(model: &str, adapter: Option<&Path>) -> Result<Self> {
        let adapter = adapter.map(|adapter| locate(&adapter.to_string_lossy(), "--adapter", Part::Adapter));
        let adapter = adapter.transpose()?;
        Ok(Self { model: locate(model, "--model", Part::Model)?, adapter })
    }

    /// `identity`, with where on a hub the model and the adapter came from, and how they were trained.
    pub fn name_origins(&self, identity: Identity) -> Identity {
        let adapter = self.adapter.as_ref().and_then(|adapter| adapter.origin.as_deref());
        identity
            .with_origin("model", self.model.origin.as_deref())
            .with_origin("adapter", adapter)
            .after(self.tuned_folder())
    }

    /// The model's folder.
    pub fn folder(&self) -> &Path {
        &self.model.folder
    }

    /// Where the result of training lies: the adapter's folder, or else the model's.
    pub fn tuned_folder(&self) -> &Path {
        self.adapter.as_ref().map_or(self.folder(), |adapter| &adapter.folder)
    }

    /// Whether there is an adapter, so that the base can be had from the same load.
    pub fn has_adapter(&self) -> bool {
        self.adapter.is_some()
    }

    /// For people: names on the hub, or the folders' own without the way to them.
    pub fn name(&self) -> String {
        match &self.adapter {
            // A pipeline's folders have the same name at each stage.
            Some(adapter) if adapter.name == self.model.name => format!("{} with its adapter", self.model.name),
            Some(adapter) => format!("{} with adapter {}", self.model.name, adapter.name),
            None => self.model.name.clone(),
        }
    }

    /// Hashes of everything that decides what the model computes and how text becomes tokens, under names that do not
    /// depend on the machine.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn records(&self) -> Result<Vec<FileRecord>> {
        let mut records = with_hint(pretrained::model_records(self.folder()))?;
        let generation = self.folder().join(files::GENERATION_CONFIG);
        if generation.is_file() {
            records.push(hash_file(&generation, format!("model/{}", files::GENERATION_CONFIG))?);
        }
        if let Some(Located { folder: adapter, .. }) = &self.adapter {
            records.extend(with_hint(pretrained::adapter_records(adapter))?);
            let travelling = with_hint(pretrained::tokenizer_records(adapter))?;
            records.extend(
                travelling.into_iter().map(|record| FileRecord { name: format!("adapter/{}", record.name), ..record }),
            );
        }
        Ok(records)
    }

    /// Loads base and adapter.
    ///
    /// # Errors
    /// What is wrong with the folders, with a hint.
    pub fn load(&self) -> Result<Loaded> {
        let opened = with_hint(pretrained::open_model(self.folder(), Trainable::Nothing))?;
        let mut decoder = opened.decoder;
        if let Some(Located { folder: adapter, .. }) = &self.adapter {
            with_hint(pretrained::open_adapter(&mut decoder, adapter))?;
        }
        for note in opened.config.notes() {
            cli::note(note);
        }
        let mut end_tokens = opened.config.end_of_sequence().to_vec();
        end_tokens.extend(end_tokens_of(opened.generation_config.as_ref()));
        end_tokens.sort_unstable();
        end_tokens.dedup();
        Ok(Loaded { config: opened.config, decoder, end_tokens })
    }

    /// The tokenizer and chat template: the adapter's own where they travel with it, else the model's; `template`
    /// replaces the template, `render` says what goes through it.
    ///
    /// # Errors
    /// Where there is no tokenizer, or the template does not compile.
    pub fn encoder(&self, template: Option<&Path>, render: Render) -> Result<ExampleEncoder> {
        let tokenizer = encoding_hint(Tokenizer::open(self.tokenizer_folder()))?;
        let options = TemplateOptions::default();
        let template = match template {
            None => encoding_hint(ChatTemplate::of_model(tokenizer.facts(), &options))?,
            Some(path) => {
                let source = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the chat template {}", path.display()))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let origin = TemplateOrigin::File(name);
                encoding_hint(ChatTemplate::compile(&source, origin, tokenizer.facts(), &options))?
            }
        };
        Ok(ExampleEncoder::new(tokenizer, template, EncodeOptions { render, ..EncodeOptions::default() }))
    }

    /// Where its tokenizer lies.
    pub fn tokenizer_folder(&self) -> &Path {
        let adapter = self.adapter.as_ref().map(|adapter| adapter.folder.as_path());
        adapter.filter(|folder| folder.join(files::TOKENIZER).is_file()).unwrap_or(self.folder())
    }
}

/// `eos_token_id` of `generation_config.json`: a number or a list.
fn end_tokens_of(generation: Option<&Value>) -> Vec<u32> {
    let ids = generation.and_then(|config| config.get("eos_token_id"));
    let ids = match ids {
        Some(Value::Array(ids)) => ids.iter().collect(),
        Some(id) => vec![id],
        None => Vec::new(),
    };
    ids.into_iter().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

/// Every token at which an answer ends: the template's, the tokenizer's, the model's.
pub fn stop_tokens(encoder: &ExampleEncoder, end_tokens: &[u32]) -> Vec<u32> {
    let mut tokens = encoder.stop_tokens().to_vec();
    tokens.extend_from_slice(end_tokens);
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// The words of a tokenizer, special tokens left out.
#[derive(Debug)]
pub struct Words<'a>(pub &'a Tokenizer);

impl Detokenizer for Words<'_> {
    fn text(&self, tokens: &[u32]) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.decode(tokens, true)?)
    }
}

/// Carries a model error's remedy to the command line.
fn with_hint<T>(result: Result<T, PretrainedError>) -> Result<T> {
    result.hint_from(|error| error.downcast_ref::<PretrainedError>()?.hint())
}

/// Carries a tokenizer error's remedy to the command line.
fn encoding_hint<T>(result: Result<T, EncodingError>) -> Result<T> {
    result.hint_from(|error| error.downcast_ref::<EncodingError>()?.hint().map(str::to_owned))
}
