//! Building a decoder: from a checkpoint, every tensor checked first, or from random numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use kernels::{FrozenWeight, WeightLayout};

use super::{Decoder, Hold, Trainable};
use crate::description::{Description, Initial, ParameterDescription};
use crate::parts::{Embedding, Layer, Norm, RotaryTable, Weight, WeightBook};
use crate::{ModelConfig, ModelError, TensorSource, random};

impl Decoder {
    /// Builds the decoder that `config` describes with the weights of `source`. What is trained is converted to f32;
    /// frozen weights of linear layers are held as they are stored.
    ///
    /// # Errors
    /// Every missing, surplus or wrongly shaped tensor, by name, before any is read; or what the source reports.
    pub fn load(config: &ModelConfig, source: &dyn TensorSource, trainable: Trainable) -> Result<Self, ModelError> {
        match trainable {
            Trainable::Nothing => {
                let mut decoder = Self::load_frozen(config, source, Hold::AsStored, &mut |_, _| ())?;
                decoder.stored_output = decoder.find_stored_output(source)?;
                Ok(decoder)
            }
            Trainable::All => Self::load_with(config, source, &mut |_, name, parameter| {
                let value = source.tensor(name)?.to_dtype(DType::F32)?.contiguous()?;
                Weight::trained(parameter.name, &value, parameter.decay)
            }),
        }
    }

    /// Builds the decoder with all its weights frozen, those of linear layers held as `hold` says. `progress` is told how
    /// many of how many tensors are done.
    ///
    /// # Errors
    /// As [`Decoder::load`], or where a weight's shape does not suit the form.
    pub fn load_frozen(
        config: &ModelConfig,
        source: &dyn TensorSource,
        hold: Hold,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, ModelError> {
        let linears = config.description().linears();
        let layouts: BTreeMap<String, WeightLayout> =
            linears.iter().map(|linear| (format!("{}.weight", linear.name), linear.layout)).collect();
        let total = config.description().parameters().len();
        let mut decoder = Self::load_with(config, source, &mut |index, name, parameter| {
            let value = match layouts.get(&parameter.name) {
                Some(layout) => hold.read(source, name, *layout)?,
                None => source.tensor(name)?.to_dtype(DType::F32)?.contiguous()?.into(),
            };
            progress(index + 1, total);
            Ok(Weight::frozen(parameter.name, value, parameter.decay))
        })?;
        if hold == Hold::Int8 {
            decoder.stored_output = Some(hold.encode(decoder.output_weight().clone(), WeightLayout::OutputByInput)?);
        }
        Ok(decoder)
    }

    /// The output weight in the fewer bits in which `source` holds it, where it does.
    fn find_stored_output(&self, source: &dyn TensorSource) -> Result<Option<FrozenWeight>, ModelError> {
        let parameters = self.description.parameters();
        let strip = stored_without_prefix(&self.description, &parameters, source);
        let name = &self.output.as_ref().unwrap_or(&self.embedding.table).name;
        let prefix = if strip { self.description.base_prefix } else { "" };
        let found = source.matrix(name.strip_prefix(prefix).unwrap_or(name))?;
        Ok(found.map(|matrix| FrozenWeight::Stored(Arc::new(matrix))))
    }

    /// Checks the names and shapes of `source`, and reads its weights one by one: `read` gets the number of the weight,
    /// its name in the source, and what it is.
    fn load_with(
        config: &ModelConfig,
        source: &dyn TensorSource,
        read: &mut dyn FnMut(usize, &str, ParameterDescription) -> Result<Weight, ModelError>,
    ) -> Result<Self, ModelError> {
        let description = config.description();
        let parameters = description.parameters();
        let strip = stored_without_prefix(description, &parameters, source);
        let stored =
            |name: &str| name.strip_prefix(if strip { description.base_prefix } else { "" }).unwrap_or(name).to_owned();
        check(description, &parameters, source, &stored)?;
        let weights = parameters
            .into_iter()
            .enumerate()
            .map(|(index, parameter)| read(index, &stored(&parameter.name), parameter))
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Self::assemble(description, weights))
    }

    /// Builds the decoder that `config` describes with random weights, all trained: normal with the configuration's
    /// deviation, zeros for biases, ones for norms. The same seed gives the same weights.
    ///
    /// # Errors
    /// Where a tensor cannot be made.
    pub fn random(config: &ModelConfig, seed: u64) -> Result<Self, ModelError> {
        let description = config.description();
        let weights = description
            .parameters()
            .into_iter()
            .map(|parameter| {
                let count = parameter.shape.iter().product();
                let values = match parameter.initial {
                    Initial::Normal(deviation) => random::normal(seed, &parameter.name, count, deviation),
                    Initial::Zeros => vec![0.0; count],
                    Initial::Ones => vec![1.0; count],
                };
                let value = Tensor::from_vec(values, parameter.shape.as_slice(), &Device::Cpu)?;
                Weight::trained(parameter.name, &value, parameter.decay)
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Self::assemble(description, weights))
    }

    fn assemble(description: &Description, weights: Vec<Weight>) -> Self {
        let mut book = WeightBook::new(weights);
        let styles: Vec<_> = description.rotary.iter().map(|rotary| rotary.style).collect();
        let layers = description
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| Layer::build(index, layer, &styles, &mut book))
            .collect();
        let output = &description.output;
        Self {
            rotary: Arc::new(description.rotary.iter().map(RotaryTable::new).collect()),
            embedding: Embedding::build(&description.embedding, &mut book),
            layers,
            final_norm: Norm::build(&description.final_norm, &mut book),
            output: (!output.tied).then(|| book.take(&format!("{}.weight", output.name))),
            description: Arc::new(description.clone()),
            stored_output: None,
            adapter: None,
            tied_key: None,
            regularisation: super::Regularisation::default(),
        }
    }
}

/// Whether the checkpoint is of the bare base model, whose names lack the prefix.
fn stored_without_prefix(
    description: &Description,
    parameters: &[ParameterDescription],
    source: &dyn TensorSource,
) -> bool {
    let first = &parameters[0].name;
    source.shape(first).is_none()
        && first.strip_prefix(description.base_prefix).is_some_and(|name| source.shape(name).is_some())
}

fn check(
    description: &Description,
    parameters: &[ParameterDescription],
    source: &dyn TensorSource,
    stored: &dyn Fn(&str) -> String,
) -> Result<(), ModelError> {
    let wanted: BTreeSet<String> = parameters.iter().map(|parameter| stored(&parameter.name)).collect();
    let output = format!("{}.weight", description.output.name);
    let surplus: Vec<String> = source
        .names()
        .into_iter()
        .filter(|name| {
            let known = wanted.contains(name)
                || (description.output.tied && *name == output)
                || description.unread.iter().any(|ending| name.ends_with(ending));
            !known
        })
        .collect();
    let missing: Vec<String> = wanted.iter().filter(|name| source.shape(name).is_none()).cloned().collect();
    if !missing.is_empty() {
        return Err(ModelError::MissingTensors { count: missing.len(), names: missing });
    }
    if !surplus.is_empty() {
        return Err(ModelError::SurplusTensors { count: surplus.len(), names: surplus });
    }
    for parameter in parameters {
        let name = stored(&parameter.name);
        if let Some(found) = source.shape(&name)
            && found != parameter.shape
        {
            return Err(ModelError::Shape { name, expected: parameter.shape.clone(), found });
        }
    }
    Ok(())
}
