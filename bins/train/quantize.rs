//! In which form the frozen base is held: `--method qlora` and `--quantize-base`.

use anyhow::Result;
use clap::ValueEnum;
use cli::{Hint, Usage};
use model::{BlockFormat, Hold};

use super::args::{Args, Method};

/// Format of the frozen base in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaseFormat {
    /// 4 bits in blocks of 64 with double quantisation, as QLoRA and bitsandbytes (arXiv:2305.14314)
    Nf4,
    /// 4 bits in GGML's blocks of 256; where they do not divide a row, Q5_0, as llama.cpp
    #[value(name = "q4_k")]
    Q4K,
    /// 8 bits in GGML's blocks of 32
    #[value(name = "q8_0")]
    Q8_0,
    /// 8 bits for each output, and the products in 8 bits: the fastest
    Int8,
}

impl BaseFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Q4K => "q4_k",
            Self::Q8_0 => "q8_0",
            Self::Int8 => "int8",
        }
    }
}

/// What the manifest keeps of it: absent where the base is held as it is stored.
pub(crate) fn resolve(args: &Args) -> Result<Option<&'static str>> {
    match (args.method, args.quantize_base) {
        (Some(Method::Qlora), Some(format)) => Ok(Some(format.name())),
        // A base that is quantised already stays as it is.
        (Some(Method::Qlora), None) if is_gguf(args) => Ok(None),
        (Some(Method::Qlora), None) => Ok(Some(BaseFormat::Nf4.name())),
        (_, None) => Ok(None),
        (_, Some(format)) => Err(Usage(format!("--quantize-base {} goes with --method qlora", format.name())))
            .hint("add --method qlora, or leave out --quantize-base"),
    }
}

fn is_gguf(args: &Args) -> bool {
    let path = args.model.as_deref().map(std::path::Path::new);
    path.is_some_and(|path| pretrained::gguf_path(path).is_ok_and(|found| found.is_some()))
}

/// How weights are held under that setting.
pub(crate) fn hold(quantize_base: Option<&str>) -> Hold {
    match quantize_base {
        Some("nf4") => Hold::Nf4,
        Some("q4_k") => Hold::Blocks(BlockFormat::Q4_K),
        Some("q8_0") => Hold::Blocks(BlockFormat::Q8_0),
        Some("int8") => Hold::Int8,
        _ => Hold::AsStored,
    }
}
