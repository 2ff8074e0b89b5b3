//! Mistral: Llama with a sliding window in every layer. Jiang et al. 2023, arXiv:2310.06825.

use super::standard::{Defaults, Dimensions, refuse_partial_rotary};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::Description;

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions =
        Dimensions::read(fields, &Defaults { context: 131_072, key_value_heads: Some(8), ..Defaults::default() })?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, 1.0)?;
    let window = fields.window("sliding_window", Some(4096))?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = dimensions.layer(index);
            layer.attention.window = window;
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?))
}
