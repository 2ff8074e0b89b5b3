//! A linear layer, with its low-rank adapter where it has one: `y = x·Wᵀ + b + scale·(dropout(x)·Aᵀ)·Bᵀ`.
//! Hu et al. 2021, arXiv:2106.09685.

use candle_core::Tensor;
use kernels::{Dropout, WeightLayout};

use super::weight::{Weight, WeightBook};
use crate::description::LinearDescription;
use crate::{Mode, ModelError, random};

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

/// The adapter of one linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Lora {
    /// `[r, in]`
    pub(crate) a: Weight,
    /// `[out, r]`
    pub(crate) b: Weight,
    pub(crate) scale: f32,
    pub(crate) dropout: f32,
}

impl Lora {
    pub(crate) fn rank(&self) -> usize {
        self.a.tensor().dims()[0]
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        [&self.a, &self.b].into_iter()
    }
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
        let weight = self.weight.tensor();
        let bias = self.bias.as_ref().map(Weight::tensor);
        if mode == Mode::Generate {
            return self.generate(x, weight, bias);
        }
        let Some(lora) = &self.lora else {
            return Ok(kernels::linear(x, weight, bias, self.layout)?);
        };
        let dropout = match mode {
            Mode::Train { dropout_seed } if lora.dropout > 0.0 => {
                Some(Dropout { probability: lora.dropout, seed: random::key(dropout_seed, &self.name) })
            }
            _ => None,
        };
        Ok(kernels::linear_lora(x, weight, bias, self.layout, lora.a.tensor(), lora.b.tensor(), lora.scale, dropout)?)
    }

    fn generate(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let y = kernels::linear_rows_independent(x, weight, bias, self.layout)?;
        let Some(lora) = &self.lora else { return Ok(y) };
        let factor = WeightLayout::OutputByInput;
        let low = kernels::linear_rows_independent(x, lora.a.tensor(), None, factor)?;
        let change = kernels::linear_rows_independent(&low, lora.b.tensor(), None, factor)?;
        Ok((y + (change * f64::from(lora.scale))?)?)
    }

    /// The weight with the adapter folded in, `W + scale·B·A`, in the weight's own layout.
    pub(crate) fn merged_weight(&self) -> Result<Tensor, ModelError> {
        let Some(lora) = &self.lora else { return Ok(self.weight.tensor().clone()) };
        let (a, b) = (lora.a.tensor().detach(), lora.b.tensor().detach());
        let change = match self.layout {
            WeightLayout::OutputByInput => b.matmul(&a)?,
            WeightLayout::InputByOutput => a.t()?.contiguous()?.matmul(&b.t()?.contiguous()?)?,
        };
        Ok((self.weight.tensor().detach() + (change * f64::from(lora.scale))?)?)
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}

/// The blocks of columns that a fused layer's output `[N, sum of widths]` is made of. All of them must be used.
pub(crate) fn blocks<const COUNT: usize>(x: &Tensor, widths: [usize; COUNT]) -> Result<[Tensor; COUNT], ModelError> {
    let blocks = kernels::split_columns(x, &widths)?;
    Ok(blocks.try_into().expect("one block for each width"))
}
