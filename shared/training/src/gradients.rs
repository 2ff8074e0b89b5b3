//! Gradients of the trainable tensors, summed over the micro-batches of a step.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use model::Parameter;

use crate::TrainingError;

/// One gradient per trainable tensor, in the model's order; `None` where none arrived.
#[derive(Debug)]
pub(crate) struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    pub(crate) fn none(parameters: usize) -> Self {
        Self(vec![None; parameters])
    }

    /// Adds what one backward pass left in `store`.
    pub(crate) fn add(&mut self, parameters: &[Parameter], store: &mut GradStore) -> Result<(), TrainingError> {
        for (sum, parameter) in self.0.iter_mut().zip(parameters) {
            if let Some(gradient) = store.remove(parameter.var.as_tensor()) {
                match sum {
                    None => *sum = Some(gradient),
                    Some(sum) => kernels::add_into(sum, &gradient)?,
                }
            }
        }
        Ok(())
    }

    /// Adds a gradient of zeros.
    pub(crate) fn add_zeros(&mut self, parameters: &[Parameter]) -> Result<(), TrainingError> {
        for (sum, parameter) in self.0.iter_mut().zip(parameters).filter(|(sum, _)| sum.is_none()) {
            *sum = Some(parameter.var.zeros_like()?);
        }
        Ok(())
    }

    /// The gradients, once every tensor has one.
    pub(crate) fn complete(&self, parameters: &[Parameter], step: usize) -> Result<Vec<&Tensor>, TrainingError> {
        let missing = self.0.iter().zip(parameters).filter(|(gradient, _)| gradient.is_none());
        let names: Vec<String> = missing.map(|(_, parameter)| parameter.name.clone()).collect();
        if names.is_empty() {
            Ok(self.0.iter().flatten().collect())
        } else {
            Err(TrainingError::NoGradient { step, names })
        }
    }
}
