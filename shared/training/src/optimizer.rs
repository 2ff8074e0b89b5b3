//! AdamW: Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW`.
//!
//! ```text
//! p ← p · (1 − lr · decay)
//! m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
//! p ← p − lr / (1 − β₁ᵏ) · m / (√v / √(1 − β₂ᵏ) + ε)
//! ```
//!
//! The arithmetic is [`kernels::adamw_update`]; here are the state and which tensor gets which settings.

use candle_core::Tensor;
use kernels::AdamWStep;
use model::Parameter;

use crate::{Options, TrainingError};

/// AdamW's state for one tensor. It is open: a checkpoint must hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The tensor's name.
    pub name: String,
    /// The tensor's shape, which both moments share.
    pub shape: Vec<usize>,
    /// Decayed mean of the gradient, row by row.
    pub first: Vec<f32>,
    /// Decayed mean of the squared gradient, row by row.
    pub second: Vec<f32>,
}

/// The optimizer and its state.
#[derive(Debug)]
pub(crate) struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    decay_all: bool,
    lora_plus_ratio: f64,
    moments: Vec<Moments>,
}

impl AdamW {
    /// Moments of zero for each parameter.
    pub(crate) fn new(options: &Options, parameters: &[Parameter]) -> Self {
        let zeros = |parameter: &Parameter| Moments {
            name: parameter.name.clone(),
            shape: parameter.var.dims().to_vec(),
            first: vec![0.0; parameter.var.elem_count()],
            second: vec![0.0; parameter.var.elem_count()],
        };
        Self {
            beta1: options.beta1,
            beta2: options.beta2,
            epsilon: options.epsilon,
            weight_decay: options.weight_decay,
            decay_all: options.decay_norms_and_biases,
            lora_plus_ratio: options.lora_plus_ratio,
            moments: parameters.iter().map(zeros).collect(),
        }
    }

    /// The state, in the order of the parameters.
    pub(crate) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Takes in saved moments, in any order.
    pub(crate) fn restore(&mut self, saved: Vec<Moments>) -> Result<(), TrainingError> {
        let differs = |what| Err(TrainingError::State { what });
        if saved.len() != self.moments.len() {
            return differs(format!(
                "it has moments of {} tensors, the model trains {}",
                saved.len(),
                self.moments.len()
            ));
        }
        let mut by_name: std::collections::BTreeMap<String, Moments> =
            saved.into_iter().map(|moments| (moments.name.clone(), moments)).collect();
        for own in &mut self.moments {
            let Some(found) = by_name.remove(&own.name) else {
                return differs(format!("it has no moments of {}", own.name));
            };
            if found.shape != own.shape
                || found.first.len() != own.first.len()
                || found.second.len() != own.second.len()
            {
                return differs(format!(
                    "moments of {} have shape {:?}, the tensor {:?}",
                    own.name, found.shape, own.shape
                ));
            }
            *own = found;
        }
        Ok(())
    }

    /// One update of every parameter; the gradients are multiplied by `gradient_scale` first.
    pub(crate) fn update(
        &mut self,
        parameters: &[Parameter],
        gradients: &[&Tensor],
        step: usize,
        learning_rate: f64,
        gradient_scale: f64,
    ) -> Result<(), TrainingError> {
        for ((parameter, gradient), moments) in parameters.iter().zip(gradients).zip(&mut self.moments) {
            // As PEFT's `create_loraplus_optimizer` groups them: second factors and vectors are fast.
            let fast = parameter.name.contains("lora_B") || parameter.var.rank() == 1;
            let step = AdamWStep {
                step: step as u64,
                learning_rate: if fast { learning_rate * self.lora_plus_ratio } else { learning_rate },
                beta1: self.beta1,
                beta2: self.beta2,
                epsilon: self.epsilon,
                weight_decay: if parameter.decay || self.decay_all { self.weight_decay } else { 0.0 },
                gradient_scale,
            };
            kernels::adamw_update(&parameter.var, gradient, &mut moments.first, &mut moments.second, &step)?;
        }
        Ok(())
    }
}
