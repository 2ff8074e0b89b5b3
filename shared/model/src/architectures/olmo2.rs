//! OLMo 2: norms after attention and feed-forward instead of before them, and one norm over all queries and one over all
//! keys. OLMo Team 2024, arXiv:2501.00656.

use super::standard::{Defaults, Dimensions, refuse_partial_rotary, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::{Description, NormDescription, QueryKeyNorm};

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions = Dimensions::read(fields, &Defaults { epsilon: 1e-5, ..Defaults::default() })?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, 1.0)?;
    let bias = fields.flag_or("attention_bias", false)?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let name = |name: &str| format!("model.layers.{index}.{name}");
            let norm = |part: &str, width| NormDescription { width, ..dimensions.rms_norm(name(part)) };
            let mut layer = dimensions.layer(index);
            set_biases(&mut layer, bias, bias, false);
            layer.attention.query_key_norm = Some(QueryKeyNorm::AllHeads {
                query: norm("self_attn.q_norm", dimensions.query_width()),
                key: norm("self_attn.k_norm", dimensions.key_value_width()),
            });
            layer.attention_input = None;
            layer.attention_output = Some(norm("post_attention_layernorm", dimensions.hidden));
            layer.feed_forward_input = None;
            layer.feed_forward_output = Some(norm("post_feedforward_layernorm", dimensions.hidden));
            layer
        })
        .collect();
    Ok(dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?))
}
