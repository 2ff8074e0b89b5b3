//! Qwen2 and Qwen2.5: Llama with biases on queries, keys and values, and sliding windows in the upper layers where
//! asked for. Yang et al. 2024, arXiv:2407.10671.

use super::standard::{Defaults, Dimensions, layer_windows, refuse_partial_rotary, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::Description;

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions =
        Dimensions::read(fields, &Defaults { context: 32_768, key_value_heads: Some(32), ..Defaults::default() })?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, 1.0)?;
    let windows = upper_windows(fields, dimensions.layers)?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = dimensions.layer(index);
            set_biases(&mut layer, true, false, false);
            layer.attention.window = windows[index];
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?))
}

/// The window of each layer: none unless `use_sliding_window`, then from layer `max_window_layers` on.
pub(super) fn upper_windows(fields: &Fields<'_>, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window =
        if fields.flag_or("use_sliding_window", false)? { fields.window("sliding_window", Some(4096))? } else { None };
    let full_layers = fields.whole_or("max_window_layers", 28)?;
    layer_windows(fields, layers, window, |index| window.is_some() && index >= full_layers)
}
