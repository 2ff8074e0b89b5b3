//! SmolLM3: Llama in which every fourth layer has no positions (Yang et al. 2025, arXiv:2501.18795) and may have a
//! sliding window instead.

use serde_json::Value;

use super::standard::{Defaults, Dimensions, layer_windows, refuse_partial_rotary, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::Description;

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions =
        Dimensions::read(fields, &Defaults { context: 32_768, key_value_heads: Some(4), ..Defaults::default() })?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 2_000_000.0, 1.0)?;
    let positioned = positioned_layers(fields, dimensions.layers)?;
    let window =
        if fields.flag_or("use_sliding_window", false)? { fields.window("sliding_window", None)? } else { None };
    let windows = layer_windows(fields, dimensions.layers, window, |index| window.is_some() && !positioned[index])?;
    let attention_bias = fields.flag_or("attention_bias", false)?;
    let feed_forward_bias = fields.flag_or("mlp_bias", false)?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = dimensions.layer(index);
            set_biases(&mut layer, attention_bias, attention_bias, feed_forward_bias);
            layer.attention.window = windows[index];
            layer.attention.rotary = positioned[index].then_some(0);
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", true)?))
}

/// Whether each layer has rotary positions: `no_rope_layers` says 1 where it has, in spite of its name.
fn positioned_layers(fields: &Fields<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    if let Some(list) = fields.per_layer("no_rope_layers", layers)? {
        return Ok(list.iter().map(|entry| entry.as_i64() != Some(0) && *entry != Value::Bool(false)).collect());
    }
    let interval = fields.whole_or("no_rope_layer_interval", 4)?.max(1);
    Ok((0..layers).map(|index| (index + 1) % interval != 0).collect())
}
