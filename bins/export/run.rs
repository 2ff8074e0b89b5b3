//! Load, fold, check, write.

use crate::args::{Args, Dtype, Format, Quantize};
use crate::gguf;
use anyhow::{Context, Result, bail};
use artifact::{Committed, OutputFolder};
use candle_core::Tensor;
use cli::{Hint, Outcome, Report, Usage, format};
use encoding::{EncodingError, Specials, Tokenizer};
use model::{Batch, Decoder, MemorySource, Mode, Trainable};
use pretrained::{PretrainedError, SaveType};
use retune::locate::{Located, Part, locate};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tokens of the text on which merged and unmerged model are compared.
const PROBE_TOKENS: usize = 32;
/// What folding in f32 may change in a logit; more means that the fold is wrong.
const TOLERANCE: f32 = 1e-2;

/// What was written, for people and programs.
#[derive(Debug, Serialize)]
struct Summary {
    parameters: u64,
    bytes: u64,
    dtype: &'static str,
    /// Largest difference between a logit of the merged model and of base + adapter, before rounding to `dtype`.
    merge_difference: Option<f32>,
    /// Whose tokenizer went along: `adapter`, `base`, or none.
    tokenizer: Option<&'static str>,
    /// The same with the weights as they are written.
    stored_difference: f32,
}

/// Folds the adapter into the base and writes the folder.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    refuse_contradictions(args)?;
    let out = args.output.folder()?;
    let inputs = args.adapter.iter().map(PathBuf::as_path).chain([Path::new(&args.model)]);
    cli::refuse_to_replace(("--out", out), "retune-export", inputs, args.output.force)?;
    let adapter = args.adapter.as_ref().map(|given| locate(&given.to_string_lossy(), "--adapter", Part::Adapter));
    let adapter = adapter.transpose()?;
    let Located { folder, name, origin } = locate(&args.model, "--model", Part::Model)?;
    let mut inputs = pretrained::model_records(&folder).hint_from(remedy)?;
    if let Some(Located { folder: adapter, .. }) = &adapter {
        inputs.extend(pretrained::adapter_records(adapter).hint_from(remedy)?);
    }
    let adapter_origin = adapter.as_ref().and_then(|adapter| adapter.origin.as_deref());
    let identity = cli::identity("retune-export", args, inputs)
        .with_origin("model", origin.as_deref())
        .with_origin("adapter", adapter_origin);
    let adapter = adapter.map(|adapter| adapter.folder);
    if let Some(outcome) = cli::up_to_date(out, &identity, args.output.force)? {
        return Ok(outcome);
    }
    let output = OutputFolder::open(out)?;

    let base = pretrained::open_model(&folder, Trainable::Nothing).hint_from(remedy)?;
    let mut decoder = base.decoder;
    if let Some(adapter) = &adapter {
        pretrained::open_adapter(&mut decoder, adapter).hint_from(remedy)?;
    }
    let config_json = pretrained::merged_config(&decoder, &base.config_json);
    let config = model::ModelConfig::from_json(&config_json)?;
    let save_type = args.dtype.map_or_else(|| SaveType::of_config(&base.config_json), Dtype::save_type);
    let merged = decoder.merged()?;
    let expected = probe(&decoder)?;
    let merge_difference = match adapter {
        Some(_) => Some(difference(&expected, &probe(&reload(&config, merged.clone())?)?)?),
        None => None,
    };
    if let Some(found) = merge_difference.filter(|found| found.is_nan() || *found > TOLERANCE) {
        bail!("the merged model's logits differ by up to {found} from base + adapter: nothing was written");
    }
    let parameters = merged.iter().map(|(_, tensor)| tensor.elem_count() as u64).sum();
    let tokenizer = check_tokenizer(&folder, adapter.as_deref(), base.config.vocabulary())?;
    let (outputs, dtype, stored_difference) = if args.to == Format::Gguf {
        let quantize = args.quantize.unwrap_or(Quantize::F16);
        let source = gguf::Source {
            config: &config,
            parameters: merged,
            tokenizer: tokenizer_place(adapter.as_deref(), &folder),
            name: &name,
        };
        let (file, difference) = gguf::write(source, quantize, &output, &expected)?;
        (vec![file], quantize.name(), difference)
    } else {
        let stored = merged.iter().map(|(name, tensor)| Ok((name.clone(), rounded(tensor, save_type)?)));
        let stored = reload(&config, stored.collect::<Result<_>>()?)?;
        let stored_difference = difference(&expected, &probe(&stored)?)?;
        let generation = base.generation_config.as_ref();
        let mut files = pretrained::model_files(merged, &config_json, generation, save_type)?;
        let own = adapter.as_deref().map(pretrained::tokenizer_files).filter(|files| !files.is_empty());
        files.extend(own.unwrap_or_else(|| pretrained::tokenizer_files(&folder)));
        let files = pretrained::in_shards(files, args.max_shard_size);
        (pretrained::stage(files, &output)?, name_of(save_type), stored_difference)
    };
    let bytes = outputs.iter().map(|file| file.record().bytes).sum();
    let summary = Summary { parameters, bytes, dtype, merge_difference, tokenizer, stored_difference };
    let report = Report::new(text(&summary, out), &summary);
    output.commit(Committed { outputs, identity, seed: None, rows: None, summary: report.json.clone() })?;
    Ok(Outcome::Done(report))
}

/// The tokenizer that travels must mean by every id what the model learnt: its ids are in the model's vocabulary, and an
/// adapter's own tokenizer cuts a text with letters, digits, marks and line breaks as the base's does, or that is said.
fn check_tokenizer(base: &Path, adapter: Option<&Path>, vocabulary: usize) -> Result<Option<&'static str>> {
    const TEXT: &str = "Hello, world! 1234 + 5.6 = ?\n\n\tdef f(x): return x  # ünïcödé, 漢字, 🙂\r\n";
    let has = |folder: &&Path| folder.join(artifact::files::TOKENIZER).is_file();
    let open = |folder: &Path| -> Result<Tokenizer> {
        Tokenizer::open(folder).hint_from(|error| error.downcast_ref::<EncodingError>()?.hint().map(str::to_owned))
    };
    let own = adapter.filter(has);
    let Some(travelling) = own.or(Some(base).filter(has)) else { return Ok(None) };
    let tokenizer = open(travelling)?;
    let ids = tokenizer.encode(TEXT, Specials::None)?.ids;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
        bail!(
            "the tokenizer in {} has token {id}, and the model has {vocabulary}: nothing was written",
            travelling.display()
        );
    }
    if own.is_some() && has(&base) && open(base)?.encode(TEXT, Specials::None)?.ids != ids {
        cli::warn(
            "the adapter's tokenizer cuts text otherwise than the base's: the adapter's was exported, which it was tuned with",
        );
    }
    Ok(Some(if own.is_some() { "adapter" } else { "base" }))
}

fn refuse_contradictions(args: &Args) -> Result<()> {
    match args.to {
        Format::Gguf if args.dtype.is_some() => {
            bail!(Usage("--dtype goes with --to hf; the number format of a GGUF file is --quantize".into()))
        }
        Format::Hf if args.quantize.is_some() => {
            bail!(Usage("--quantize goes with --to gguf; the number format of a folder is --dtype".into()))
        }
        _ => Ok(()),
    }
}

/// Where the tokenizer lies: with the adapter where it travels with it, else with the model.
fn tokenizer_place<'a>(adapter: Option<&'a Path>, model: &'a Path) -> Option<&'a Path> {
    let has_one = |folder: &Path| folder.join(artifact::files::TOKENIZER).is_file();
    adapter.filter(|folder| has_one(folder)).or_else(|| (model.is_file() || has_one(model)).then_some(model))
}

pub(crate) fn remedy(error: &anyhow::Error) -> Option<String> {
    error.downcast_ref::<PretrainedError>().and_then(PretrainedError::hint)
}

/// Logits of a fixed text, `[PROBE_TOKENS, V]`: ids spread over the whole vocabulary.
pub(crate) fn probe(decoder: &Decoder) -> Result<Tensor> {
    let description = decoder.description();
    let length = PROBE_TOKENS.min(description.context);
    let vocabulary = description.vocabulary as u64;
    let ids: Vec<u32> = (1..=length as u64).map(|index| (index * 2_654_435_761 % vocabulary) as u32).collect();
    let hidden = decoder.hidden_states(&Batch::from_sequences(&[ids])?, Mode::Evaluate)?;
    Ok(decoder.logits(&hidden)?)
}

pub(crate) fn difference(expected: &Tensor, found: &Tensor) -> Result<f32> {
    Ok((expected - found)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?)
}

fn reload(config: &model::ModelConfig, tensors: Vec<(String, Tensor)>) -> Result<Decoder> {
    Decoder::load(config, &MemorySource::new(tensors), Trainable::Nothing).context("the merged weights do not load")
}

fn rounded(tensor: &Tensor, save_type: SaveType) -> Result<Tensor> {
    let dtype = match save_type {
        SaveType::F32 => candle_core::DType::F32,
        SaveType::F16 => candle_core::DType::F16,
        SaveType::BF16 => candle_core::DType::BF16,
    };
    Ok(tensor.to_dtype(dtype)?.to_dtype(candle_core::DType::F32)?)
}

fn name_of(save_type: SaveType) -> &'static str {
    match save_type {
        SaveType::F32 => "f32",
        SaveType::F16 => "f16",
        SaveType::BF16 => "bf16",
    }
}

impl Dtype {
    fn save_type(self) -> SaveType {
        match self {
            Self::F32 => SaveType::F32,
            Self::F16 => SaveType::F16,
            Self::Bf16 => SaveType::BF16,
        }
    }
}

fn text(summary: &Summary, out: &Path) -> String {
    let Summary { parameters, bytes, dtype, merge_difference, stored_difference, .. } = summary;
    let checked = match merge_difference {
        Some(difference) => format!(
            "checked: largest difference to base + adapter in a logit {difference:.1e} when folded, {stored_difference:.1e} as stored\n"
        ),
        None => format!("checked: largest difference to the base in a logit {stored_difference:.1e} as stored\n"),
    };
    format!(
        "exported {} parameters in {dtype}, {}\n{checked}next: retune-generate --model {} --prompt TEXT",
        format::count(*parameters),
        format::bytes(*bytes),
        out.display()
    )
}
