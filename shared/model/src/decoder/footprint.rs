//! What a training step needs of memory, counted from the parts and not measured: the weights, what each layer keeps
//! between its forward and its backward pass, and what is alive for a moment only. The passes of `backward.rs` are
//! followed one by one, and the largest sum is the peak.

use super::Decoder;
use crate::description::{AttentionDescription, Description, FeedForward, LayerDescription, Residual};
use crate::parts::{Lora, Weight};

const F32: u64 = 4;
/// Inner rows of a layer, for each of its inner values, that products hold besides as packed copies, and that replaced
/// buffers take before they are used again: measured.
const PACKED: usize = 2;
/// Copies of the gradient of a vocabulary's table beyond those that are counted: measured.
const TABLES: u64 = 2;

/// The largest micro-batch of a run, and how it is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Tokens that go through the model together, N.
    pub tokens: usize,
    /// How many of them have a label.
    pub targets: usize,
    /// Into how many losses those are parted whose gradients are held side by side: of preference pairs, each answer has its
    /// own; otherwise 1.
    pub losses: usize,
    /// Whether a step adds up the gradients of several micro-batches.
    pub accumulates: bool,
    /// Of so many first layers only the input is kept.
    pub checkpointed_layers: usize,
    /// Tokens of the largest pass of a validation; 0 where there is none.
    pub scored_tokens: usize,
}

/// Bytes by kind at the moment of the peak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Base and adapter.
    pub weights: u64,
    /// Gradients of the trained tensors, as far as they are known at the peak.
    pub gradients: u64,
    /// Both moments of AdamW.
    pub optimizer: u64,
    /// What the layers keep for their backward pass.
    pub activations: u64,
    /// The logits of one chunk of rows.
    pub logits: u64,
    /// What one layer, or the head, needs for a moment.
    pub work: u64,
}

impl Footprint {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.work
    }
}

/// Elements for one layer; those marked "per token" are multiplied by N.
struct LayerCount {
    /// Its input, per token.
    input: usize,
    /// All that it keeps where it is not computed again, its input included, per token.
    kept: usize,
    /// What is made again in its backward pass, per token.
    remade: usize,
    /// What products and replaced buffers take besides, per token.
    packed: usize,
    /// What its backward pass needs besides, per token.
    work: usize,
    /// Its trained elements, and those of its largest trained tensor.
    trained: (usize, usize),
}

impl Decoder {
    /// Bytes of the weights, base and adapter, as they are held.
    pub fn weight_bytes(&self) -> u64 {
        let second = self.stored_output.as_ref().map_or(0, |held| held.bytes() as u64);
        self.every_weight().map(|weight| weight.held().bytes() as u64).sum::<u64>() + second
    }

    /// The memory of a training step at its peak, the program itself, the rows and what the allocator keeps apart.
    pub fn footprint(&self, workload: Workload) -> Footprint {
        let layers: Vec<LayerCount> = (0..self.layers.len()).map(|index| self.layer_count_of(index)).collect();
        let trained: u64 = self.every_weight().map(|weight| trained(weight) as u64).sum();
        let fixed = Footprint { weights: self.weight_bytes(), optimizer: 2 * F32 * trained, ..Footprint::default() };
        let before = if workload.accumulates { F32 * trained } else { 0 };
        let moments = [self.head(&layers, workload, fixed, before)]
            .into_iter()
            .chain(self.backwards(&layers, workload, fixed, before))
            .chain([self.lookup(fixed, trained), self.scoring(&layers, workload.scored_tokens, fixed)]);
        moments.max_by_key(Footprint::total).expect("there is always a head")
    }

    fn every_weight(&self) -> impl Iterator<Item = &Weight> {
        self.weights().into_iter().chain(self.adapter_weights())
    }

    /// While the loss is computed everything is kept.
    fn head(&self, layers: &[LayerCount], workload: Workload, fixed: Footprint, before: u64) -> Footprint {
        let Description { vocabulary, hidden, .. } = *self.description();
        let of_loss = workload.targets.div_ceil(workload.losses.max(1));
        let (tokens, rows) = (workload.tokens as u64, kernels::logit_rows(vocabulary).min(of_loss) as u64);
        let stream = F32 * tokens * hidden as u64;
        let logits = F32 * rows * vocabulary as u64;
        let of_weight = F32 * trained(self.output.as_ref().unwrap_or(&self.embedding.table)) as u64;
        // Each loss but the last waits with its gradient of the weight.
        let waiting = (workload.losses.max(1) as u64 - 1) * of_weight;
        // The last layer's result, the hidden states and their gradient; then that gradient twice more, or the logits.
        let with_logits = F32 * rows * hidden as u64 + (1 + TABLES) * of_weight + waiting;
        let without = 2 * stream + (3 + TABLES) * of_weight + waiting;
        let kept = kept_below(layers, workload, layers.len());
        if logits + with_logits >= without {
            return Footprint { activations: kept, logits, work: 3 * stream + with_logits, gradients: before, ..fixed };
        }
        // The memory of the logits is used again.
        Footprint { activations: kept, work: 3 * stream + without, gradients: before, ..fixed }
    }

    /// The backward pass of each layer, last one first: it is whole, and those above it are gone.
    fn backwards(
        &self,
        layers: &[LayerCount],
        workload: Workload,
        fixed: Footprint,
        before: u64,
    ) -> impl Iterator<Item = Footprint> {
        let tokens = workload.tokens as u64;
        let head = F32 * trained(self.output.as_ref().unwrap_or(&self.embedding.table)) as u64;
        let mut gradients = if before > 0 { before } else { head };
        (0..layers.len()).rev().map(move |index| {
            let layer = &layers[index];
            if before == 0 {
                gradients += F32 * layer.trained.0 as u64;
            }
            let inner = if index < workload.checkpointed_layers { layer.kept - layer.input } else { 0 };
            let moment = layer.remade + inner + layer.work;
            Footprint {
                activations: kept_below(layers, workload, index + 1),
                work: F32 * (tokens * moment as u64 + 2 * layer.trained.1 as u64),
                gradients,
                ..fixed
            }
        })
    }

    /// The embedding's own gradient comes last, where the table is trained.
    fn lookup(&self, fixed: Footprint, trained_elements: u64) -> Footprint {
        let table = F32 * trained(&self.embedding.table) as u64;
        Footprint { gradients: F32 * trained_elements, work: (3 + TABLES) * table, ..fixed }
    }

    /// A pass without gradients holds one layer at a time, then the logits of a chunk.
    fn scoring(&self, layers: &[LayerCount], tokens: usize, fixed: Footprint) -> Footprint {
        let Description { vocabulary, hidden, .. } = *self.description();
        let layer = layers.iter().map(|layer| layer.kept + layer.remade + layer.packed).max().unwrap_or(0);
        let logits = F32 * (kernels::logit_rows(vocabulary).min(tokens) * vocabulary) as u64;
        Footprint { work: F32 * (tokens * (layer + 5 * hidden)) as u64, logits, ..fixed }
    }

    fn layer_count_of(&self, index: usize) -> LayerCount {
        let description = &self.description.layers[index];
        let hidden = self.description.hidden;
        let linears = self.layers[index].linears();
        let ranks: usize = linears.iter().filter_map(|linear| linear.lora.as_ref()).map(Lora::rank).sum();
        let adapters = linears.iter().filter_map(|linear| linear.lora.as_ref()).flat_map(Lora::weights);
        let trained: Vec<usize> = self.layers[index].weights().into_iter().chain(adapters).map(trained).collect();
        let (attention, attention_work) = attention(&description.attention);
        let (feed_forward, inner, feed_forward_work) = feed_forward(&description.feed_forward);
        // The inner values: what is kept of them, and the one that is made again.
        let packed = PACKED * (feed_forward + inner);
        let decomposed: usize =
            linears.iter().map(|linear| linear.lora.as_ref().map_or(0, |lora| lora.kept_by_dora(linear))).sum();
        LayerCount {
            input: hidden,
            kept: hidden + ranks + attention + stream(description, hidden) + feed_forward + decomposed,
            remade: norms(description) * hidden + inner,
            packed,
            work: attention_work.max(feed_forward_work) + packed + 3 * hidden,
            trained: (trained.iter().sum(), trained.iter().copied().max().unwrap_or(0)),
        }
    }
}

fn trained(weight: &Weight) -> usize {
    weight.variable().map_or(0, |variable| variable.elem_count())
}

/// Bytes that the first `count` layers keep.
fn kept_below(layers: &[LayerCount], workload: Workload, count: usize) -> u64 {
    let of = |(index, layer): (usize, &LayerCount)| {
        if index < workload.checkpointed_layers { layer.input } else { layer.kept }
    };
    F32 * workload.tokens as u64 * layers[..count].iter().enumerate().map(of).sum::<usize>() as u64
}

/// queries, keys and values as they are attended to, the result and two numbers of each query; and what the backward pass needs.
fn attention(description: &AttentionDescription) -> (usize, usize) {
    let (queries, keys) =
        (description.heads * description.head_dim, description.key_value_heads * description.head_dim);
    let before_norm = if description.query_key_norm.is_some() { queries + keys } else { 0 };
    (2 * queries + 2 * keys + 2 * description.heads + before_norm, 4 * queries + 6 * keys)
}

/// What is kept of a feed-forward, what is made again, and what its backward pass needs.
fn feed_forward(description: &FeedForward) -> (usize, usize, usize) {
    match description {
        FeedForward::Gated { down, .. } => (2 * down.input, down.input, 5 * down.input),
        FeedForward::FusedGated { down, .. } => (2 * down.input, down.input, 8 * down.input),
        FeedForward::Plain { down, .. } => (down.input, down.input, 4 * down.input),
    }
}

/// The stream between attention and feed-forward, and what a norm after either of them reads.
fn stream(description: &LayerDescription, hidden: usize) -> usize {
    let between = usize::from(description.residual == Residual::Sequential);
    let scaled = description.residual_scale != 1.0;
    let after = [&description.attention_output, &description.feed_forward_output];
    (between + after.into_iter().filter(|norm| norm.is_some() || scaled).count()) * hidden
}

fn norms(description: &LayerDescription) -> usize {
    usize::from(description.attention_input.is_some()) + usize::from(description.feed_forward_input.is_some())
}
