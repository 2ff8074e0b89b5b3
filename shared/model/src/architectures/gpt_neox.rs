//! GPT-NeoX and Pythia: layer norms, partial rotary positions, attention and feed-forward side by side.
//! Black et al. 2022, arXiv:2204.06745.

use super::standard::{Defaults, Dimensions, set_biases};
use crate::ModelError;
use crate::config::{Fields, read_rotary};
use crate::description::{
    Description, FeedForward, LayerDescription, NormDescription, NormKind, Projections, Residual,
};

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions = Dimensions::read(fields, &Defaults { activation: "gelu", ..Defaults::default() })?;
    let theta = fields.number_or("rotary_emb_base", 10_000.0)?;
    let partial = fields.number_or("rotary_pct", 0.25)?;
    let rotary = read_rotary(fields, dimensions.head_dim, dimensions.context, theta, partial)?;
    let layers = (0..dimensions.layers).map(|index| layer(fields, &dimensions, index)).collect::<Result<_, _>>()?;
    let mut decoder = dimensions.decoder(layers, vec![rotary], fields.flag_or("tie_word_embeddings", false)?);
    decoder.base_prefix = "gpt_neox.";
    decoder.embedding.name = String::from("gpt_neox.embed_in.weight");
    decoder.final_norm = norm(fields, &dimensions, "gpt_neox.final_layer_norm".to_owned())?;
    decoder.output.name = String::from("embed_out");
    // The causal mask and the frequencies, kept as buffers by old checkpoints.
    decoder.unread = &[".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"];
    Ok(decoder)
}

fn layer(fields: &Fields<'_>, dimensions: &Dimensions, index: usize) -> Result<LayerDescription, ModelError> {
    let (hidden, intermediate) = (dimensions.hidden, dimensions.intermediate);
    let name = |name: &str| format!("gpt_neox.layers.{index}.{name}");
    let linear = |part: &str, input, output| dimensions.linear(name(part), input, output, true);
    let mut layer = dimensions.layer(index);
    layer.attention.projections = Projections::FusedByHead(linear("attention.query_key_value", hidden, 3 * hidden));
    layer.attention.output = linear("attention.dense", hidden, hidden);
    layer.feed_forward = FeedForward::Plain {
        up: linear("mlp.dense_h_to_4h", hidden, intermediate),
        down: linear("mlp.dense_4h_to_h", intermediate, hidden),
        activation: dimensions.activation,
    };
    let bias = fields.flag_or("attention_bias", true)?;
    set_biases(&mut layer, bias, bias, true);
    layer.attention_input = Some(norm(fields, dimensions, name("input_layernorm"))?);
    layer.feed_forward_input = Some(norm(fields, dimensions, name("post_attention_layernorm"))?);
    if fields.flag_or("use_parallel_residual", true)? {
        layer.residual = Residual::Parallel;
    }
    Ok(layer)
}

fn norm(fields: &Fields<'_>, dimensions: &Dimensions, name: String) -> Result<NormDescription, ModelError> {
    let epsilon = fields.number_or("layer_norm_eps", 1e-5)?;
    Ok(NormDescription { name, width: dimensions.hidden, kind: NormKind::Layer, epsilon })
}
