//! A named tensor of the model: frozen (a plain tensor, for which no gradient work is done) or trained (a variable).

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::ModelError;

/// One parameter.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) decay: bool,
    value: Tensor,
    variable: Option<Var>,
}

impl Weight {
    pub(crate) fn frozen(name: String, value: Tensor, decay: bool) -> Self {
        Self { name, decay, value, variable: None }
    }

    pub(crate) fn trained(name: String, value: &Tensor, decay: bool) -> Result<Self, ModelError> {
        let variable = Var::from_tensor(value)?;
        Ok(Self { name, decay, value: variable.as_tensor().clone(), variable: Some(variable) })
    }

    /// The tensor to compute with; shares its storage with the variable.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.value
    }

    pub(crate) fn variable(&self) -> Option<&Var> {
        self.variable.as_ref()
    }
}

/// The weights of a model that is being built, taken out one by one.
pub(crate) struct WeightBook {
    weights: BTreeMap<String, Weight>,
}

impl WeightBook {
    pub(crate) fn new(weights: impl IntoIterator<Item = Weight>) -> Self {
        Self { weights: weights.into_iter().map(|weight| (weight.name.clone(), weight)).collect() }
    }

    /// The book is filled from `Description::parameters`, which lists what the parts ask for.
    pub(crate) fn take(&mut self, name: &str) -> Weight {
        self.weights.remove(name).expect("the description lists every parameter of its parts")
    }
}
