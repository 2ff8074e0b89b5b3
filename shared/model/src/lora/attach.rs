//! Putting an adapter on a decoder: new, with PEFT's first values, or read, with every tensor accounted for.

use candle_core::{DType, Device, Tensor};
use kernels::WeightLayout;

use super::config::LoraConfig;
use super::initial;
use super::plan::{Output, Plan, a_key, b_key, lora_bias_key, magnitude_key};
use super::targets::Shape;
use crate::decoder::Decoder;
use crate::parts::{Dora, Linear, Lora, Weight};
use crate::{ModelError, TensorSource};

/// Where the values of an adapter come from.
enum Values<'a> {
    /// Made from this seed; whole modules and biases start as they are.
    New(u64),
    /// Read.
    Stored(&'a dyn TensorSource),
}

impl Values<'_> {
    /// A stored tensor of the shape that the settings imply, in f32; none where values are made.
    fn stored(&self, key: &str, expected: &[usize], device: &Device) -> Result<Option<Tensor>, ModelError> {
        let Self::Stored(source) = self else { return Ok(None) };
        let tensor = source.tensor(key)?;
        if tensor.dims() != expected {
            let (expected, found) = (expected.to_vec(), tensor.dims().to_vec());
            return Err(ModelError::Shape { name: key.to_owned(), expected, found });
        }
        Ok(Some(tensor.to_dtype(DType::F32)?.to_device(device)?.contiguous()?))
    }

    /// A stored tensor, or `value` itself.
    fn or(&self, key: &str, value: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.stored(key, value.dims(), value.device())?.unwrap_or_else(|| value.clone()))
    }
}

impl Decoder {
    /// Adds a new adapter with the first values that its settings name. The same seed gives the same numbers.
    ///
    /// # Errors
    /// A target or a module that matches nothing, settings that exclude each other, or an adapter that is there already.
    pub fn add_lora(&mut self, config: &LoraConfig, seed: u64) -> Result<(), ModelError> {
        self.refuse_second()?;
        let plan = Plan::new(self, config, true)?;
        self.attach(config, &plan, &Values::New(seed))
    }

    /// Adds the adapter that `source` holds.
    ///
    /// # Errors
    /// As [`Decoder::add_lora`]; tensors that are missing, that belong to no adapted layer, or of another shape, by name.
    pub fn load_lora(&mut self, config: &LoraConfig, source: &dyn TensorSource) -> Result<(), ModelError> {
        self.refuse_second()?;
        let plan = Plan::new(self, config, false)?;
        let wanted = plan.stored(self, config);
        let found = source.names().into_iter().collect();
        let missing: Vec<String> = wanted.difference(&found).cloned().collect();
        let surplus: Vec<String> = found.difference(&wanted).cloned().collect();
        if !missing.is_empty() || !surplus.is_empty() {
            return Err(ModelError::AdapterKeys { missing, surplus });
        }
        self.attach(config, &plan, &Values::Stored(source))
    }

    /// The `adapter_config.json` of this model's adapter; `base_model` is stored as `base_model_name_or_path`.
    pub fn adapter_json(&self, base_model: Option<&str>) -> Option<serde_json::Value> {
        let config = self.adapter()?;
        let adapted: Vec<&Linear> = self.linears().into_iter().filter(|linear| linear.lora.is_some()).collect();
        let fan_in_fan_out = adapted.iter().any(|linear| linear.layout == WeightLayout::InputByOutput);
        let names: Vec<String> = adapted.iter().map(|linear| linear.name.clone()).collect();
        Some(config.to_json(base_model, fan_in_fan_out, &names))
    }

    fn refuse_second(&self) -> Result<(), ModelError> {
        if self.adapter.is_some() { Err(ModelError::SecondAdapter) } else { Ok(()) }
    }

    fn attach(&mut self, config: &LoraConfig, plan: &Plan, values: &Values<'_>) -> Result<(), ModelError> {
        let device = self.output_weight().device().clone();
        let mut adapted = Vec::new();
        {
            let linears = self.linears();
            for (index, shape) in &plan.linears {
                adapted.push((*index, lora(linears[*index], *shape, config, values, &device)?));
            }
        }
        self.untie(&plan.output, values)?;
        for weight in self.weights_mut() {
            if let Some(key) = plan.extras.get(&weight.name) {
                let value = values.or(key, &weight.widened()?)?;
                weight.train_with_adapter(key.clone(), &value)?;
            }
        }
        if let Output::Tied(key) = &plan.output {
            let table = self.output_weight();
            if let Some(stored) = values.stored(key, table.dims(), table.device())? {
                check_tied(key, table, &stored)?;
            }
            self.tied_key = Some(key.clone());
        }
        let mut linears = self.linears_mut();
        for (index, lora) in adapted {
            linears[index].lora = Some(lora);
        }
        self.adapter = Some(config.clone());
        Ok(())
    }

    /// Gives a tied output a tensor of its own, where the plan says so.
    fn untie(&mut self, output: &Output, values: &Values<'_>) -> Result<(), ModelError> {
        let name = format!("{}.weight", self.description().output.name);
        let mut weight = Weight::frozen(name, self.output_weight().detach(), true);
        match output {
            Output::Unchanged | Output::Tied(_) => return Ok(()),
            Output::Kept => {}
            Output::Trained(key) => {
                let value = values.or(key, weight.tensor())?;
                weight.train_with_adapter(key.clone(), &value)?;
            }
        }
        self.set_output(weight);
        Ok(())
    }
}

/// The adapter of one layer.
fn lora(
    linear: &Linear,
    shape: Shape,
    config: &LoraConfig,
    values: &Values<'_>,
    device: &Device,
) -> Result<Lora, ModelError> {
    let Shape { rank, scale } = shape;
    let (a_key, b_key) = (a_key(&linear.name), b_key(&linear.name));
    let (a_shape, b_shape) = ((rank, linear.input), (linear.output, rank));
    let (a, b) = match values {
        Values::New(seed) => {
            let sizes = (rank, linear.input, linear.output);
            let (a, b) = initial::factors(config.init_lora_weights, *seed, (&a_key, &b_key), sizes);
            (Some(Tensor::from_vec(a, a_shape, device)?), Some(Tensor::from_vec(b, b_shape, device)?))
        }
        Values::Stored(_) => (
            values.stored(&a_key, &[a_shape.0, a_shape.1], device)?,
            values.stored(&b_key, &[b_shape.0, b_shape.1], device)?,
        ),
    };
    let (a, b) = (a.expect("either made or stored"), b.expect("either made or stored"));
    let (a, b) = (Weight::trained(a_key, &a, true)?, Weight::trained(b_key, &b, true)?);
    let zeros = || Tensor::zeros(linear.output, DType::F32, device);
    let bias = config.lora_bias.then(|| {
        let key = lora_bias_key(&linear.name);
        let value = values.or(&key, &zeros()?)?;
        Weight::trained(key, &value, false)
    });
    let mut lora =
        Lora { a, b, bias: bias.transpose()?, dora: None, scale: scale as f32, dropout: config.dropout as f32 };
    if config.use_dora {
        let key = magnitude_key(&linear.name);
        let dora = Dora::new(Weight::frozen(key.clone(), zeros()?, true));
        let lengths = dora.lengths(linear, &lora)?;
        let value = values.or(&key, &lengths)?;
        lora.dora = Some(dora.with_magnitude(Weight::trained(key, &value, true)?));
    }
    Ok(lora)
}

/// A tensor that is stored twice must be the same both times.
fn check_tied(key: &str, table: &Tensor, stored: &Tensor) -> Result<(), ModelError> {
    let same = (table.detach() - stored)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()? == 0.0;
    if same { Ok(()) } else { Err(ModelError::TiedDiffer { name: key.to_owned() }) }
}
