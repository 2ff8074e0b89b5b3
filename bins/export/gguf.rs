//! `--to gguf`: one file for llama.cpp, read back and compared before the folder is sealed.

use crate::args::Quantize;
use crate::run::{difference, probe, remedy};
use anyhow::{Context, Result};
use artifact::{FinishedFile, OutputFolder, gguf::write_gguf};
use candle_core::Tensor;
use cli::Hint;
use encoding::{EncodingError, Tokenizer, to_gguf};
use model::{Decoder, ModelConfig};
use pretrained::{GgufType, gguf_file};
use std::path::Path;

/// What a file is made from.
pub(crate) struct Source<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) parameters: Vec<(String, Tensor)>,
    /// Where the tokenizer is, if there is one.
    pub(crate) tokenizer: Option<&'a Path>,
    pub(crate) name: &'a str,
}

/// Writes the file, and gives back the largest difference between its logits and those `expected` of the probe.
pub(crate) fn write(
    source: Source<'_>,
    quantize: Quantize,
    output: &OutputFolder,
    expected: &Tensor,
) -> Result<(FinishedFile, f32)> {
    let tokenizer =
        source.tokenizer.map(|folder| tokenizer_metadata(folder, source.config.vocabulary())).transpose()?;
    let mut file = gguf_file(source.config, source.parameters, quantize.gguf_type(), source.name).hint_from(remedy)?;
    match tokenizer {
        Some(metadata) => file.metadata.0.extend(metadata.0),
        // A model without a tokenizer: llama.cpp takes token ids.
        None => file.metadata.push("tokenizer.ggml.model", "none"),
    }
    let finished = write_gguf(output.stage(artifact::files::GGUF)?, &file.metadata, &file.tensors)?;
    drop(file);
    let again: Decoder =
        pretrained::read_back(finished.content()).context("the written file does not load: nothing is kept")?;
    let difference = difference(expected, &probe(&again)?)?;
    Ok((finished, difference))
}

fn tokenizer_metadata(folder: &Path, vocabulary: usize) -> Result<artifact::gguf::Metadata> {
    let hint = |error: &anyhow::Error| error.downcast_ref::<EncodingError>()?.hint().map(str::to_owned);
    let tokenizer = Tokenizer::open(folder).hint_from(hint)?;
    to_gguf(&tokenizer, vocabulary).hint_from(hint)
}

impl Quantize {
    fn gguf_type(self) -> GgufType {
        match self {
            Self::F32 => GgufType::F32,
            Self::F16 => GgufType::F16,
            Self::Bf16 => GgufType::BF16,
            Self::Q8_0 => GgufType::Q8_0,
            Self::Q4KM => GgufType::Q4KM,
        }
    }
}
