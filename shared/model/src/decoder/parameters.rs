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
    /// Every trained parameter, in a fixed order: tensors of the base model first, then the adapter's factors.
    pub fn trainable(&self) -> Vec<Parameter> {
        self.weights()
            .into_iter()
            .chain(self.adapter_weights())
            .filter_map(|weight| {
                let var = weight.variable()?.clone();
                Some(Parameter { name: weight.stored_name().to_owned(), var, decay: weight.decay })
            })
            .collect()
    }

    /// Number of the base's parameters.
    pub fn parameter_count(&self) -> u64 {
        self.weights().iter().map(|weight| weight.held().elem_count() as u64).sum()
    }

    /// Every base parameter under its Hugging Face name, in a fixed order; a tied output is left out. Weights that are held
    /// in fewer bits are widened to f32.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.weights().into_iter().map(named).collect()
    }

    /// The adapter's tensors under PEFT's names, in the order of the layers, then biases and whole modules that train with
    /// it; empty without an adapter.
    pub fn adapter_parameters(&self) -> Vec<(String, Tensor)> {
        let extras = self.weights().into_iter().filter(|weight| weight.is_with_adapter());
        let stored = |weight: &Weight| (weight.stored_name().to_owned(), weight.tensor().detach());
        let twice = self.tied_key.iter().map(|key| (key.clone(), self.output_weight().detach()));
        self.adapter_weights().into_iter().chain(extras).map(stored).chain(twice).collect()
    }

    /// Names of the base parameters.
    pub(crate) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.weights().into_iter().map(|weight| weight.name.as_str())
    }

    /// Every base parameter with the adapter folded in, in f32. Where [`Decoder::is_untied`], the output is among them.
    ///
    /// # Errors
    /// An adapter's bias on a layer that has none, or where the arithmetic fails.
    pub fn merged(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let mut parameters = self.parameters();
        let mut set = |name: &str, value: Tensor| {
            let place = parameters.iter_mut().find(|(known, _)| known == name);
            place.expect("every tensor of a linear layer is a parameter").1 = value;
        };
        for linear in self.linears() {
            let Some(lora) = &linear.lora else { continue };
            set(&linear.weight.name, lora.merged_weight(linear)?);
            if let (Some(merged), Some(bias)) = (lora.merged_bias(linear)?, &linear.bias) {
                set(&bias.name, merged);
            }
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
            .flat_map(crate::parts::Lora::weights)
            .collect()
    }

    /// The base weights in any order, to be trained with an adapter or given back.
    pub(crate) fn weights_mut(&mut self) -> Vec<&mut Weight> {
        let mut list: Vec<_> = self.embedding.weights_mut().collect();
        list.extend(self.layers.iter_mut().flat_map(crate::parts::Layer::weights_mut));
        list.extend(self.final_norm.weights_mut());
        list.extend(&mut self.output);
        list
    }
}

fn named(weight: &Weight) -> (String, Tensor) {
    (weight.name.clone(), weight.widened().expect("a weight that is held has a tensor's shape"))
}
