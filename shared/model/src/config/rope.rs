//! Rotary settings: the old `rope_theta` beside `rope_scaling`, and the newer `rope_parameters`.

use kernels::RotaryStyle;
use serde_json::{Map, Value};

use super::fields::{Fields, number, wrong};
use crate::ModelError;
use crate::description::{RopeScaling, RotaryDescription};

/// The one rotary table of a model whose layers all share it.
pub(crate) fn read_rotary(
    fields: &Fields<'_>,
    head_dim: usize,
    context: usize,
    default_theta: f64,
    default_partial: f64,
) -> Result<RotaryDescription, ModelError> {
    let settings = flat_settings(fields)?;
    rotary_from(fields, settings, head_dim, context, fields.number_or("rope_theta", default_theta)?, default_partial)
}

/// `rope_scaling` where it is set, else `rope_parameters`: the order in which transformers looks.
fn flat_settings<'a>(fields: &Fields<'a>) -> Result<Option<&'a Map<String, Value>>, ModelError> {
    for key in ["rope_scaling", "rope_parameters"] {
        match fields.get(key) {
            None => {}
            Some(Value::Object(object)) if object.is_empty() => {}
            Some(Value::Object(object)) => return Ok(Some(object)),
            Some(other) => return Err(wrong(key, other, "an object with rope_type and its settings")),
        }
    }
    Ok(None)
}

/// A rotary table from one object of settings; `theta` and `partial` are what holds where the object is silent.
pub(crate) fn rotary_from(
    fields: &Fields<'_>,
    settings: Option<&Map<String, Value>>,
    head_dim: usize,
    context: usize,
    theta: f64,
    partial: f64,
) -> Result<RotaryDescription, ModelError> {
    let optional = |key: &str| {
        settings
            .and_then(|object| object.get(key))
            .filter(|value| !value.is_null())
            .map(|value| number(&format!("rope_parameters.{key}"), value))
            .transpose()
    };
    let theta = optional("rope_theta")?.unwrap_or(theta);
    let partial = optional("partial_rotary_factor")?.unwrap_or(partial);
    let divisor = (head_dim as f64 * partial) as usize;
    // An odd number of dimensions is rounded up to whole pairs, as in transformers.
    let dimensions = divisor.next_multiple_of(2);
    if theta <= 0.0 || divisor == 0 || dimensions > head_dim {
        return Err(ModelError::WrongValue {
            key: "rope_parameters".to_owned(),
            found: format!("rope_theta {theta}, {divisor} of {head_dim} dimensions"),
            expected: "a positive rope_theta and pairs of rotated dimensions that fit into a head".to_owned(),
        });
    }
    let scaling = Settings { fields, object: settings, context, dimensions }.scaling()?;
    Ok(RotaryDescription { theta, dimensions, divisor, scaling, style: RotaryStyle::Half })
}

/// Settings of one object, with the fallbacks that transformers has for them.
struct Settings<'a> {
    fields: &'a Fields<'a>,
    object: Option<&'a Map<String, Value>>,
    context: usize,
    dimensions: usize,
}

impl Settings<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.object.and_then(|object| object.get(key)).filter(|value| !value.is_null())
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.value(key).map(|value| number(&format!("rope_parameters.{key}"), value)).transpose()
    }

    fn required(&self, key: &'static str) -> Result<f64, ModelError> {
        self.number(key)?.ok_or_else(|| self.missing(key, "a number"))
    }

    fn missing(&self, key: &str, expected: &'static str) -> ModelError {
        let model_type = self.fields.model_type().to_owned();
        ModelError::MissingKey { model_type, key: format!("rope_parameters.{key}"), expected }
    }

    /// The context of the pre-training: a key beside the object comes first, then one in it, then the model's context.
    fn original_context(&self) -> Result<f64, ModelError> {
        const KEY: &str = "original_max_position_embeddings";
        let beside = self.fields.get(KEY).map(|value| number(KEY, value)).transpose()?;
        let found = match beside {
            Some(number) => number,
            None => self.number(KEY)?.unwrap_or(self.context as f64),
        };
        if found > 0.0 { Ok(found) } else { Err(wrong(KEY, &Value::from(found), "a positive number")) }
    }

    /// One divisor for each pair of dimensions.
    fn factors(&self, key: &str) -> Result<Vec<f64>, ModelError> {
        let pairs = self.dimensions / 2;
        let value = self.value(key).ok_or_else(|| self.missing(key, "a list of numbers"))?;
        let list: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
        list.filter(|list| list.len() == pairs && list.iter().all(|factor| *factor > 0.0)).ok_or_else(|| {
            wrong(&format!("rope_parameters.{key}"), value, &format!("{pairs} positive numbers, one for each pair"))
        })
    }

    fn yarn(&self) -> Result<RopeScaling, ModelError> {
        let original_context = self.original_context()?;
        let factor = self.number("factor")?.unwrap_or(self.context as f64 / original_context);
        let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
        let nonzero = |key| Ok::<_, ModelError>(self.number(key)?.filter(|number| *number != 0.0));
        let attention_factor = match (self.number("attention_factor")?, nonzero("mscale")?, nonzero("mscale_all_dim")?)
        {
            (Some(given), _, _) => given,
            (None, Some(mscale), Some(all)) => scale(mscale) / scale(all),
            (None, _, _) => scale(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast: nonzero("beta_fast")?.unwrap_or(32.0),
            beta_slow: nonzero("beta_slow")?.unwrap_or(1.0),
            truncate: self.value("truncate").is_none_or(|flag| flag != &Value::Bool(false)),
            attention_factor,
        })
    }

    fn long(&self) -> Result<RopeScaling, ModelError> {
        let original_context = self.original_context()?;
        let factor = self.number("factor")?.unwrap_or(self.context as f64 / original_context);
        let suggested = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original_context.ln()).sqrt() };
        Ok(RopeScaling::Long {
            short: self.factors("short_factor")?,
            long: self.factors("long_factor")?,
            original_context,
            attention_factor: self.number("attention_factor")?.unwrap_or(suggested),
        })
    }

    fn scaling(&self) -> Result<RopeScaling, ModelError> {
        let named = self.value("rope_type").or_else(|| self.value("type")).and_then(Value::as_str).unwrap_or("default");
        // Phi-3 knows one scaling, under its older name too.
        let phi3 = self.fields.model_type() == "phi3";
        match named {
            "default" => Ok(RopeScaling::Unscaled),
            "longrope" => self.long(),
            "su" if phi3 => self.long(),
            "linear" if !phi3 => Ok(RopeScaling::Linear { factor: self.required("factor")? }),
            "dynamic" if !phi3 => {
                Ok(RopeScaling::Dynamic { factor: self.required("factor")?, context: self.context as f64 })
            }
            "yarn" if !phi3 => self.yarn(),
            "llama3" if !phi3 => Ok(RopeScaling::Llama3 {
                factor: self.required("factor")?,
                low: self.required("low_freq_factor")?,
                high: self.required("high_freq_factor")?,
                original_context: self.original_context()?,
            }),
            other => {
                let known = if phi3 { "default, longrope" } else { "default, linear, dynamic, yarn, longrope, llama3" };
                let found = Value::String(other.to_owned());
                Err(self.fields.unsupported("rope_type", &found, &format!("supported are {known}")))
            }
        }
    }
}
