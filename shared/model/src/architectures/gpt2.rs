//! GPT-2: learned positions, layer norms before each half of a layer, one fused projection for queries, keys and values,
//! weights stored `[input, output]`. Radford et al. 2019.

use kernels::WeightLayout;

use crate::ModelError;
use crate::config::Fields;
use crate::description::{
    AttentionDescription, Description, EmbeddingDescription, FeedForward, LayerDescription, LinearDescription,
    NormDescription, NormKind, OutputDescription, Projections, Residual,
};

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let hidden = fields.count(&["n_embd", "hidden_size"])?;
    let context = fields.count(&["n_positions", "max_position_embeddings", "n_ctx"])?;
    let layers = fields.layers(&["n_layer", "num_hidden_layers"])?;
    let deviation = fields.number_or("initializer_range", 0.02)?;
    let layers = (0..layers).map(|index| layer(fields, hidden, layers, index)).collect::<Result<_, _>>()?;
    Ok(Description {
        vocabulary: fields.count(&["vocab_size"])?,
        hidden,
        context,
        base_prefix: "transformer.",
        embedding: EmbeddingDescription {
            name: "transformer.wte.weight".to_owned(),
            scale: 1.0,
            noise_scale: 1.0,
            positions: Some("transformer.wpe.weight".to_owned()),
            deviation,
        },
        rotary: Vec::new(),
        layers,
        final_norm: norm(fields, "transformer.ln_f".to_owned(), hidden)?,
        output: OutputDescription {
            name: "lm_head".to_owned(),
            tied: fields.flag_or("tie_word_embeddings", true)?,
            scale: 1.0,
            softcap: None,
            deviation,
        },
        // The causal mask, kept as a buffer by old checkpoints.
        unread: &[".attn.bias", ".attn.masked_bias"],
    })
}

fn layer(fields: &Fields<'_>, hidden: usize, layers: usize, index: usize) -> Result<LayerDescription, ModelError> {
    let heads = fields.count(&["n_head", "num_attention_heads"])?;
    if !hidden.is_multiple_of(heads) {
        return Err(ModelError::WrongValue {
            key: "n_head".to_owned(),
            found: heads.to_string(),
            expected: format!("a divisor of n_embd {hidden}"),
        });
    }
    let head_dim = hidden / heads;
    let intermediate = fields.count_or("n_inner", 4 * hidden)?;
    let deviation = fields.number_or("initializer_range", 0.02)?;
    // Two additions to the stream per layer: their outputs start smaller, so that the sum keeps its size.
    let residual_deviation = deviation / (2.0 * layers as f64).sqrt();
    let prefix = format!("transformer.h.{index}");
    let linear = |name: &str, input: usize, output: usize, deviation: f64| LinearDescription {
        name: format!("{prefix}.{name}"),
        input,
        output,
        bias: true,
        layout: WeightLayout::InputByOutput,
        deviation,
    };
    let mut scale = if fields.flag_or("scale_attn_weights", true)? { (head_dim as f32).powf(-0.5) } else { 1.0 };
    if fields.flag_or("scale_attn_by_inverse_layer_idx", false)? {
        scale /= (index + 1) as f32;
    }
    Ok(LayerDescription {
        attention: AttentionDescription {
            heads,
            key_value_heads: heads,
            head_dim,
            projections: Projections::Fused(linear("attn.c_attn", hidden, 3 * hidden, deviation)),
            output: linear("attn.c_proj", hidden, hidden, residual_deviation),
            query_key_norm: None,
            rotary: None,
            scale,
            window: None,
            softcap: None,
        },
        feed_forward: FeedForward::Plain {
            up: linear("mlp.c_fc", hidden, intermediate, deviation),
            down: linear("mlp.c_proj", intermediate, hidden, residual_deviation),
            activation: fields.activation("activation_function", "gelu_new")?,
        },
        residual: Residual::Sequential,
        attention_input: Some(norm(fields, format!("{prefix}.ln_1"), hidden)?),
        attention_output: None,
        feed_forward_input: Some(norm(fields, format!("{prefix}.ln_2"), hidden)?),
        feed_forward_output: None,
        residual_scale: 1.0,
    })
}

fn norm(fields: &Fields<'_>, name: String, width: usize) -> Result<NormDescription, ModelError> {
    Ok(NormDescription { name, width, kind: NormKind::Layer, epsilon: fields.number_or("layer_norm_epsilon", 1e-5)? })
}
