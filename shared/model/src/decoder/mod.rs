//! The decoder: one implementation of every architecture, from tokens to hidden states, logits and loss.

mod backward;
mod decode;
mod footprint;
mod load;
mod parameters;
mod passes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::description::Description;
use crate::lora::LoraConfig;
use crate::parts::{Embedding, Layer, Norm, Weight};

pub use footprint::{Footprint, Workload};
pub use parameters::Parameter;
pub use passes::Pass;

/// Which parameters of a base model are variables, that is, trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trainable {
    /// All of them: full tuning.
    All,
    /// None: inference, or a base under an adapter. No gradient is computed for them, and none is kept.
    Nothing,
}

/// A decoder with its weights, and its low-rank adapter where it has one. Clones share their weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    description: Arc<Description>,
    /// Frequencies of each rotary table.
    frequencies: Arc<Vec<Vec<f32>>>,
    embedding: Embedding,
    layers: Vec<Layer>,
    final_norm: Norm,
    /// `[V, C]`; none where the output is tied to the embedding.
    output: Option<Weight>,
    pub(crate) adapter: Option<LoraConfig>,
}

impl Decoder {
    /// The parts it is made of.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The settings of its adapter.
    pub fn adapter(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref()
    }

    /// The base alone, sharing its weights: the baseline that costs no second load.
    pub fn without_adapter(&self) -> Self {
        let mut base = self.clone();
        base.adapter = None;
        for linear in base.linears_mut() {
            linear.lora = None;
        }
        base
    }
}
