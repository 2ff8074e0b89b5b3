//! Putting an adapter on a decoder: new, with PEFT's initial values, or read, with every tensor accounted for.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use kernels::WeightLayout;

use super::config::{LoraConfig, Targets};
use super::targets::{Rules, Shape};
use crate::decoder::Decoder;
use crate::parts::{Linear, Lora, Weight};
use crate::{ModelError, TensorSource, random};

/// What PEFT puts before every name of the wrapped model.
const PREFIX: &str = "base_model.model.";

impl Decoder {
    /// Adds a new adapter: A uniform within `1/√in` (Kaiming with a = √5, as PEFT and `nn.Linear`), B zero, so that the
    /// model computes what it did before. The same seed gives the same numbers.
    ///
    /// # Errors
    /// A target that matches no linear layer, or an adapter that is there already.
    pub fn add_lora(&mut self, config: &LoraConfig, seed: u64) -> Result<(), ModelError> {
        self.attach(config, |name, shape, device| {
            let count = shape.0 * shape.1;
            let values = if name.ends_with("lora_A.weight") {
                random::uniform(seed, name, count, (shape.1 as f64).powf(-0.5))
            } else {
                vec![0.0; count]
            };
            Ok(Tensor::from_vec(values, shape, device)?)
        })
    }

    /// Adds the adapter that `source` holds.
    ///
    /// # Errors
    /// As [`Decoder::add_lora`]; tensors that are missing, that belong to no adapted layer, or of another shape, by name.
    pub fn load_lora(&mut self, config: &LoraConfig, source: &dyn TensorSource) -> Result<(), ModelError> {
        let rules = self.rules(config)?;
        let wanted: BTreeSet<String> = self
            .linears()
            .into_iter()
            .filter(|linear| rules.shape(&linear.name).is_some())
            .flat_map(|linear| [stored_name(&linear.name, "A"), stored_name(&linear.name, "B")])
            .collect();
        let found: BTreeSet<String> = source.names().into_iter().collect();
        let missing: Vec<String> = wanted.difference(&found).cloned().collect();
        let surplus: Vec<String> = found.difference(&wanted).cloned().collect();
        if !missing.is_empty() || !surplus.is_empty() {
            return Err(ModelError::AdapterKeys { missing, surplus });
        }
        self.attach(config, |name, shape, device| {
            let tensor = source.tensor(name)?;
            if tensor.dims() != [shape.0, shape.1] {
                return Err(ModelError::Shape {
                    name: name.to_owned(),
                    expected: vec![shape.0, shape.1],
                    found: tensor.dims().to_vec(),
                });
            }
            Ok(tensor.to_dtype(DType::F32)?.to_device(device)?.contiguous()?)
        })
    }

    /// The `adapter_config.json` of this model's adapter; `base_model` is stored as `base_model_name_or_path`.
    pub fn adapter_json(&self, base_model: Option<&str>) -> Option<serde_json::Value> {
        let config = self.adapter()?;
        let adapted: Vec<&Linear> = self.linears().into_iter().filter(|linear| linear.lora.is_some()).collect();
        let fan_in_fan_out = adapted.iter().any(|linear| linear.layout == WeightLayout::InputByOutput);
        // Short names as the user gave them where they say it all; otherwise every adapted layer in full.
        let targets = match &config.target_modules {
            Targets::Named(names) if config.exclude_modules.is_none() && config.layers_to_transform.is_empty() => {
                names.clone()
            }
            _ => adapted.iter().map(|linear| linear.name.clone()).collect(),
        };
        Some(config.to_json(base_model, fan_in_fan_out, &targets))
    }

    fn rules<'a>(&self, config: &'a LoraConfig) -> Result<Rules<'a>, ModelError> {
        if self.adapter.is_some() {
            return Err(ModelError::SecondAdapter);
        }
        let rules = Rules::new(config)?;
        let linears = self.linears();
        rules.check(&linears.iter().map(|linear| linear.name.as_str()).collect::<Vec<_>>())?;
        Ok(rules)
    }

    fn attach(
        &mut self,
        config: &LoraConfig,
        factor: impl Fn(&str, (usize, usize), &Device) -> Result<Tensor, ModelError>,
    ) -> Result<(), ModelError> {
        let rules = self.rules(config)?;
        let dropout = config.dropout as f32;
        let mut adapted = Vec::new();
        for (index, linear) in self.linears().into_iter().enumerate() {
            let Some(Shape { rank, scale }) = rules.shape(&linear.name) else { continue };
            let device = linear.weight.tensor().device();
            let weight = |letter: &str, shape: (usize, usize)| {
                let name = stored_name(&linear.name, letter);
                let value = factor(&name, shape, device)?;
                Weight::trained(name, &value, true)
            };
            let (a, b) = (weight("A", (rank, linear.input))?, weight("B", (linear.output, rank))?);
            adapted.push((index, Lora { a, b, scale: scale as f32, dropout }));
        }
        let mut linears = self.linears_mut();
        for (index, lora) in adapted {
            linears[index].lora = Some(lora);
        }
        self.adapter = Some(config.clone());
        Ok(())
    }
}

fn stored_name(linear: &str, letter: &str) -> String {
    format!("{PREFIX}{linear}.lora_{letter}.weight")
}
