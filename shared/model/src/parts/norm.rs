//! Root-mean-square norm (Zhang and Sennrich 2019) and layer norm (Ba et al. 2016), over the last dimension.

use candle_core::Tensor;

use super::weight::{Weight, WeightBook};
use crate::ModelError;
use crate::description::{NormDescription, NormKind};

/// A normalisation.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    kind: NormKind,
    epsilon: f64,
    weight: Weight,
    bias: Option<Weight>,
}

impl Norm {
    pub(crate) fn build(description: &NormDescription, book: &mut WeightBook) -> Self {
        Self {
            kind: description.kind,
            epsilon: description.epsilon,
            weight: book.take(&format!("{}.weight", description.name)),
            bias: (description.kind == NormKind::Layer).then(|| book.take(&format!("{}.bias", description.name))),
        }
    }

    /// `x` is `[N, C]` with C the norm's width; the result has its shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let weight = self.weight.tensor();
        Ok(match (self.kind, &self.bias) {
            (NormKind::Layer, Some(bias)) => kernels::layer_norm(x, weight, bias.tensor(), self.epsilon)?,
            (NormKind::RmsPlusOne, _) => kernels::rms_norm(x, weight, self.epsilon, 1.0)?,
            _ => kernels::rms_norm(x, weight, self.epsilon, 0.0)?,
        })
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    pub(crate) fn weights_mut(&mut self) -> impl Iterator<Item = &mut Weight> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}
