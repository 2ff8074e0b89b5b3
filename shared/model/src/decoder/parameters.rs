//! The decoder's tensors by name: to train them, to save them, with the adapter apart or folded in.

use candle_core::{Tensor, Var};

use super::Decoder;
use crate::ModelError;
use crate::parts::{Linear, Weight};

/// A trained parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name: Hugging Face's, or PEFT's for an adapter.
    pub name: String,
    /// The variable; an optimizer writes into it.
    pub var: Var,
    /// Whether weight decay applies: not to norms and biases.
    pub decay: bool,
}

impl Decoder {
    /// Every trained parameter, in a fixed order: base parameters first, then the adapter's.
    pub fn trainable(&self) -> Vec<Parameter> {
        self.weights()
            .into_iter()
            .chain(self.adapter_weights())
            .filter_map(|weight| {
                let var = weight.variable()?.clone();
                Some(Parameter { name: weight.name.clone(), var, decay: weight.decay })
            })
            .collect()
    }

    /// Every base parameter under its Hugging Face name, in a fixed order; a tied output is left out.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.weights().into_iter().map(named).collect()
    }

    /// The adapter's tensors under PEFT's names, in the order of the layers; empty without an adapter.
    pub fn adapter_parameters(&self) -> Vec<(String, Tensor)> {
        self.adapter_weights().into_iter().map(named).collect()
    }

    /// Every base parameter with the adapter folded in: `W + scale·B·A`, in f32.
    ///
    /// # Errors
    /// Where the arithmetic fails.
    pub fn merged(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let mut parameters = self.parameters();
        for linear in self.linears().into_iter().filter(|linear| linear.lora.is_some()) {
            let place = parameters
                .iter_mut()
                .find(|(name, _)| *name == linear.weight.name)
                .expect("every linear layer's weight is a parameter");
            place.1 = linear.merged_weight()?;
        }
        Ok(parameters)
    }

    /// The linear layers, in order.
    pub(crate) fn linears(&self) -> Vec<&Linear> {
        self.layers.iter().flat_map(crate::parts::Layer::linears).collect()
    }

    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.layers.iter_mut().flat_map(crate::parts::Layer::linears_mut).collect()
    }

    /// The base weights in the order of `Description::parameters`.
    pub(super) fn weights(&self) -> Vec<&Weight> {
        let mut list: Vec<_> = self.embedding.weights().collect();
        list.extend(self.layers.iter().flat_map(crate::parts::Layer::weights));
        list.extend(self.final_norm.weights());
        list.extend(&self.output);
        list
    }

    pub(super) fn adapter_weights(&self) -> Vec<&Weight> {
        self.linears()
            .into_iter()
            .filter_map(|linear| linear.lora.as_ref())
            .flat_map(|lora| [&lora.a, &lora.b])
            .collect()
    }
}

fn named(weight: &Weight) -> (String, Tensor) {
    (weight.name.clone(), weight.tensor().detach())
}
