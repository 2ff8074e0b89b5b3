//! What a decoder is made of: plain data that an architecture fills in and that [`crate::Decoder`] builds.
//!
//! Names are those of the Hugging Face checkpoint. Shapes follow from the description alone, so that parameters can be
//! listed, counted and checked without reading a weight.

use kernels::{Activation, RotaryStyle, WeightLayout};

/// A whole decoder.
#[derive(Debug, Clone)]
pub struct Description {
    /// Vocabulary size, V.
    pub vocabulary: usize,
    /// Width of the residual stream, C.
    pub hidden: usize,
    /// Longest sequence the model was made for.
    pub context: usize,
    /// Prefix that checkpoints of the bare base model leave out, with its dot.
    pub base_prefix: &'static str,
    /// Token (and learned position) embedding.
    pub embedding: EmbeddingDescription,
    /// Rotary tables; layers refer to them by index.
    pub rotary: Vec<RotaryDescription>,
    /// The layers, in order.
    pub layers: Vec<LayerDescription>,
    /// The norm after the last layer.
    pub final_norm: NormDescription,
    /// From hidden states to logits.
    pub output: OutputDescription,
    /// Endings of tensor names that old checkpoints hold and nobody reads (buffers).
    pub unread: &'static [&'static str],
}

/// Token embedding, with learned positions where the architecture has them.
#[derive(Debug, Clone)]
pub struct EmbeddingDescription {
    /// Name of the table `[V, C]`.
    pub name: String,
    /// What the embedded tokens are multiplied by.
    pub scale: f32,
    /// What noise on the embedded tokens is multiplied by: the scale where transformers applies it after the embedding's
    /// module, else 1.
    pub noise_scale: f32,
    /// Name of the learned position table `[context, C]`.
    pub positions: Option<String>,
    /// Standard deviation of random initial values.
    pub deviation: f64,
}

/// One rotary table: frequencies per pair of dimensions.
#[derive(Debug, Clone)]
pub struct RotaryDescription {
    /// Base of the frequencies.
    pub theta: f64,
    /// How many dimensions of each head turn, R; the rest pass.
    pub dimensions: usize,
    /// What exponents are divided by: R, or R − 1 where an odd share of a head was rounded up to whole pairs.
    pub divisor: usize,
    /// How the frequencies are scaled.
    pub scaling: RopeScaling,
    /// Which dimensions form a pair.
    pub style: RotaryStyle,
}

impl RotaryDescription {
    /// The longest sequence for a model of this context: a dynamic scaling is made for `factor` times as much.
    pub(crate) fn stretched(&self, context: usize) -> usize {
        match self.scaling {
            RopeScaling::Dynamic { factor, .. } if factor > 1.0 => (context as f64 * factor) as usize,
            _ => context,
        }
    }
}

/// How rotary frequencies are adapted to longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Unscaled,
    /// All frequencies divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Low frequencies divided, high ones kept, in between a blend (Llama 3.1).
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low` count as low frequencies.
        low: f64,
        /// Wavelengths below `original_context / high` count as high frequencies.
        high: f64,
        /// Context of the pre-training.
        original_context: f64,
    },
    /// Nothing up to `context`; for a longer sequence another base, by its length (NTK-aware, dynamic).
    Dynamic {
        /// How fast the base grows.
        factor: f64,
        /// Up to this length nothing changes.
        context: f64,
    },
    /// Low frequencies divided, high ones kept, between two numbers of rotations a ramp (YaRN: Peng et al. 2023,
    /// arXiv:2309.00071).
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Context of the pre-training.
        original_context: f64,
        /// Dimensions that turn more often than this in the original context are kept.
        beta_fast: f64,
        /// Dimensions that turn less often than this are divided.
        beta_slow: f64,
        /// Whether the ends of the ramp are whole dimensions.
        truncate: bool,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
    },
    /// Each frequency divided by a factor of its own; other factors for sequences beyond the original context (LongRoPE:
    /// Ding et al. 2024, arXiv:2402.13753).
    Long {
        /// Divisors within the original context, R/2.
        short: Vec<f64>,
        /// Divisors beyond it, R/2.
        long: Vec<f64>,
        /// Context of the pre-training.
        original_context: f64,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
    },
}

/// One layer: attention and feed-forward with their norms.
#[derive(Debug, Clone)]
pub struct LayerDescription {
    /// Attention.
    pub attention: AttentionDescription,
    /// Feed-forward.
    pub feed_forward: FeedForward,
    /// How the two are added to the stream.
    pub residual: Residual,
    /// Norm of attention's input.
    pub attention_input: Option<NormDescription>,
    /// Norm of attention's output, before it is added.
    pub attention_output: Option<NormDescription>,
    /// Norm of the feed-forward's input.
    pub feed_forward_input: Option<NormDescription>,
    /// Norm of the feed-forward's output, before it is added.
    pub feed_forward_output: Option<NormDescription>,
    /// What attention's and the feed-forward's outputs are multiplied by before they are added.
    pub residual_scale: f32,
}

/// How attention and feed-forward are added to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// `x += attention(x); x += feed_forward(x)`.
    Sequential,
    /// `x += attention(x) + feed_forward(x)`, both reading the same `x`.
    Parallel,
}

/// Attention of one layer.
#[derive(Debug, Clone)]
pub struct AttentionDescription {
    /// Query heads, H.
    pub heads: usize,
    /// Key and value heads, G; H is a multiple of it.
    pub key_value_heads: usize,
    /// Width of a head, D.
    pub head_dim: usize,
    /// How queries, keys and values are computed.
    pub projections: Projections,
    /// From the heads back to the stream.
    pub output: LinearDescription,
    /// Norms of queries and keys.
    pub query_key_norm: Option<QueryKeyNorm>,
    /// Which rotary table turns queries and keys; none in layers without positions.
    pub rotary: Option<usize>,
    /// What scores are multiplied by.
    pub scale: f32,
    /// How many tokens back a query sees, itself included.
    pub window: Option<usize>,
    /// `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// How queries, keys and values are computed from the stream.
#[derive(Debug, Clone)]
pub enum Projections {
    /// Three linear layers.
    Separate {
        /// `[H·D, C]`
        query: LinearDescription,
        /// `[G·D, C]`
        key: LinearDescription,
        /// `[G·D, C]`
        value: LinearDescription,
    },
    /// One linear layer: all queries, then all keys, then all values.
    Fused(LinearDescription),
    /// One linear layer: query, key and value of the first head, then of the second, and so on (GPT-NeoX); H = G.
    FusedByHead(LinearDescription),
}

/// Norms of queries and keys.
#[derive(Debug, Clone)]
pub enum QueryKeyNorm {
    /// One norm of width D for each head.
    PerHead {
        /// Of the queries.
        query: NormDescription,
        /// Of the keys.
        key: NormDescription,
    },
    /// One norm over all heads together, before they are separated (OLMo 2).
    AllHeads {
        /// Of the queries, width H·D.
        query: NormDescription,
        /// Of the keys, width G·D.
        key: NormDescription,
    },
}

/// The feed-forward of one layer.
#[derive(Debug, Clone)]
pub enum FeedForward {
    /// `down(activation(gate(x)) · up(x))`.
    Gated {
        /// `[F, C]`
        gate: LinearDescription,
        /// `[F, C]`
        up: LinearDescription,
        /// `[C, F]`
        down: LinearDescription,
        /// Applied to the gate.
        activation: Activation,
    },
    /// The same with gate and up in one layer, gate first.
    FusedGated {
        /// `[2·F, C]`
        gate_up: LinearDescription,
        /// `[C, F]`
        down: LinearDescription,
        /// Applied to the gate.
        activation: Activation,
    },
    /// `down(activation(up(x)))`.
    Plain {
        /// `[F, C]`
        up: LinearDescription,
        /// `[C, F]`
        down: LinearDescription,
        /// Applied in between.
        activation: Activation,
    },
}

/// A linear layer.
#[derive(Debug, Clone)]
pub struct LinearDescription {
    /// Module name, without `.weight`.
    pub name: String,
    /// Input features.
    pub input: usize,
    /// Output features.
    pub output: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// How the weight is stored.
    pub layout: WeightLayout,
    /// Standard deviation of random initial values.
    pub deviation: f64,
}

/// A normalisation.
#[derive(Debug, Clone)]
pub struct NormDescription {
    /// Module name, without `.weight`.
    pub name: String,
    /// Width.
    pub width: usize,
    /// Which.
    pub kind: NormKind,
    /// Added under the root.
    pub epsilon: f64,
}

/// Which normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Root mean square, times the weight.
    Rms,
    /// Root mean square, times one plus the weight (Gemma).
    RmsPlusOne,
    /// Mean and variance, with weight and bias.
    Layer,
}

/// From hidden states to logits.
#[derive(Debug, Clone)]
pub struct OutputDescription {
    /// Module name, without `.weight`.
    pub name: String,
    /// Whether it is the token embedding; then it is not stored.
    pub tied: bool,
    /// What logits are multiplied by.
    pub scale: f32,
    /// `cap · tanh(logit / cap)`.
    pub softcap: Option<f32>,
    /// Standard deviation of random initial values.
    pub deviation: f64,
}

/// Initial values of a parameter when training starts from nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// Normal around zero with this standard deviation.
    Normal(f64),
    /// All zero.
    Zeros,
    /// All one.
    Ones,
}

/// One parameter of the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterDescription {
    /// Hugging Face name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Initial values.
    pub initial: Initial,
    /// Whether weight decay applies: not to norms and biases.
    pub decay: bool,
}

impl Description {
    /// Every stored parameter, in the order of the parts. A tied output is not among them.
    pub fn parameters(&self) -> Vec<ParameterDescription> {
        let mut list = Vec::new();
        let embedding = &self.embedding;
        push(
            &mut list,
            embedding.name.clone(),
            vec![self.vocabulary, self.hidden],
            Initial::Normal(embedding.deviation),
            true,
        );
        if let Some(name) = &embedding.positions {
            push(&mut list, name.clone(), vec![self.context, self.hidden], Initial::Normal(embedding.deviation), true);
        }
        for layer in &self.layers {
            layer.parameters(&mut list);
        }
        self.final_norm.parameters(&mut list);
        if !self.output.tied {
            let name = format!("{}.weight", self.output.name);
            push(&mut list, name, vec![self.vocabulary, self.hidden], Initial::Normal(self.output.deviation), true);
        }
        list
    }

    /// Every linear layer an adapter can be put on, in order. The output layer is not among them.
    pub fn linears(&self) -> Vec<&LinearDescription> {
        self.layers.iter().flat_map(LayerDescription::linears).collect()
    }
}

impl LayerDescription {
    fn parameters(&self, list: &mut Vec<ParameterDescription>) {
        for norm in [&self.attention_input, &self.attention_output, &self.feed_forward_input, &self.feed_forward_output]
            .into_iter()
            .flatten()
        {
            norm.parameters(list);
        }
        if let Some(QueryKeyNorm::PerHead { query, key } | QueryKeyNorm::AllHeads { query, key }) =
            &self.attention.query_key_norm
        {
            query.parameters(list);
            key.parameters(list);
        }
        for linear in self.linears() {
            linear.parameters(list);
        }
    }

    /// The linear layers, attention first.
    pub fn linears(&self) -> Vec<&LinearDescription> {
        let mut list = match &self.attention.projections {
            Projections::Separate { query, key, value } => vec![query, key, value],
            Projections::Fused(linear) | Projections::FusedByHead(linear) => vec![linear],
        };
        list.push(&self.attention.output);
        match &self.feed_forward {
            FeedForward::Gated { gate, up, down, .. } => list.extend([gate, up, down]),
            FeedForward::FusedGated { gate_up, down, .. } => list.extend([gate_up, down]),
            FeedForward::Plain { up, down, .. } => list.extend([up, down]),
        }
        list
    }
}

impl LinearDescription {
    /// Shape of the weight as it is stored.
    pub fn shape(&self) -> Vec<usize> {
        match self.layout {
            WeightLayout::OutputByInput => vec![self.output, self.input],
            WeightLayout::InputByOutput => vec![self.input, self.output],
        }
    }

    fn parameters(&self, list: &mut Vec<ParameterDescription>) {
        push(list, format!("{}.weight", self.name), self.shape(), Initial::Normal(self.deviation), true);
        if self.bias {
            push(list, format!("{}.bias", self.name), vec![self.output], Initial::Zeros, false);
        }
    }
}

impl NormDescription {
    fn parameters(&self, list: &mut Vec<ParameterDescription>) {
        let initial = if self.kind == NormKind::RmsPlusOne { Initial::Zeros } else { Initial::Ones };
        push(list, format!("{}.weight", self.name), vec![self.width], initial, false);
        if self.kind == NormKind::Layer {
            push(list, format!("{}.bias", self.name), vec![self.width], Initial::Zeros, false);
        }
    }
}

fn push(list: &mut Vec<ParameterDescription>, name: String, shape: Vec<usize>, initial: Initial, decay: bool) {
    list.push(ParameterDescription { name, shape, initial, decay });
}
