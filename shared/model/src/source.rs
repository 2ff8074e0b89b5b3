//! Where tensors come from: a trait, so that files stay elsewhere, and a plain map for tests and for round trips.

use std::collections::BTreeMap;

use candle_core::Tensor;
use kernels::StoredMatrix;

use crate::ModelError;

/// Named tensors: a safetensors folder, a quantised file, or a map in memory.
pub trait TensorSource {
    /// Every name, in a fixed order.
    fn names(&self) -> Vec<String>;
    /// The shape of one tensor, without reading it; `None` where there is no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// One tensor, in any floating-point type.
    ///
    /// # Errors
    /// Where the name is unknown or the data cannot be read.
    fn tensor(&self, name: &str) -> Result<Tensor, ModelError>;

    /// One matrix in the form it is stored in, where that is one of fewer than 32 bits.
    ///
    /// # Errors
    /// Where the data cannot be read.
    fn matrix(&self, _name: &str) -> Result<Option<StoredMatrix>, ModelError> {
        Ok(None)
    }
}

/// Tensors held in memory.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    tensors: BTreeMap<String, Tensor>,
}

impl MemorySource {
    /// From (name, tensor) pairs; of two with the same name the later one is kept.
    pub fn new(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}

impl TensorSource for MemorySource {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.dims().to_vec())
    }

    fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| ModelError::MissingTensors { count: 1, names: vec![name.to_owned()] })
    }
}
