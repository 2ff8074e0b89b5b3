//! In which form the frozen weights of linear layers are held in memory.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use kernels::{BlockFormat, FrozenWeight, Int8Matrix, Nf4, StoredMatrix, WeightLayout};

use crate::{ModelError, TensorSource};

/// How frozen weights of linear layers are held. Embeddings, norms, biases and the output layer
/// stay in f32; under [`Hold::Int8`] training has the output layer in 8 bits too, for its logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// In f32, whatever they are stored in.
    InFull,
    /// As they are stored: 16 bits stay 16 bits, quantised blocks stay blocks.
    AsStored,
    /// Quantised in blocks; rows that are no whole number of them in [`Hold::fallback`].
    Blocks(BlockFormat),
    /// Quantised in NF4 with double quantisation (QLoRA).
    Nf4,
    /// Quantised in 8 bits for each output, and computed with in 8 bits.
    Int8,
}

impl Hold {
    /// The format that takes the place of one whose blocks do not divide a row, as llama.cpp chooses it.
    pub fn fallback(format: BlockFormat) -> BlockFormat {
        match format {
            BlockFormat::Q4_K => BlockFormat::Q5_0,
            BlockFormat::Q5_K => BlockFormat::Q5_1,
            BlockFormat::Q6_K => BlockFormat::Q8_0,
            _ => BlockFormat::F16,
        }
    }

    /// The format, of this one and its fallbacks, whose blocks divide rows of so many elements.
    pub fn format_for(mut format: BlockFormat, columns: usize) -> BlockFormat {
        while format.row_bytes(columns).is_none() {
            format = Self::fallback(format);
        }
        format
    }

    /// Reads one weight of a linear layer.
    pub(super) fn read(
        self,
        source: &dyn TensorSource,
        name: &str,
        layout: WeightLayout,
    ) -> Result<FrozenWeight, ModelError> {
        if self == Self::AsStored
            && let Some(matrix) = source.matrix(name)?
        {
            return Ok(FrozenWeight::Stored(Arc::new(matrix)));
        }
        let tensor = source.tensor(name)?.to_dtype(DType::F32)?.contiguous()?;
        self.encode(tensor, layout)
    }

    pub(super) fn encode(self, tensor: Tensor, layout: WeightLayout) -> Result<FrozenWeight, ModelError> {
        let shape = tensor.dims2()?;
        let values = || tensor.flatten_all()?.to_vec1::<f32>();
        let stored = |matrix| FrozenWeight::Stored(Arc::new(matrix));
        Ok(match self {
            Self::InFull | Self::AsStored => FrozenWeight::Full(tensor),
            Self::Blocks(format) => stored(StoredMatrix::encode(Self::format_for(format, shape.1), shape, &values()?)?),
            Self::Nf4 => stored(StoredMatrix::Nf4(Nf4::encode(shape, &values()?))),
            Self::Int8 => FrozenWeight::Int8(Arc::new(Int8Matrix::encode(layout, shape, &values()?)?)),
        })
    }
}
