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
    let dimensions = (head_dim as f64 * partial) as usize;
    if theta <= 0.0 || dimensions == 0 || dimensions % 2 == 1 || dimensions > head_dim {
        return Err(ModelError::WrongValue {
            key: "rope_parameters".to_owned(),
            found: format!("rope_theta {theta}, {dimensions} of {head_dim} dimensions"),
            expected: "a positive rope_theta and an even number of rotated dimensions".to_owned(),
        });
    }
    let scaling = scaling(fields, settings, &optional, context)?;
    Ok(RotaryDescription { theta, dimensions, scaling, style: RotaryStyle::Half })
}

fn scaling(
    fields: &Fields<'_>,
    settings: Option<&Map<String, Value>>,
    optional: &dyn Fn(&str) -> Result<Option<f64>, ModelError>,
    context: usize,
) -> Result<RopeScaling, ModelError> {
    let named = settings.and_then(|object| object.get("rope_type").or_else(|| object.get("type")));
    let required = |key: &'static str| {
        optional(key)?.ok_or_else(|| ModelError::MissingKey {
            model_type: fields.model_type().to_owned(),
            key: format!("rope_parameters.{key}"),
            expected: "a number",
        })
    };
    match named.and_then(Value::as_str).unwrap_or("default") {
        "default" => Ok(RopeScaling::Unscaled),
        "linear" => Ok(RopeScaling::Linear { factor: required("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: required("factor")?,
            low: required("low_freq_factor")?,
            high: required("high_freq_factor")?,
            original_context: optional("original_max_position_embeddings")?.unwrap_or(context as f64),
        }),
        other => Err(fields.unsupported(
            "rope_type",
            &Value::String(other.to_owned()),
            "supported are default, linear, llama3",
        )),
    }
}
