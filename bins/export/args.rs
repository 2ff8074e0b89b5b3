//! The command line of `retune-export`.

use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// Fold an adapter into its base model and write a Hugging Face folder that transformers, vLLM and others load, or a GGUF
/// file for llama.cpp.
///
/// The arithmetic is in 32 bits whatever the base is stored in. Before anything is written, the merged model is run
/// beside base + adapter, and the largest difference between their logits is reported.
#[derive(Debug, Parser, Serialize)]
#[command(
    name = "retune-export",
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-export --model base --adapter model --out merged                 one folder with everything
  retune-export --model base --adapter model --out merged --dtype f16     half the size
  retune-export --model base --adapter model --out merged --max-shard-size 2GB
  retune-export --model tuned --out copy --dtype bf16                     convert a whole model
  retune-export --model base --adapter model --out gguf --to gguf --quantize q8_0
                                                                          one file for llama.cpp"
)]
pub(crate) struct Args {
    /// The base model: a Hugging Face folder, a GGUF file, or a name on a hub such as org/name
    #[arg(long, value_name = "DIR|NAME")]
    #[serde(skip)]
    pub model: String,

    /// The PEFT adapter to fold in
    #[arg(long, value_name = "DIR|NAME")]
    #[serde(skip)]
    pub adapter: Option<PathBuf>,

    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Hf)]
    pub to: Format,

    /// Number format of the written weights [default: that of the base]
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,

    /// Largest size of one file of weights, such as 500MB or 2GiB; larger models are written in shards with an index
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    pub max_shard_size: u64,

    /// Number format of the weights in GGUF [default: f16]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub quantize: Option<Quantize>,

    #[command(flatten)]
    #[serde(skip)]
    pub output: cli::Output,

    #[command(flatten)]
    #[serde(skip)]
    pub common: cli::Common,
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// A number of bytes with its unit: powers of 1,000 (KB, MB, GB) or of 1,024 (KiB, MiB, GiB).
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_lowercase().as_str() {
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("expected a number with KB, MB, GB, KiB, MiB or GiB, such as 5GB".into()),
    };
    let number = number.parse::<u64>().ok().filter(|&number| number > 0).and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| "expected a size above 0, such as 5GB".into())
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A Hugging Face folder: config.json, model.safetensors, tokenizer
    Hf,
    /// One file for llama.cpp and what is built on it: model.gguf, with tokenizer and chat template
    Gguf,
}

/// Number format of the written weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    /// 32 bits
    F32,
    /// IEEE half
    F16,
    /// bfloat16
    Bf16,
}

/// Number format of the weights in GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Quantize {
    /// 32 bits
    F32,
    /// IEEE half
    F16,
    /// bfloat16
    Bf16,
    /// Blocks of 32 in 8 bits
    #[value(name = "q8_0")]
    Q8_0,
    /// Blocks of 256 in 4 bits, the matrices that matter most in 6 (llama.cpp's mix)
    #[value(name = "q4_k_m")]
    Q4KM,
}

impl Quantize {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4KM => "q4_k_m",
        }
    }
}
