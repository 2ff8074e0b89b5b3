//! Gemma 2: norms on both sides of attention and feed-forward, caps on scores and logits, alternating windows, a scaled
//! embedding. Gemma Team 2024, arXiv:2408.00118.

use super::standard::{Defaults, Dimensions, layer_windows, refuse_partial_rotary, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::{Description, LayerDescription, NormDescription, NormKind};

/// What Gemma's configurations leave out.
pub(super) const DEFAULTS: Defaults = Defaults {
    context: 8192,
    epsilon: 1e-6,
    activation_key: "hidden_activation",
    activation: "gelu_pytorch_tanh",
    head_dim: Some(256),
    key_value_heads: Some(4),
};

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions = Dimensions::read(fields, &DEFAULTS)?;
    refuse_partial_rotary(fields)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, 10_000.0, 1.0)?;
    let window = fields.window("sliding_window", Some(4096))?;
    let windows = layer_windows(fields, dimensions.layers, window, |index| index % 2 == 0)?;
    let softcap = fields.cap("attn_logit_softcapping", Some(50.0))?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = sandwiched(fields, &dimensions, index)?;
            layer.attention.window = windows[index];
            layer.attention.softcap = softcap;
            Ok(layer)
        })
        .collect::<Result<_, ModelError>>()?;
    let mut decoder = dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", true)?);
    finish(&mut decoder);
    decoder.output.softcap = fields.cap("final_logit_softcapping", Some(30.0))?;
    Ok(decoder)
}

/// A layer with a norm before and after each half.
pub(super) fn sandwiched(
    fields: &Fields<'_>,
    dimensions: &Dimensions,
    index: usize,
) -> Result<LayerDescription, ModelError> {
    let mut layer = dimensions.layer(index);
    let bias = fields.flag_or("attention_bias", false)?;
    set_biases(&mut layer, bias, bias, false);
    layer.attention.scale = (fields.number_or("query_pre_attn_scalar", 256.0)? as f32).powf(-0.5);
    let norm = |name: &str| {
        let name = format!("model.layers.{index}.{name}");
        Some(NormDescription { kind: NormKind::RmsPlusOne, ..dimensions.rms_norm(name) })
    };
    layer.attention_input = norm("input_layernorm");
    layer.attention_output = norm("post_attention_layernorm");
    layer.feed_forward_input = norm("pre_feedforward_layernorm");
    layer.feed_forward_output = norm("post_feedforward_layernorm");
    Ok(layer)
}

/// Gemma's final norm and scaled embedding.
pub(super) fn finish(decoder: &mut Description) {
    decoder.final_norm.kind = NormKind::RmsPlusOne;
    decoder.embedding.scale = (decoder.hidden as f64).sqrt() as f32;
}
