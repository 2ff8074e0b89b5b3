//! The arrangement that most architectures share with Llama, under the same names. An architecture takes it and states
//! where it departs.

use kernels::{Activation, WeightLayout};
use serde_json::Value;

use crate::ModelError;
use crate::config::Fields;
use crate::description::{
    AttentionDescription, Description, EmbeddingDescription, FeedForward, LayerDescription, LinearDescription,
    NormDescription, NormKind, OutputDescription, Projections, QueryKeyNorm, Residual, RotaryDescription,
};

/// The numbers that every such configuration states.
#[derive(Debug, Clone)]
pub(crate) struct Dimensions {
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) context: usize,
    pub(crate) deviation: f64,
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
}

/// Values that hold where the configuration is silent, as in the architecture's class in transformers.
pub(crate) struct Defaults {
    pub(crate) context: usize,
    pub(crate) epsilon: f64,
    pub(crate) activation_key: &'static str,
    pub(crate) activation: &'static str,
    /// Width of a head; the stream's width divided by the number of heads where there is none.
    pub(crate) head_dim: Option<usize>,
    /// Number of key and value heads where the key is absent, and not `null`; as many as there are heads where none.
    pub(crate) key_value_heads: Option<usize>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            context: 2048,
            epsilon: 1e-6,
            activation_key: "hidden_act",
            activation: "silu",
            head_dim: None,
            key_value_heads: None,
        }
    }
}

impl Dimensions {
    pub(crate) fn read(fields: &Fields<'_>, defaults: &Defaults) -> Result<Self, ModelError> {
        let hidden = fields.count(&["hidden_size"])?;
        let heads = fields.count(&["num_attention_heads"])?;
        let key_value_heads = match defaults.key_value_heads {
            Some(default) if !fields.has("num_key_value_heads") => default,
            _ => fields.count_or("num_key_value_heads", heads)?,
        };
        let head_dim = fields.count_or("head_dim", defaults.head_dim.unwrap_or(hidden / heads))?;
        if fields.get("head_dim").is_none() && defaults.head_dim.is_none() && hidden % heads != 0 {
            return Err(misfit("num_attention_heads", heads, format!("a divisor of hidden_size {hidden}")));
        }
        if heads % key_value_heads != 0 {
            return Err(misfit(
                "num_key_value_heads",
                key_value_heads,
                format!("a divisor of num_attention_heads {heads}"),
            ));
        }
        Ok(Self {
            vocabulary: fields.count(&["vocab_size"])?,
            hidden,
            intermediate: fields.count(&["intermediate_size"])?,
            layers: fields.layers(&["num_hidden_layers"])?,
            heads,
            key_value_heads,
            head_dim,
            context: fields.count_or("max_position_embeddings", defaults.context)?,
            deviation: fields.number_or("initializer_range", 0.02)?,
            epsilon: fields.number_or("rms_norm_eps", defaults.epsilon)?,
            activation: fields.activation(defaults.activation_key, defaults.activation)?,
        })
    }

    pub(crate) fn rms_norm(&self, name: String) -> NormDescription {
        NormDescription { name, width: self.hidden, kind: NormKind::Rms, epsilon: self.epsilon }
    }

    /// Norms on each head's queries and keys of layer `index`.
    pub(crate) fn head_norms(&self, index: usize, kind: NormKind) -> QueryKeyNorm {
        let norm = |name: &str| {
            let name = format!("model.layers.{index}.self_attn.{name}");
            NormDescription { width: self.head_dim, kind, ..self.rms_norm(name) }
        };
        QueryKeyNorm::PerHead { query: norm("q_norm"), key: norm("k_norm") }
    }

    pub(crate) fn linear(&self, name: String, input: usize, output: usize, bias: bool) -> LinearDescription {
        LinearDescription { name, input, output, bias, layout: WeightLayout::OutputByInput, deviation: self.deviation }
    }

    /// Width of all query heads together.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub(crate) fn key_value_width(&self) -> usize {
        self.key_value_heads * self.head_dim
    }

    /// Layer `index` as Llama arranges it: norm before attention and before the gated feed-forward, no bias.
    pub(crate) fn layer(&self, index: usize) -> LayerDescription {
        let prefix = format!("model.layers.{index}");
        let attention = |name: &str| format!("{prefix}.self_attn.{name}");
        let feed_forward = |name: &str| format!("{prefix}.mlp.{name}");
        LayerDescription {
            attention: AttentionDescription {
                heads: self.heads,
                key_value_heads: self.key_value_heads,
                head_dim: self.head_dim,
                projections: Projections::Separate {
                    query: self.linear(attention("q_proj"), self.hidden, self.query_width(), false),
                    key: self.linear(attention("k_proj"), self.hidden, self.key_value_width(), false),
                    value: self.linear(attention("v_proj"), self.hidden, self.key_value_width(), false),
                },
                output: self.linear(attention("o_proj"), self.query_width(), self.hidden, false),
                query_key_norm: None,
                rotary: Some(0),
                scale: (self.head_dim as f32).powf(-0.5),
                window: None,
                softcap: None,
            },
            feed_forward: FeedForward::Gated {
                gate: self.linear(feed_forward("gate_proj"), self.hidden, self.intermediate, false),
                up: self.linear(feed_forward("up_proj"), self.hidden, self.intermediate, false),
                down: self.linear(feed_forward("down_proj"), self.intermediate, self.hidden, false),
                activation: self.activation,
            },
            residual: Residual::Sequential,
            attention_input: Some(self.rms_norm(format!("{prefix}.input_layernorm"))),
            attention_output: None,
            feed_forward_input: Some(self.rms_norm(format!("{prefix}.post_attention_layernorm"))),
            feed_forward_output: None,
            residual_scale: 1.0,
        }
    }

    /// The decoder around the layers.
    pub(crate) fn decoder(
        &self,
        layers: Vec<LayerDescription>,
        rotary: Vec<RotaryDescription>,
        tied: bool,
    ) -> Description {
        Description {
            vocabulary: self.vocabulary,
            hidden: self.hidden,
            context: rotary.first().map_or(self.context, |table| table.stretched(self.context)),
            base_prefix: "model.",
            embedding: EmbeddingDescription {
                name: "model.embed_tokens.weight".to_owned(),
                scale: 1.0,
                noise_scale: 1.0,
                positions: None,
                deviation: self.deviation,
            },
            rotary,
            layers,
            final_norm: self.rms_norm("model.norm".to_owned()),
            output: OutputDescription {
                name: "lm_head".to_owned(),
                tied,
                scale: 1.0,
                softcap: None,
                deviation: self.deviation,
            },
            unread: &["rotary_emb.inv_freq"],
        }
    }
}

/// Switches the biases of a layer's attention and feed-forward.
pub(crate) fn set_biases(layer: &mut LayerDescription, projections: bool, output: bool, feed_forward: bool) {
    match &mut layer.attention.projections {
        Projections::Separate { query, key, value } => {
            for linear in [query, key, value] {
                linear.bias = projections;
            }
        }
        Projections::Fused(linear) | Projections::FusedByHead(linear) => linear.bias = projections,
    }
    layer.attention.output.bias = output;
    match &mut layer.feed_forward {
        FeedForward::Gated { gate, up, down, .. } => {
            for linear in [gate, up, down] {
                linear.bias = feed_forward;
            }
        }
        FeedForward::FusedGated { gate_up: up, down, .. } | FeedForward::Plain { up, down, .. } => {
            up.bias = feed_forward;
            down.bias = feed_forward;
        }
    }
}

/// The window of each layer: as `layer_types` says, else where `sliding` says so.
pub(crate) fn layer_windows(
    fields: &Fields<'_>,
    layers: usize,
    window: Option<usize>,
    sliding: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    let Some(types) = fields.per_layer("layer_types", layers)? else {
        return Ok((0..layers).map(|index| if sliding(index) { window } else { None }).collect());
    };
    types
        .iter()
        .map(|kind| match (kind.as_str(), window) {
            (Some("full_attention"), _) => Ok(None),
            (Some("sliding_attention"), Some(window)) => Ok(Some(window)),
            (Some("sliding_attention"), None) => {
                Err(fields.unsupported("layer_types", kind, "sliding_attention needs a sliding_window that is in use"))
            }
            _ => Err(fields.unsupported("layer_types", kind, "supported are full_attention, sliding_attention")),
        })
        .collect()
}

/// Refuses a partial rotation where the architecture turns whole heads.
pub(crate) fn refuse_partial_rotary(fields: &Fields<'_>) -> Result<(), ModelError> {
    fields.refuse_unless("partial_rotary_factor", &Value::from(1.0), "this architecture turns whole heads")?;
    for key in ["rope_parameters", "rope_scaling"] {
        if let Some(found) = fields.get(key).and_then(|object| object.get("partial_rotary_factor"))
            && !found.is_null()
            && found.as_f64() != Some(1.0)
        {
            return Err(fields.unsupported("partial_rotary_factor", found, "this architecture turns whole heads"));
        }
    }
    Ok(())
}

fn misfit(key: &str, found: usize, expected: String) -> ModelError {
    ModelError::WrongValue { key: key.to_owned(), found: found.to_string(), expected }
}
