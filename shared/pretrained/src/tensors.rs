//! Between safetensors bytes and tensors.

use std::borrow::Cow;

use artifact::weights::{Dtype, NamedTensor, Weights};
use candle_core::{DType, Device, Tensor};
use model::{BlockFormat, ModelError, StoredMatrix, TensorSource};

/// Weights on disk as a source of tensors.
pub(crate) struct StoredWeights(pub(crate) Weights);

/// A tensor of a type that weights are not stored in.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{name}` has type {found:?}; supported are F32, F16, BF16, F64")]
struct UnsupportedType {
    name: String,
    found: Dtype,
}

impl TensorSource for StoredWeights {
    fn names(&self) -> Vec<String> {
        self.0.names().map(str::to_owned).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).map(|tensor| tensor.shape.to_vec())
    }

    fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let Some(tensor) = self.0.get(name) else {
            return Err(ModelError::MissingTensors { count: 1, names: vec![name.to_owned()] });
        };
        let dtype = match tensor.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            found => {
                let error = UnsupportedType { name: name.to_owned(), found };
                return Err(ModelError::Source(Box::new(error)));
            }
        };
        let read = Tensor::from_raw_buffer(tensor.data, dtype, tensor.shape, &Device::Cpu)?;
        self.0.forget(name);
        Ok(read)
    }

    fn matrix(&self, name: &str) -> Result<Option<StoredMatrix>, ModelError> {
        let Some(tensor) = self.0.get(name) else { return Ok(None) };
        let (format, &[rows, columns]) = (
            match tensor.dtype {
                Dtype::F16 => BlockFormat::F16,
                Dtype::BF16 => BlockFormat::BF16,
                _ => return Ok(None),
            },
            tensor.shape,
        ) else {
            return Ok(None);
        };
        let read = StoredMatrix::from_bytes(format, (rows, columns), tensor.data.to_vec())?;
        self.0.forget(name);
        Ok(Some(read))
    }
}

/// A tensor's elements as they are stored, in one of the three types that weights are written in.
pub(crate) fn to_bytes(name: String, tensor: &Tensor, dtype: DType) -> Result<NamedTensor<'static>, ModelError> {
    let shape = tensor.dims().to_vec();
    let flat = tensor.to_dtype(dtype)?.flatten_all()?;
    let (stored, data): (Dtype, Vec<u8>) = match dtype {
        DType::F16 => (Dtype::F16, flat.to_vec1::<half::f16>()?.iter().flat_map(|value| value.to_le_bytes()).collect()),
        DType::BF16 => {
            (Dtype::BF16, flat.to_vec1::<half::bf16>()?.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        _ => (Dtype::F32, flat.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect()),
    };
    Ok(NamedTensor { name, dtype: stored, shape, data: Cow::Owned(data) })
}
