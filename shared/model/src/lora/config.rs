//! The settings of an adapter, read from and written to the fields of PEFT's `adapter_config.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::ModelError;

/// Settings of a low-rank adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank of the two factors.
    pub r: usize,
    /// The change is scaled by `alpha / r`, or `alpha / √r` with rsLoRA.
    pub alpha: f64,
    /// Probability with which an element of the adapter's input is dropped in training.
    pub dropout: f64,
    /// Which linear layers are adapted.
    pub target_modules: Targets,
    /// Whether the scale is `alpha / √r` (Kalajdzievski 2023, arXiv:2312.03732).
    pub use_rslora: bool,
    /// Other ranks for the layers whose name ends in a pattern (a regular expression); the first match in order counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// Other alphas likewise.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Layers left out although they are targeted.
    pub exclude_modules: Option<Targets>,
    /// Only the layers of these numbers; all where empty.
    pub layers_to_transform: Vec<usize>,
}

/// A choice of linear layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every linear layer but the output.
    AllLinear,
    /// A layer whose full name is listed, or ends in a dot and a listed name.
    Named(Vec<String>),
    /// A layer whose full name matches a regular expression.
    Pattern(String),
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            alpha: 32.0,
            dropout: 0.0,
            target_modules: Targets::AllLinear,
            use_rslora: false,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            exclude_modules: None,
            layers_to_transform: Vec::new(),
        }
    }
}

/// Fields that change what an adapter computes, with the values under which they do not, and what to do otherwise.
const NEUTRAL: [(&str, &[&str], &str); 14] = [
    ("bias", &["none"], "only bias \"none\" is supported"),
    ("modules_to_save", &[], "adapters with whole modules beside them are not supported"),
    ("use_dora", &[], "DoRA adapters are not supported"),
    ("lora_bias", &[], "biases on the low-rank factors are not supported"),
    ("layer_replication", &[], "replicated layers are not supported"),
    ("trainable_token_indices", &[], "trained tokens are not supported"),
    ("target_parameters", &[], "adapters on bare parameters are not supported"),
    ("alora_invocation_tokens", &[], "activated LoRA is not supported"),
    ("use_qalora", &[], "QA-LoRA is not supported"),
    ("use_bdlora", &[], "block-diagonal LoRA is not supported"),
    ("arrow_config", &[], "routed adapters are not supported"),
    ("velora_config", &[], "VeLoRA is not supported"),
    ("kasa_config", &[], "KaSA is not supported"),
    ("monteclora_config", &[], "MonteCLoRA is not supported"),
];

/// Initialisations that leave the base model's weights as they are.
const INITIALISATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl LoraConfig {
    /// Reads the fields of an `adapter_config.json`.
    ///
    /// # Errors
    /// A field that changes what the adapter computes and is not honoured, or one of the wrong type, by name.
    pub fn from_json(json: &Value) -> Result<Self, ModelError> {
        let fields = json.as_object().ok_or_else(|| refused("adapter_config.json", json, "expected a JSON object"))?;
        refuse_other_methods(fields)?;
        let defaults = Self { r: 8, alpha: 8.0, ..Self::default() };
        Ok(Self {
            r: count(fields, "r")?.unwrap_or(defaults.r),
            alpha: number(fields, "lora_alpha")?.unwrap_or(defaults.alpha),
            dropout: number(fields, "lora_dropout")?.unwrap_or(0.0),
            target_modules: targets(fields, "target_modules")?
                .ok_or_else(|| refused("target_modules", &Value::Null, "name the adapted layers, or all-linear"))?,
            use_rslora: present(fields, "use_rslora").is_some_and(|flag| flag == &Value::Bool(true)),
            rank_pattern: pattern(fields, "rank_pattern", Value::as_u64)?
                .into_iter()
                .map(|(name, rank)| (name, rank as usize))
                .collect(),
            alpha_pattern: pattern(fields, "alpha_pattern", Value::as_f64)?,
            exclude_modules: targets(fields, "exclude_modules")?,
            layers_to_transform: layers(fields)?,
        })
    }

    /// Writes every field that PEFT 0.21 writes for such an adapter, in alphabetical order.
    ///
    /// `base_model` is stored as `base_model_name_or_path`; `fan_in_fan_out` says whether the adapted weights are
    /// stored `[input, output]`; `target_modules` are the full names of the adapted layers.
    pub fn to_json(&self, base_model: Option<&str>, fan_in_fan_out: bool, target_modules: &[String]) -> Value {
        let ranks: Map<String, Value> = self.rank_pattern.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let alphas: Map<String, Value> = self.alpha_pattern.iter().map(|(k, v)| (k.clone(), tidy(*v))).collect();
        let written: BTreeMap<&str, Value> = [
            ("alpha_pattern", Value::Object(alphas)),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", json!(base_model)),
            ("bias", json!("none")),
            ("exclude_modules", Value::Null),
            ("fan_in_fan_out", json!(fan_in_fan_out)),
            ("inference_mode", json!(true)),
            ("init_lora_weights", json!(true)),
            ("layer_replication", Value::Null),
            ("layers_pattern", Value::Null),
            ("layers_to_transform", Value::Null),
            ("loftq_config", json!({})),
            ("lora_alpha", tidy(self.alpha)),
            ("lora_bias", json!(false)),
            ("lora_dropout", json!(self.dropout)),
            ("megatron_config", Value::Null),
            ("megatron_core", json!("megatron.core")),
            ("modules_to_save", Value::Null),
            ("peft_type", json!("LORA")),
            ("r", json!(self.r)),
            ("rank_pattern", Value::Object(ranks)),
            ("revision", Value::Null),
            ("target_modules", json!(target_modules)),
            ("target_parameters", Value::Null),
            ("task_type", json!("CAUSAL_LM")),
            ("trainable_token_indices", Value::Null),
            ("use_dora", json!(false)),
            ("use_rslora", json!(self.use_rslora)),
        ]
        .into();
        json!(written)
    }
}

/// A whole number without its fraction: PEFT writes `8`, not `8.0`.
fn tidy(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

fn refuse_other_methods(fields: &Map<String, Value>) -> Result<(), ModelError> {
    if let Some(kind) = present(fields, "peft_type").filter(|kind| kind.as_str() != Some("LORA")) {
        return Err(refused("peft_type", kind, "only LORA is supported"));
    }
    for (key, neutral, supported) in NEUTRAL {
        let Some(value) = present(fields, key) else { continue };
        let empty = match value {
            Value::Bool(flag) => !flag,
            Value::String(text) => neutral.contains(&text.as_str()),
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Null | Value::Number(_) => false,
        };
        if !empty {
            return Err(refused(key, value, supported));
        }
    }
    match present(fields, "init_lora_weights") {
        Some(Value::String(name)) if !INITIALISATIONS.contains(&name.as_str()) => Err(refused(
            "init_lora_weights",
            &json!(name),
            "it changes the base model's weights; convert the adapter to plain LoRA first",
        )),
        _ => Ok(()),
    }
}

fn present<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key).filter(|value| !value.is_null())
}

fn count(fields: &Map<String, Value>, key: &str) -> Result<Option<usize>, ModelError> {
    present(fields, key)
        .map(|value| {
            let count = value.as_u64().filter(|count| *count > 0);
            count.map(|count| count as usize).ok_or_else(|| refused(key, value, "expected a positive whole number"))
        })
        .transpose()
}

fn number(fields: &Map<String, Value>, key: &str) -> Result<Option<f64>, ModelError> {
    present(fields, key).map(|value| value.as_f64().ok_or_else(|| refused(key, value, "expected a number"))).transpose()
}

fn targets(fields: &Map<String, Value>, key: &str) -> Result<Option<Targets>, ModelError> {
    match present(fields, key) {
        None => Ok(None),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("all-linear") => Ok(Some(Targets::AllLinear)),
        Some(Value::String(expression)) => Ok(Some(Targets::Pattern(expression.clone()))),
        Some(value @ Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            names.map(|names| Some(Targets::Named(names))).ok_or_else(|| refused(key, value, "expected names"))
        }
        Some(other) => Err(refused(key, other, "expected a list of names, or one string")),
    }
}

fn pattern<T>(
    fields: &Map<String, Value>,
    key: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(String, T)>, ModelError> {
    match present(fields, key) {
        None => Ok(Vec::new()),
        Some(Value::Object(object)) => object
            .iter()
            .map(|(name, value)| {
                let read = read(value).ok_or_else(|| refused(key, value, "expected a number"))?;
                Ok((name.clone(), read))
            })
            .collect(),
        Some(other) => Err(refused(key, other, "expected an object of patterns")),
    }
}

fn layers(fields: &Map<String, Value>) -> Result<Vec<usize>, ModelError> {
    let one = |value: &Value| {
        let layer = value.as_u64().map(|layer| layer as usize);
        layer.ok_or_else(|| refused("layers_to_transform", value, "expected layer numbers"))
    };
    match present(fields, "layers_to_transform") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

fn refused(key: &str, found: &Value, supported: &str) -> ModelError {
    ModelError::UnsupportedAdapter { key: key.to_owned(), found: found.to_string(), supported: supported.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_fields_are_read_back() {
        let config = LoraConfig {
            r: 4,
            alpha: 7.5,
            dropout: 0.1,
            target_modules: Targets::Named(vec!["q_proj".to_owned()]),
            use_rslora: true,
            rank_pattern: vec![("k_proj".to_owned(), 2)],
            alpha_pattern: vec![("k_proj".to_owned(), 3.0)],
            ..LoraConfig::default()
        };
        let json = config.to_json(Some("org/name"), false, &["q_proj".to_owned()]);
        assert_eq!(LoraConfig::from_json(&json).unwrap(), config);
        assert_eq!(json["base_model_name_or_path"], "org/name");
        assert_eq!(json["alpha_pattern"].to_string(), r#"{"k_proj":3}"#);
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("init_lora_weights", json!("pissa")),
            ("r", json!(0)),
        ] {
            let mut json = LoraConfig::default().to_json(None, false, &["q_proj".to_owned()]);
            json[key] = value;
            let error = LoraConfig::from_json(&json).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
