//! Qwen3: Qwen2 without biases, with a norm on each head's queries and keys, and heads wider than the stream divided by
//! their number. Yang et al. 2025, arXiv:2505.09388.

use super::qwen2::upper_windows;
use super::standard::{Defaults, Dimensions, refuse_partial_rotary, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::{Description, NormKind};

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let defaults = Defaults { context: 32_768, head_dim: Some(128), key_value_heads: Some(32), ..Defaults::default() };
    let dimensions = Dimensions::read(fields, &defaults)?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, 1.0)?;
    let windows = upper_windows(fields, dimensions.layers)?;
    let bias = fields.flag_or("attention_bias", false)?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = dimensions.layer(index);
            set_biases(&mut layer, bias, bias, false);
            layer.attention.window = windows[index];
            layer.attention.query_key_norm = Some(dimensions.head_norms(index, NormKind::Rms));
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?))
}
