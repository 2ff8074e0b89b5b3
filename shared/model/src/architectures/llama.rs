//! Llama 1 to 3.2 and everything that shares its configuration: rotary positions, RMS norms before each half of a
//! layer, grouped-query attention, a gated feed-forward. Touvron et al. 2023, arXiv:2302.13971.

use super::standard::{Defaults, Dimensions, refuse_partial_rotary, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::Description;

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions = Dimensions::read(fields, &Defaults::default())?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, 1.0)?;
    let attention_bias = fields.flag_or("attention_bias", false)?;
    let feed_forward_bias = fields.flag_or("mlp_bias", false)?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = dimensions.layer(index);
            set_biases(&mut layer, attention_bias, attention_bias, feed_forward_bias);
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?))
}
