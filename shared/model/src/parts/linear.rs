//! A linear layer, `y = x·Wᵀ + b`, with its low-rank adapter where it has one.

use candle_core::Tensor;
use kernels::WeightLayout;

use super::lora::Lora;
use super::weight::{Weight, WeightBook};
use crate::description::LinearDescription;
use crate::{Mode, ModelError};

/// A linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// Module name, without `.weight`.
    pub(crate) name: String,
    pub(crate) weight: Weight,
    pub(crate) bias: Option<Weight>,
    pub(crate) layout: WeightLayout,
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) lora: Option<Lora>,
}

impl Linear {
    pub(crate) fn build(description: &LinearDescription, book: &mut WeightBook) -> Self {
        Self {
            weight: book.take(&format!("{}.weight", description.name)),
            bias: description.bias.then(|| book.take(&format!("{}.bias", description.name))),
            name: description.name.clone(),
            layout: description.layout,
            input: description.input,
            output: description.output,
            lora: None,
        }
    }

    /// `x` is `[N, in]`, the result `[N, out]`.
    pub(crate) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, ModelError> {
        if let Some(lora) = &self.lora {
            return lora.forward(self, x, mode);
        }
        let (weight, bias) = (self.weight.held(), self.bias.as_ref().map(Weight::tensor));
        Ok(match mode {
            Mode::Generate => kernels::linear_rows_independent_frozen(x, weight, bias, self.layout)?,
            Mode::Evaluate | Mode::Train { .. } => kernels::linear_frozen(x, weight, bias, self.layout)?,
        })
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    pub(crate) fn weights_mut(&mut self) -> impl Iterator<Item = &mut Weight> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}

/// The blocks of columns that a fused layer's output `[N, sum of widths]` is made of. All of them must be used.
pub(crate) fn blocks<const COUNT: usize>(x: &Tensor, widths: [usize; COUNT]) -> Result<[Tensor; COUNT], ModelError> {
    let blocks = kernels::split_columns(x, &widths)?;
    Ok(blocks.try_into().expect("one block for each width"))
}
