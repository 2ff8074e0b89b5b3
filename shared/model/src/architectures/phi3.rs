//! Phi-3 and Phi-4 (mini): Llama with one fused weight for queries, keys and values and one for gate and up.
//! Abdin et al. 2024, arXiv:2404.14219.

use super::standard::{Defaults, Dimensions};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::{Description, FeedForward, Projections};

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions = Dimensions::read(fields, &Defaults { context: 4096, epsilon: 1e-5, ..Defaults::default() })?;
    let partial = fields.number_or("partial_rotary_factor", 1.0)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, partial)?;
    let window = fields.window("sliding_window", None)?;
    let (hidden, intermediate) = (dimensions.hidden, dimensions.intermediate);
    let fused_width = dimensions.query_width() + 2 * dimensions.key_value_width();
    let layers = (0..dimensions.layers)
        .map(|index| {
            let name = |name: &str| format!("model.layers.{index}.{name}");
            let mut layer = dimensions.layer(index);
            layer.attention.window = window;
            layer.attention.projections =
                Projections::Fused(dimensions.linear(name("self_attn.qkv_proj"), hidden, fused_width, false));
            layer.feed_forward = FeedForward::FusedGated {
                gate_up: dimensions.linear(name("mlp.gate_up_proj"), hidden, 2 * intermediate, false),
                down: dimensions.linear(name("mlp.down_proj"), intermediate, hidden, false),
                activation: dimensions.activation,
            };
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?))
}
