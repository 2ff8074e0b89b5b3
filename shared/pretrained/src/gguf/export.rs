//! A decoder's weights and settings as the content of a GGUF file for llama.cpp. What llama.cpp would compute otherwise, or
//! has no name for, is refused by name.

use std::borrow::Cow;

use artifact::gguf::{GgmlType, Metadata, TensorToWrite};
use candle_core::Tensor;
use model::{BlockFormat, Description, FeedForward, Hold, ModelConfig, ModelError, NormKind, Projections, RopeScaling};

use super::architecture::{ARCHITECTURES, Architecture, Change, interleaved_row};
use super::rope::{ROPE_FACTORS, factors};
use crate::{PretrainedError, Result};

/// Formats of whole files, by llama.cpp's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufType {
    /// Everything in 32 bits.
    F32,
    /// Matrices in IEEE half.
    F16,
    /// Matrices in bfloat16.
    BF16,
    /// Matrices in blocks of 8 bits.
    Q8_0,
    /// Matrices in blocks of 4 bits, those that matter most in 6 ("medium").
    Q4KM,
}

impl GgufType {
    /// `general.file_type`.
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::BF16 => 32,
        }
    }

    /// The format of one matrix: for 4 bits the mix that llama.cpp calls Q4_K_M.
    fn format(self, name: &str, layer: Option<(usize, usize)>, tied: bool, columns: usize) -> BlockFormat {
        let wanted = match self {
            Self::F32 => BlockFormat::F32,
            Self::F16 => BlockFormat::F16,
            Self::BF16 => BlockFormat::BF16,
            Self::Q8_0 => BlockFormat::Q8_0,
            Self::Q4KM => {
                // The first and the last eighth of the layers, and every third in between.
                let more = layer.is_some_and(|(index, count)| {
                    index < count / 8 || index >= 7 * count / 8 || (index - count / 8) % 3 == 2
                });
                let is = |part: &str| name.ends_with(&format!("{part}.weight"));
                let output = name == "output.weight" || (tied && name == "token_embd.weight");
                if output || (more && (is("attn_v") || is("ffn_down"))) {
                    BlockFormat::Q6_K
                } else if is("attn_qkv") {
                    BlockFormat::Q5_K
                } else {
                    BlockFormat::Q4_K
                }
            }
        };
        Hold::format_for(wanted, columns)
    }
}

/// What goes into a file, apart from the tokenizer.
#[derive(Debug)]
pub struct GgufFile {
    /// Settings of the model.
    pub metadata: Metadata,
    /// Weights, in order.
    pub tensors: Vec<TensorToWrite<'static>>,
}

/// The content of a file for a model and its parameters (the decoder's own, or its merged ones). `name` is what llama.cpp
/// shows.
///
/// # Errors
/// An architecture that is not written, a setting that llama.cpp does not have, or a tensor that cannot be converted.
pub fn gguf_file(
    config: &ModelConfig,
    parameters: Vec<(String, Tensor)>,
    kind: GgufType,
    name: &str,
) -> Result<GgufFile> {
    let architecture = architecture_of(config)?;
    let description = config.description();
    let mut metadata = Metadata::default();
    metadata.push("general.architecture", architecture.name);
    metadata.push("general.type", "model");
    metadata.push("general.name", name);
    metadata.push("general.file_type", kind.number());
    metadata.push("general.quantization_version", 2u32);
    settings(&mut metadata, architecture, description)?;
    let mut tensors = Vec::new();
    if let Some(rotary) = description.rotary.first()
        && let Some(factors) = factors(&rotary.scaling, rotary.theta, rotary.dimensions)
    {
        tensors.push(to_write(ROPE_FACTORS.to_owned(), &[factors.len()], &factors, BlockFormat::F32)?);
    }
    let attention = &description.layers.first().ok_or_else(|| refused("a model without layers"))?.attention;
    let heads = (attention.heads, attention.key_value_heads);
    let layers = description.layers.len();
    for (own, tensor) in parameters {
        let Some(name) = architecture.gguf_name(&own) else {
            return Err(refused(&format!("llama.cpp has no place for the tensor {own} in {}", architecture.name)));
        };
        let tensor = changed(&tensor, architecture.change(&name, heads)).map_err(ModelError::from).map_err(in_gguf)?;
        let shape = tensor.dims().to_vec();
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(ModelError::from);
        let values = values.map_err(in_gguf)?;
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')?.0.parse().ok());
        let format = match shape.as_slice() {
            [_, columns] if name != "position_embd.weight" => {
                kind.format(&name, layer.map(|layer| (layer, layers)), description.output.tied, *columns)
            }
            _ => BlockFormat::F32,
        };
        tensors.push(to_write(name, &shape, &values, format)?);
    }
    Ok(GgufFile { metadata, tensors })
}

fn to_write(name: String, shape: &[usize], values: &[f32], format: BlockFormat) -> Result<TensorToWrite<'static>> {
    let kind = GgmlType::of_name(format.name()).expect("every format of ours is one of GGML");
    let data = format.encode(values).map_err(ModelError::from).map_err(in_gguf)?;
    Ok(TensorToWrite { name, kind, shape: shape.to_vec(), data: Cow::Owned(data) })
}

fn changed(tensor: &Tensor, change: Change) -> candle_core::Result<Tensor> {
    match change {
        Change::Same => Ok(tensor.clone()),
        Change::PlusOne => tensor + 1.0,
        Change::Transposed => tensor.t()?.contiguous(),
        Change::Interleaved(heads) => {
            let rows = tensor.dim(0)?;
            let mut order = vec![0u32; rows];
            for row in 0..rows {
                order[interleaved_row(row, rows, heads)] = row as u32;
            }
            tensor.index_select(&Tensor::new(order, tensor.device())?, 0)
        }
    }
}

fn architecture_of(config: &ModelConfig) -> Result<&'static Architecture> {
    let found = config.model_type();
    ARCHITECTURES.iter().find(|architecture| architecture.model_types.contains(&found)).ok_or_else(|| {
        let known: Vec<&str> =
            ARCHITECTURES.iter().flat_map(|architecture| architecture.model_types).copied().collect();
        refused(&format!("model_type {found} is not written as GGUF; written are {}", known.join(", ")))
    })
}

fn refused(reason: &str) -> PretrainedError {
    PretrainedError::NotForGguf { reason: reason.to_owned() }
}

fn in_gguf(source: ModelError) -> PretrainedError {
    refused(&source.to_string())
}

/// The keys of the architecture, from the parts of the model; refuses what llama.cpp computes otherwise.
fn settings(metadata: &mut Metadata, architecture: &Architecture, description: &Description) -> Result<()> {
    let first = &description.layers[0];
    let attention = &first.attention;
    let own = |key: &str| format!("{}.{key}", architecture.name);
    let width = match &first.feed_forward {
        FeedForward::Gated { gate: linear, .. } | FeedForward::Plain { up: linear, .. } => linear.output,
        FeedForward::FusedGated { gate_up, .. } => gate_up.output / 2,
    };
    for layer in &description.layers {
        let same = layer.attention.heads == attention.heads
            && layer.attention.key_value_heads == attention.key_value_heads
            && (layer.attention.scale * (attention.head_dim as f32).sqrt() - 1.0).abs() < 1e-5
            && layer.residual_scale == 1.0
            && layer.attention.rotary.is_some() == attention.rotary.is_some();
        if !same {
            return Err(refused(&format!("{} layers with scales or heads of their own", architecture.name)));
        }
    }
    if description.output.scale != 1.0 {
        return Err(refused("a scale of the logits"));
    }
    let mut push = |key: &str, value: usize| metadata.push(own(key), value as u32);
    push("block_count", description.layers.len());
    push("context_length", description.context);
    push("embedding_length", description.hidden);
    push("feed_forward_length", width);
    push("attention.head_count", attention.heads);
    push("attention.head_count_kv", attention.key_value_heads);
    push("vocab_size", description.vocabulary);
    let epsilon = description.final_norm.epsilon as f32;
    if description.final_norm.kind == NormKind::Layer {
        metadata.push(own("attention.layer_norm_epsilon"), epsilon);
        return Ok(());
    }
    push("attention.key_length", attention.head_dim);
    push("attention.value_length", attention.head_dim);
    metadata.push(own("attention.layer_norm_rms_epsilon"), epsilon);
    rotary(metadata, architecture, description)?;
    windows(metadata, architecture, description)?;
    let caps = [("attn_logit_softcapping", attention.softcap), ("final_logit_softcapping", description.output.softcap)];
    for (key, cap) in caps {
        match cap {
            Some(cap) if architecture.name == "gemma2" => metadata.push(own(key), cap),
            Some(_) => return Err(refused(&format!("{key} in {}", architecture.name))),
            None if architecture.name == "gemma2" => return Err(refused(&format!("gemma2 without {key}"))),
            None => {}
        }
    }
    if let Projections::FusedByHead(_) = attention.projections {
        return Err(refused("projections fused by head"));
    }
    Ok(())
}

fn rotary(metadata: &mut Metadata, architecture: &Architecture, description: &Description) -> Result<()> {
    let own = |key: &str| format!("{}.{key}", architecture.name);
    let table = description.rotary.first().ok_or_else(|| refused("a model without rotary positions"))?;
    if table.dimensions != description.layers[0].attention.head_dim {
        return Err(refused("rotary positions in a part of each head"));
    }
    metadata.push(own("rope.dimension_count"), table.dimensions as u32);
    metadata.push(own("rope.freq_base"), table.theta as f32);
    match table.scaling {
        RopeScaling::Linear { factor } => {
            metadata.push(own("rope.scaling.type"), "linear");
            metadata.push(own("rope.scaling.factor"), factor as f32);
        }
        RopeScaling::Llama3 { .. } if architecture.name != "llama" => {
            return Err(refused(&format!("llama3 scaling of rotary positions in {}", architecture.name)));
        }
        _ => {}
    }
    match description.rotary.get(1) {
        Some(windowed) if windowed.theta != 10_000.0 || windowed.scaling != RopeScaling::Unscaled => {
            Err(refused("another base than 10000 of the rotary positions in windowed layers"))
        }
        _ => Ok(()),
    }
}

/// Windows as llama.cpp has them: Gemma 2 in every other layer, Gemma 3 in five of six, Phi 3 in all, none elsewhere.
fn windows(metadata: &mut Metadata, architecture: &Architecture, description: &Description) -> Result<()> {
    let windows: Vec<Option<usize>> = description.layers.iter().map(|layer| layer.attention.window).collect();
    let Some(window) = windows.iter().flatten().next().copied() else { return Ok(()) };
    let windowed: fn(usize) -> bool = match architecture.name {
        "gemma2" => |layer| layer % 2 == 0,
        "gemma3" => |layer| layer % 6 < 5,
        "phi3" => |_| true,
        // Longer than any text: no window.
        _ if windows.iter().flatten().all(|window| *window >= description.context) => return Ok(()),
        name => {
            return Err(refused(&format!(
                "a sliding window of {window} tokens in {name}, which llama.cpp does not have: its results would differ \
                 beyond {window} tokens"
            )));
        }
    };
    if windows.iter().enumerate().any(|(layer, found)| *found != windowed(layer).then_some(window)) {
        return Err(refused("sliding windows in other layers than llama.cpp has them in"));
    }
    metadata.push(format!("{}.attention.sliding_window", architecture.name), window as u32);
    Ok(())
}
