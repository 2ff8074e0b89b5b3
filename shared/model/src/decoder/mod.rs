//! The decoder: one implementation of every architecture, from tokens to hidden states, logits and loss.

mod backward;
mod decode;
mod footprint;
mod hold;
mod load;
mod parameters;
mod passes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kernels::FrozenWeight;

use crate::description::Description;
use crate::lora::LoraConfig;
use crate::parts::{Embedding, Layer, Norm, RotaryTable, Weight};

pub use footprint::{Footprint, Workload};
pub use hold::Hold;
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
    rotary: Arc<Vec<RotaryTable>>,
    embedding: Embedding,
    layers: Vec<Layer>,
    final_norm: Norm,
    /// `[V, C]`; none where the output is tied to the embedding.
    output: Option<Weight>,
    /// The base's output weight a second time: as it is stored, for decoding (fewer bytes to read, the same bits out), or in
    /// 8 bits, for the logits of training.
    stored_output: Option<FrozenWeight>,
    pub(crate) adapter: Option<LoraConfig>,
    /// Name under which the adapter stores the embedding a second time, as the output that is tied to it.
    pub(crate) tied_key: Option<String>,
    regularisation: Regularisation,
}

/// What makes training harder on purpose; it acts in [`crate::Mode::Train`] alone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Regularisation {
    /// NEFTune's noise on the embedded tokens; 0 is none.
    pub neftune_alpha: f64,
    /// Share of each target's weight that is spread over the vocabulary; 0 is none.
    pub label_smoothing: f64,
}

impl Decoder {
    /// The parts it is made of.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The same decoder, sharing its weights, with other settings for training.
    #[must_use]
    pub fn regularised(&self, regularisation: Regularisation) -> Self {
        Self { regularisation, ..self.clone() }
    }

    /// The settings of its adapter.
    pub fn adapter(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref()
    }

    /// The base alone, sharing its weights: the baseline that costs no second load.
    pub fn without_adapter(&self) -> Self {
        let mut base = self.clone();
        base.adapter = None;
        base.tied_key = None;
        for linear in base.linears_mut() {
            linear.lora = None;
        }
        for weight in base.weights_mut() {
            weight.remove_adapter();
        }
        if base.description.output.tied {
            base.output = None;
        }
        base
    }

    /// Whether the output, tied to the embedding by the configuration, has become a tensor of its own: an adapter trained
    /// one of the two. A merged model must then say `tie_word_embeddings: false`.
    pub fn is_untied(&self) -> bool {
        self.description.output.tied && self.output.is_some()
    }

    pub(crate) fn set_output(&mut self, weight: Weight) {
        self.output = Some(weight);
    }
}
