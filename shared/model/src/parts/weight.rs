//! A named tensor of the model: trained (a variable), or frozen (for which no gradient work is done), perhaps in fewer bits.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use kernels::FrozenWeight;

use crate::ModelError;

/// One parameter.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) decay: bool,
    value: FrozenWeight,
    variable: Option<Var>,
    /// Where it is trained as part of an adapter: the name it is stored under, and the base model's value.
    with_adapter: Option<(String, FrozenWeight)>,
}

impl Weight {
    pub(crate) fn frozen(name: String, value: impl Into<FrozenWeight>, decay: bool) -> Self {
        Self { name, decay, value: value.into(), variable: None, with_adapter: None }
    }

    pub(crate) fn trained(name: String, value: &Tensor, decay: bool) -> Result<Self, ModelError> {
        let variable = Var::from_tensor(value)?;
        let value = FrozenWeight::Full(variable.as_tensor().clone());
        Ok(Self { name, decay, value, variable: Some(variable), with_adapter: None })
    }

    /// Trains it from `value` on as part of an adapter that stores it under `key`; the base model's value is kept.
    pub(crate) fn train_with_adapter(&mut self, key: String, value: &Tensor) -> Result<(), ModelError> {
        let variable = Var::from_tensor(value)?;
        let base = std::mem::replace(&mut self.value, FrozenWeight::Full(variable.as_tensor().clone()));
        self.variable = Some(variable);
        self.with_adapter = Some((key, base));
        Ok(())
    }

    /// The base model's value again, where an adapter trained its own.
    pub(crate) fn remove_adapter(&mut self) {
        if let Some((_, base)) = self.with_adapter.take() {
            self.value = base;
            self.variable = None;
        }
    }

    /// Whether it is trained as part of an adapter.
    pub(crate) fn is_with_adapter(&self) -> bool {
        self.with_adapter.is_some()
    }

    /// The name it is stored under: PEFT's where it is part of an adapter.
    pub(crate) fn stored_name(&self) -> &str {
        self.with_adapter.as_ref().map_or(&self.name, |(key, _)| key)
    }

    /// The tensor to compute with; shares its storage with the variable. Weights of linear layers alone are held in other
    /// forms: see [`Weight::held`].
    pub(crate) fn tensor(&self) -> &Tensor {
        match &self.value {
            FrozenWeight::Full(tensor) => tensor,
            held => {
                unreachable!("{} is held in {}: only linear layers read such weights", self.name, held.format_name())
            }
        }
    }

    /// The weight in the form it is held in.
    pub(crate) fn held(&self) -> &FrozenWeight {
        &self.value
    }

    /// The weight in f32, apart from any variable.
    pub(crate) fn widened(&self) -> Result<Tensor, ModelError> {
        Ok(self.value.to_tensor()?)
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
