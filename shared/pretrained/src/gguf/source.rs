//! The tensors of a GGUF file under Hugging Face names, in Hugging Face's arrangement.

use std::collections::BTreeMap;

use artifact::gguf::{Gguf, GgufTensor};
use candle_core::{Device, Tensor};
use model::{BlockFormat, ModelError, StoredMatrix, TensorSource};
use serde_json::Value;

use super::architecture::{Architecture, Change, interleaved_row};
use super::rope::ROPE_FACTORS;

/// A GGUF file as a source of tensors.
#[derive(Debug)]
pub(crate) struct GgufSource {
    gguf: Gguf,
    /// Hugging Face's name to GGUF's, and what changes in between.
    places: BTreeMap<String, (String, Change)>,
}

/// A tensor of a type that is not read.
#[derive(Debug, thiserror::Error)]
#[error(
    "tensor `{name}` has GGML type {found}, which is not read; read are {}",
    BlockFormat::ALL.map(BlockFormat::name).join(", ")
)]
struct UnsupportedType {
    name: String,
    found: &'static str,
}

impl GgufSource {
    pub(super) fn new(gguf: Gguf, architecture: &Architecture, config_json: &Value) -> Self {
        let count = |key: &str| config_json.get(key).and_then(Value::as_u64).map_or(1, |count| count as usize);
        let heads = (count("num_attention_heads"), count("num_key_value_heads"));
        let places = gguf
            .names()
            .filter(|name| *name != ROPE_FACTORS)
            .map(|name| (architecture.hugging_face_name(name), (name.to_owned(), architecture.change(name, heads))))
            .collect();
        Self { gguf, places }
    }

    fn find(&self, name: &str) -> Option<(GgufTensor<'_>, Change)> {
        let (gguf, change) = self.places.get(name)?;
        Some((self.gguf.get(gguf)?, *change))
    }

    fn format(name: &str, tensor: &GgufTensor<'_>) -> Result<BlockFormat, ModelError> {
        BlockFormat::ALL.into_iter().find(|format| format.name() == tensor.kind.name).ok_or_else(|| {
            ModelError::Source(Box::new(UnsupportedType { name: name.to_owned(), found: tensor.kind.name }))
        })
    }
}

/// The rows of a matrix (or the elements of a vector) in Hugging Face's order.
fn reordered(data: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let row = data.len() / rows.max(1);
    (0..rows).flat_map(|own| &data[interleaved_row(own, rows, heads) * row..][..row]).copied().collect()
}

impl TensorSource for GgufSource {
    fn names(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let (tensor, change) = self.find(name)?;
        let mut shape = tensor.shape.to_vec();
        if change == Change::Transposed {
            shape.reverse();
        }
        Some(shape)
    }

    fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let Some((tensor, change)) = self.find(name) else {
            return Err(ModelError::MissingTensors { count: 1, names: vec![name.to_owned()] });
        };
        let mut values = vec![0.0; tensor.shape.iter().product()];
        let format = Self::format(name, &tensor)?;
        match change {
            Change::Interleaved(heads) => {
                format.decode(&reordered(tensor.data, tensor.shape.first().copied().unwrap_or(1), heads), &mut values);
            }
            _ => format.decode(tensor.data, &mut values),
        }
        let values = Tensor::from_vec(values, tensor.shape, &Device::Cpu)?;
        Ok(match change {
            Change::PlusOne => (values - 1.0)?,
            Change::Transposed => values.t()?.contiguous()?,
            Change::Same | Change::Interleaved(_) => values,
        })
    }

    fn matrix(&self, name: &str) -> Result<Option<StoredMatrix>, ModelError> {
        let Some((tensor, change)) = self.find(name) else { return Ok(None) };
        let format = Self::format(name, &tensor)?;
        let &[rows, columns] = tensor.shape else { return Ok(None) };
        let bytes = match change {
            Change::Same => tensor.data.to_vec(),
            Change::Interleaved(heads) => reordered(tensor.data, rows, heads),
            Change::PlusOne | Change::Transposed => return Ok(None),
        };
        if format == BlockFormat::F32 {
            return Ok(None);
        }
        Ok(Some(StoredMatrix::from_bytes(format, (rows, columns), bytes)?))
    }
}
