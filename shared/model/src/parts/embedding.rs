//! Token embedding: the table's rows, scaled, with learned positions added where the architecture has them.

use candle_core::Tensor;

use super::weight::{Weight, WeightBook};
use crate::ModelError;
use crate::description::EmbeddingDescription;

/// Token (and learned position) embedding.
#[derive(Debug, Clone)]
pub(crate) struct Embedding {
    /// `[V, C]`
    pub(crate) table: Weight,
    positions: Option<Weight>,
    scale: f32,
}

impl Embedding {
    pub(crate) fn build(description: &EmbeddingDescription, book: &mut WeightBook) -> Self {
        Self {
            table: book.take(&description.name),
            positions: description.positions.as_deref().map(|name| book.take(name)),
            scale: description.scale,
        }
    }

    /// `[N, C]` from N ids and their positions.
    pub(crate) fn forward(&self, input_ids: &[u32], position_ids: &[u32]) -> Result<Tensor, ModelError> {
        let table = self.table.tensor();
        let mut x = kernels::embedding(&Tensor::new(input_ids, table.device())?, table)?;
        if self.scale != 1.0 {
            x = kernels::scale(&x, f64::from(self.scale))?;
        }
        if let Some(positions) = &self.positions {
            let added = kernels::embedding(&Tensor::new(position_ids, table.device())?, positions.tensor())?;
            x = kernels::sum(&x, &added)?;
        }
        Ok(x)
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.table).chain(&self.positions)
    }

    pub(crate) fn weights_mut(&mut self) -> impl Iterator<Item = &mut Weight> {
        std::iter::once(&mut self.table).chain(&mut self.positions)
    }
}
