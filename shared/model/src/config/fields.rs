//! Typed access to the keys of `config.json`, with errors that name the key, and the refusals common to all models.

use kernels::Activation;
use serde_json::{Map, Value};

use crate::ModelError;

/// The keys of one configuration. A JSON `null` counts as absent, as in transformers.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    model_type: &'a str,
}

/// Keys that, set to anything but these values, describe something that no architecture here does.
const REFUSED_EVERYWHERE: [(&str, &str); 8] = [
    ("quantization_config", "use the unquantised base model"),
    ("is_encoder_decoder", "only decoders are supported"),
    ("add_cross_attention", "only decoders without cross attention are supported"),
    ("use_bidirectional_attention", "only causal attention is supported"),
    ("pruned_heads", "export the model with its heads removed from the weights"),
    ("reorder_heads", "only heads in order are supported"),
    ("vision_config", "only text models are supported; use the text part of the model"),
    ("audio_config", "only text models are supported; use the text part of the model"),
];

/// Dropout settings of base models. They act only in training, and tuning here leaves them out.
const DROPOUTS: [&str; 6] =
    ["attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout", "embedding_dropout"];

impl<'a> Fields<'a> {
    pub(crate) fn new(json: &'a Value) -> Result<Self, ModelError> {
        let object = json.as_object().ok_or(ModelError::NotAnObject { found: kind(json) })?;
        let model_type = match object.get("model_type") {
            Some(Value::String(name)) => name.as_str(),
            Some(other) => return Err(wrong("model_type", other, "a string")),
            None => {
                return Err(ModelError::MissingKey {
                    model_type: "Hugging Face".to_owned(),
                    key: "model_type".to_owned(),
                    expected: "the name of the architecture, such as \"llama\"",
                });
            }
        };
        Ok(Self { object, model_type })
    }

    pub(crate) fn model_type(&self) -> &str {
        self.model_type
    }

    /// The value of a key; `null` is absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there, be it `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Refuses what no architecture here does.
    pub(crate) fn refuse_common(&self) -> Result<(), ModelError> {
        for (key, supported) in REFUSED_EVERYWHERE {
            match self.get(key) {
                None | Some(Value::Bool(false)) => {}
                Some(Value::Object(object)) if object.is_empty() => {}
                Some(Value::Array(array)) if array.is_empty() => {}
                Some(found) => return Err(self.unsupported(key, found, supported)),
            }
        }
        Ok(())
    }

    /// Refuses a key that holds anything but `neutral` (or nothing).
    pub(crate) fn refuse_unless(&self, key: &str, neutral: &Value, supported: &str) -> Result<(), ModelError> {
        match self.get(key) {
            Some(found) if found != neutral && found.as_f64().is_none_or(|n| Some(n) != neutral.as_f64()) => {
                Err(self.unsupported(key, found, supported))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn unsupported(&self, key: &str, found: &Value, supported: &str) -> ModelError {
        ModelError::UnsupportedValue {
            model_type: self.model_type.to_owned(),
            key: key.to_owned(),
            found: shortened(found),
            supported: supported.to_owned(),
        }
    }

    /// A positive whole number that must be there, under the first of several names.
    pub(crate) fn count(&self, keys: &[&str]) -> Result<usize, ModelError> {
        for key in keys {
            if let Some(value) = self.get(key) {
                return positive(key, value);
            }
        }
        Err(ModelError::MissingKey {
            model_type: self.model_type.to_owned(),
            key: keys[0].to_owned(),
            expected: "a positive whole number",
        })
    }

    /// The number of layers; each takes memory before its weights are looked for.
    pub(crate) fn layers(&self, keys: &[&str]) -> Result<usize, ModelError> {
        const MOST: usize = 10_000;
        let count = self.count(keys)?;
        if count > MOST {
            return Err(wrong(keys[0], &Value::from(count), "at most 10000 layers"));
        }
        Ok(count)
    }

    pub(crate) fn count_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        self.get(key).map_or(Ok(default), |value| positive(key, value))
    }

    pub(crate) fn number_or(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        self.get(key).map_or(Ok(default), |value| number(key, value))
    }

    /// A whole number that may be zero.
    pub(crate) fn whole_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        let whole = |value: &Value| value.as_u64().ok_or_else(|| wrong(key, value, "a whole number"));
        self.get(key).map_or(Ok(default), |value| whole(value).map(|number| number as usize))
    }

    /// A window in tokens: `default` where the key is absent, none where it is `null`.
    pub(crate) fn window(&self, key: &str, default: Option<usize>) -> Result<Option<usize>, ModelError> {
        match self.object.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) => positive(key, value).map(Some),
        }
    }

    /// A soft cap: `default` where the key is absent, none where it is `null`.
    pub(crate) fn cap(&self, key: &str, default: Option<f32>) -> Result<Option<f32>, ModelError> {
        match self.object.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) => match number(key, value)? {
                cap if cap > 0.0 => Ok(Some(cap as f32)),
                _ => Err(wrong(key, value, "a positive number, or null")),
            },
        }
    }

    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(key, other, "true or false")),
        }
    }

    /// An activation by its Hugging Face name.
    pub(crate) fn activation(&self, key: &str, default: &str) -> Result<Activation, ModelError> {
        let name = match self.get(key) {
            None => default,
            Some(Value::String(name)) => name.as_str(),
            Some(other) => return Err(wrong(key, other, "the name of an activation")),
        };
        match name {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            // Three names of one formula, 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => {
                Ok(Activation::GeluTanh)
            }
            "relu" => Ok(Activation::Relu),
            "relu2" => Ok(Activation::ReluSquared),
            "quick_gelu" => Ok(Activation::QuickGelu),
            _ => Err(self.unsupported(
                key,
                &Value::String(name.to_owned()),
                "supported are silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, relu, relu2",
            )),
        }
    }

    /// A list with one entry for each layer.
    pub(crate) fn per_layer(&self, key: &str, layers: usize) -> Result<Option<&'a [Value]>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) if values.len() >= layers => Ok(Some(&values[..layers])),
            Some(other) => Err(wrong(key, other, &format!("a list of {layers} entries, one for each layer"))),
        }
    }

    /// One or several token ids.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let one = |value: &Value| {
            value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong(key, value, "a token id"))
        };
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().map(one).collect(),
            // Some configurations state "no such token" as -1.
            Some(value) if value.as_i64() == Some(-1) => Ok(Vec::new()),
            Some(value) => Ok(vec![one(value)?]),
        }
    }

    /// One sentence for each dropout of the base model that tuning leaves out.
    pub(crate) fn dropout_notes(&self) -> Vec<String> {
        DROPOUTS
            .iter()
            .filter_map(|key| self.get(key).and_then(Value::as_f64).filter(|p| *p > 0.0).map(|p| (key, p)))
            .map(|(key, probability)| {
                format!("config.json asks for {key} = {probability} in training; the base model's dropout is left out")
            })
            .collect()
    }
}

pub(crate) fn number(key: &str, value: &Value) -> Result<f64, ModelError> {
    value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| wrong(key, value, "a number"))
}

fn positive(key: &str, value: &Value) -> Result<usize, ModelError> {
    let whole = value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n > 0.0).map(|n| n as u64));
    whole.filter(|n| *n > 0).map(|n| n as usize).ok_or_else(|| wrong(key, value, "a positive whole number"))
}

pub(crate) fn wrong(key: &str, found: &Value, expected: &str) -> ModelError {
    ModelError::WrongValue { key: key.to_owned(), found: shortened(found), expected: expected.to_owned() }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 120 { text } else { text.chars().take(117).chain("...".chars()).collect() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
