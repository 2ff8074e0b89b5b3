//! What the stage reads: the splits of the data, and the model's tokenizer, template and limits.

use crate::args::Args;
use anyhow::{Context, Result, anyhow};
use artifact::{FileRecord, Split, hash_file, resolve_split};
use cli::Hint;
use retune::locate::{Part, locate};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Rows are no longer than this unless asked for: most fine-tuning data is shorter, and memory grows with it.
const USUAL_LENGTH: usize = 2048;

/// The argument that means standard input, or standard output.
pub(crate) const STREAM: &str = "-";

/// Files of a model folder that decide how text becomes tokens.
const MODEL_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "config.json",
];

/// Everything that the stage reads.
pub(crate) struct Inputs {
    /// The splits that there are, training first.
    pub(crate) splits: Vec<(Split, PathBuf)>,
    /// The model's folder, or none where a tokenizer is trained.
    pub(crate) model: Option<PathBuf>,
    /// Where on a hub it came from.
    pub(crate) origin: Option<String>,
    /// The template that replaces the model's: name and source.
    pub(crate) template: Option<(String, String)>,
    /// What the model can take.
    pub(crate) limits: Limits,
    /// Hash of each file.
    pub(crate) records: Vec<FileRecord>,
}

/// Limits from the model's `config.json`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Most tokens that the model was made to see.
    pub(crate) positions: Option<usize>,
    /// Rows of its embedding.
    pub(crate) vocabulary: Option<usize>,
}

impl Inputs {
    /// Finds and hashes the inputs.
    pub(crate) fn find(args: &Args) -> Result<Self> {
        let splits = splits(args)?;
        let model = args.model.as_deref().map(|given| locate(given, "--model", Part::Tokenizer)).transpose()?;
        let (model, origin) = model.map_or((None, None), |found| (Some(found.folder), found.origin));
        let mut records = Vec::new();
        for (split, path) in splits.iter().filter(|(_, path)| path.as_os_str() != STREAM) {
            records.push(hash_file(path, split.file_name())?);
        }
        for (name, path) in model.iter().flat_map(|folder| MODEL_FILES.map(|name| (name, folder.join(name)))) {
            if path.is_file() {
                records.push(hash_file(&path, format!("model/{name}"))?);
            }
        }
        let template = match &args.chat_template {
            None => None,
            Some(path) => {
                let unreadable = || format!("--chat-template {} cannot be read", path.display());
                let source = std::fs::read_to_string(path).with_context(unreadable)?;
                records.push(hash_file(path, "chat_template")?);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Some((name, source))
            }
        };
        let limits = model.as_deref().map(Limits::read).transpose()?.unwrap_or_default();
        Ok(Self { splits, model, origin, template, limits, records })
    }
}

impl Inputs {
    /// Whether the examples come on standard input.
    pub(crate) fn are_streamed(&self) -> bool {
        self.splits.iter().any(|(_, path)| path.as_os_str() == STREAM)
    }
}

impl Limits {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let config: Value = artifact::files::read_json(&path)?;
        let number = |names: &[&str]| {
            let inner = config.get("text_config").unwrap_or(&config);
            names
                .iter()
                .find_map(|name| inner.get(name).or_else(|| config.get(name))?.as_u64())
                .map(|value| value as usize)
        };
        Ok(Self {
            positions: number(&["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"]),
            vocabulary: number(&["vocab_size"]),
        })
    }

    /// The row length: as asked, or what tokenizer and model allow.
    pub(crate) fn row_length(self, asked: Option<u32>, tokenizer: Option<usize>) -> Result<usize> {
        match (asked.map(|length| length as usize), self.positions) {
            (Some(asked), Some(most)) if asked > most => {
                Err(cli::Usage(format!("--max-length {asked} is more than the model's {most} positions")))
                    .hint(format!("ask for at most {most}, and say what to do with longer examples with --overflow"))
            }
            (Some(asked), _) => Ok(asked),
            (None, positions) => {
                let least = [positions, tokenizer, Some(USUAL_LENGTH)].into_iter().flatten().min();
                Ok(least.unwrap_or(USUAL_LENGTH).max(2))
            }
        }
    }
}

fn splits(args: &Args) -> Result<Vec<(Split, PathBuf)>> {
    if args.data.as_os_str() == STREAM {
        if args.validation.is_some() || args.test.is_some() || args.new_tokenizer.is_some() {
            let message = "standard input is read once and names its splits in the column split: --validation, --test \
                           and --new-tokenizer need a folder or a file";
            return Err(cli::Usage(message.into()).into());
        }
        return Ok(vec![(Split::Train, args.data.clone())]);
    }
    let given = [(Split::Validation, &args.validation), (Split::Test, &args.test)];
    if args.data.is_dir() {
        if let Some((split, _)) = given.iter().find(|(_, path)| path.is_some()) {
            let message = format!("--{} goes with a Parquet file; {} is a folder", split.as_str(), args.data.display());
            return Err(cli::Usage(message).into());
        }
        let mut found = Vec::new();
        for split in Split::ALL {
            if let Some(path) = resolve_split(&args.data, split, "retune-ingest")? {
                found.push((split, path));
            }
        }
        return if found.is_empty() {
            Err(anyhow!("{} holds no train, validation or test split", args.data.display()))
                .hint("run retune-ingest --out DIR first, and name its folder")
        } else {
            Ok(found)
        };
    }
    let train = resolve_split(&args.data, Split::Train, "retune-ingest")?.into_iter().map(|path| (Split::Train, path));
    let others = given.into_iter().filter_map(|(split, path)| Some((split, path.clone()?)));
    Ok(train.chain(others).collect())
}
