//! Granite 3: Llama with multipliers on the embedding, the scores, the additions to the stream and the logits.
//! IBM Granite Team 2024.

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
    let attention_multiplier = fields.number_or("attention_multiplier", 1.0)? as f32;
    let residual_multiplier = fields.number_or("residual_multiplier", 1.0)? as f32;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = dimensions.layer(index);
            set_biases(&mut layer, attention_bias, attention_bias, feed_forward_bias);
            layer.attention.scale = attention_multiplier;
            layer.residual_scale = residual_multiplier;
            layer
        })
        .collect();
    let mut decoder = dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?);
    decoder.embedding.scale = fields.number_or("embedding_multiplier", 1.0)? as f32;
    decoder.embedding.noise_scale = decoder.embedding.scale;
    decoder.output.scale = (1.0 / fields.number_or("logits_scaling", 1.0)?) as f32;
    Ok(decoder)
}
