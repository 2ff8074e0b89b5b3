//! The fields of PEFT's `adapter_config.json`, read and written.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::{Bias, InitialWeights, LoraConfig, Targets};
use crate::ModelError;

/// Fields that change what an adapter computes and that are not honoured, and what to do.
const UNSUPPORTED: [(&str, &str); 10] = [
    ("layer_replication", "replicated layers are not supported"),
    ("trainable_token_indices", "trained tokens are not supported; train the embedding with modules_to_save"),
    ("target_parameters", "adapters on bare parameters are not supported"),
    ("alora_invocation_tokens", "activated LoRA is not supported"),
    ("use_qalora", "QA-LoRA is not supported"),
    ("use_bdlora", "block-diagonal LoRA is not supported"),
    ("arrow_config", "routed adapters are not supported"),
    ("velora_config", "VeLoRA is not supported"),
    ("kasa_config", "KaSA is not supported"),
    ("monteclora_config", "MonteCLoRA is not supported"),
];

/// Fields that are read, or that change nothing of what a stored adapter computes.
const KNOWN: [&str; 32] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

impl LoraConfig {
    /// Reads the fields of an `adapter_config.json`.
    ///
    /// # Errors
    /// A field that changes what the adapter computes and is not honoured, or one of the wrong type, by name.
    pub fn from_json(json: &Value) -> Result<Self, ModelError> {
        let fields = json.as_object().ok_or_else(|| refused("adapter_config.json", json, "expected a JSON object"))?;
        refuse_other_methods(fields)?;
        let dropout = number(fields, "lora_dropout")?.unwrap_or(0.0);
        if !(0.0..1.0).contains(&dropout) {
            return Err(refused("lora_dropout", &json!(dropout), "expected a number from 0 to below 1"));
        }
        let config = Self {
            r: count(fields, "r")?.unwrap_or(8),
            alpha: number(fields, "lora_alpha")?.unwrap_or(8.0),
            dropout,
            target_modules: targets(fields, "target_modules")?
                .ok_or_else(|| refused("target_modules", &Value::Null, "name the adapted layers, or all-linear"))?,
            exclude_modules: targets(fields, "exclude_modules")?,
            layers_to_transform: layers(fields)?,
            layers_pattern: names(fields, "layers_pattern")?,
            rank_pattern: pattern(fields, "rank_pattern", |value| value.as_u64().filter(|rank| *rank > 0))?
                .into_iter()
                .map(|(name, rank)| (name, rank as usize))
                .collect(),
            alpha_pattern: pattern(fields, "alpha_pattern", Value::as_f64)?,
            use_rslora: flag(fields, "use_rslora")?,
            use_dora: flag(fields, "use_dora")?,
            bias: bias(fields)?,
            lora_bias: flag(fields, "lora_bias")?,
            modules_to_save: names(fields, "modules_to_save")?,
            ensure_weight_tying: flag(fields, "ensure_weight_tying")?,
            init_lora_weights: initial(fields)?,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what no single field shows.
    ///
    /// # Errors
    /// Settings that exclude each other, as in PEFT.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.lora_bias && self.use_dora {
            return Err(refused("lora_bias", &json!(true), "DoRA has no bias on its factors"));
        }
        if self.lora_bias && !matches!(self.init_lora_weights, InitialWeights::Kaiming | InitialWeights::Random) {
            return Err(refused("lora_bias", &json!(true), "it goes with init_lora_weights true or false"));
        }
        if !self.layers_pattern.is_empty() && self.layers_to_transform.is_empty() {
            let found = json!(self.layers_pattern);
            return Err(refused("layers_pattern", &found, "it says where the numbers of layers_to_transform count"));
        }
        let ranks = self.rank_pattern.iter().map(|(_, rank)| *rank).chain([self.r]);
        match ranks.into_iter().find(|rank| *rank == 0 || rank % 2 == 1) {
            Some(0) => Err(refused("r", &json!(0), "expected a positive whole number")),
            Some(odd) if self.init_lora_weights == InitialWeights::Orthogonal => {
                Err(refused("r", &json!(odd), "init_lora_weights \"orthogonal\" needs an even rank"))
            }
            _ => Ok(()),
        }
    }

    /// Writes every field that PEFT 0.21 writes for such an adapter, in alphabetical order.
    ///
    /// `base_model` is stored as `base_model_name_or_path`; `fan_in_fan_out` says whether the adapted weights are
    /// stored `[input, output]`; `adapted` are the full names of the adapted layers. Named targets are written as they
    /// were given, others as the layers that they chose: PEFT would match a pattern with more than linear layers.
    pub fn to_json(&self, base_model: Option<&str>, fan_in_fan_out: bool, adapted: &[String]) -> Value {
        let ranks: Map<String, Value> = self.rank_pattern.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let alphas: Map<String, Value> = self.alpha_pattern.iter().map(|(k, v)| (k.clone(), tidy(*v))).collect();
        let given = match &self.target_modules {
            Targets::Named(names) => Some(names),
            Targets::AllLinear | Targets::Pattern(_) => None,
        };
        let as_given = |value: Value, empty: bool| if given.is_some() && !empty { value } else { Value::Null };
        let excluded = match &self.exclude_modules {
            None | Some(Targets::AllLinear) => Value::Null,
            Some(Targets::Named(names)) => json!(names),
            Some(Targets::Pattern(pattern)) => json!(pattern),
        };
        let saved = if self.modules_to_save.is_empty() { Value::Null } else { json!(self.modules_to_save) };
        let written: BTreeMap<&str, Value> = [
            ("alpha_pattern", Value::Object(alphas)),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", json!(base_model)),
            ("bias", json!(self.bias.name())),
            ("ensure_weight_tying", json!(self.ensure_weight_tying)),
            ("exclude_modules", as_given(excluded, false)),
            ("fan_in_fan_out", json!(fan_in_fan_out)),
            ("inference_mode", json!(true)),
            ("init_lora_weights", self.init_lora_weights.json()),
            ("layer_replication", Value::Null),
            ("layers_pattern", as_given(json!(self.layers_pattern), self.layers_pattern.is_empty())),
            ("layers_to_transform", as_given(json!(self.layers_to_transform), self.layers_to_transform.is_empty())),
            ("loftq_config", json!({})),
            ("lora_alpha", tidy(self.alpha)),
            ("lora_bias", json!(self.lora_bias)),
            ("lora_dropout", json!(self.dropout)),
            ("megatron_config", Value::Null),
            ("megatron_core", json!("megatron.core")),
            ("modules_to_save", saved),
            ("peft_type", json!("LORA")),
            ("r", json!(self.r)),
            ("rank_pattern", Value::Object(ranks)),
            ("revision", Value::Null),
            ("target_modules", json!(given.map_or(adapted, |names| names.as_slice()))),
            ("target_parameters", Value::Null),
            ("task_type", json!("CAUSAL_LM")),
            ("trainable_token_indices", Value::Null),
            ("use_dora", json!(self.use_dora)),
            ("use_rslora", json!(self.use_rslora)),
        ]
        .into();
        json!(written)
    }
}

impl InitialWeights {
    fn json(self) -> Value {
        match self {
            Self::Kaiming => json!(true),
            Self::Random => json!(false),
            Self::Gaussian => json!("gaussian"),
            Self::Orthogonal => json!("orthogonal"),
        }
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
    for (key, value) in fields {
        if empty(value) || KNOWN.contains(&key.as_str()) {
            continue;
        }
        let supported = UNSUPPORTED.iter().find(|(name, _)| name == key);
        let unknown =
            "the field is not known here, so that what it changes would be left out; remove it if it changes nothing";
        return Err(refused(key, value, supported.map_or(unknown, |(_, supported)| supported)));
    }
    Ok(())
}

/// Whether a field says nothing.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

fn initial(fields: &Map<String, Value>) -> Result<InitialWeights, ModelError> {
    const KEY: &str = "init_lora_weights";
    match present(fields, KEY) {
        None | Some(Value::Bool(true)) => Ok(InitialWeights::Kaiming),
        Some(Value::Bool(false)) => Ok(InitialWeights::Random),
        Some(value) => match value.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("gaussian") => Ok(InitialWeights::Gaussian),
            Some("orthogonal") => Ok(InitialWeights::Orthogonal),
            // EVA only chooses the first values of A; the adapter that came out is a plain one.
            Some("eva") => Ok(InitialWeights::Kaiming),
            Some("mica") => Err(refused(KEY, value, "it keeps the second factor frozen; choose true or gaussian")),
            _ => Err(refused(
                KEY,
                value,
                "supported are true, false, gaussian, orthogonal; others (pissa, olora, corda, loftq, lora_ga) change the base model's weights: convert such an adapter to plain LoRA with PEFT's path_initial_model_for_weight_conversion",
            )),
        },
    }
}

fn bias(fields: &Map<String, Value>) -> Result<Bias, ModelError> {
    match present(fields, "bias") {
        None => Ok(Bias::None),
        Some(value) => match value.as_str() {
            Some("none") => Ok(Bias::None),
            Some("all") => Ok(Bias::All),
            Some("lora_only") => Ok(Bias::LoraOnly),
            _ => Err(refused("bias", value, "expected none, all or lora_only")),
        },
    }
}

fn present<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key).filter(|value| !value.is_null())
}

fn flag(fields: &Map<String, Value>, key: &str) -> Result<bool, ModelError> {
    match present(fields, key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(value) => Err(refused(key, value, "expected true or false")),
    }
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
        Some(Value::String(name)) if name.eq_ignore_ascii_case("all-linear") => Ok(Some(Targets::AllLinear)),
        Some(Value::String(expression)) => Ok(Some(Targets::Pattern(expression.clone()))),
        Some(Value::Array(list)) if list.is_empty() && key == "exclude_modules" => Ok(None),
        None => Ok(None),
        Some(_) => names(fields, key).map(|names| Some(Targets::Named(names))),
    }
}

/// A list of names, or a single one.
fn names(fields: &Map<String, Value>, key: &str) -> Result<Vec<String>, ModelError> {
    match present(fields, key) {
        None => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![name.clone()]),
        Some(value) => {
            let list =
                value.as_array().and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
            list.ok_or_else(|| refused(key, value, "expected a list of names"))
        }
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
                let value = read(value).ok_or_else(|| refused(key, value, "expected names with numbers"))?;
                Ok((name.clone(), value))
            })
            .collect(),
        Some(other) => Err(refused(key, other, "expected names with numbers")),
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
            exclude_modules: Some(Targets::Pattern(".*layers.1.*".to_owned())),
            layers_to_transform: vec![0, 2],
            layers_pattern: vec!["layers".to_owned()],
            use_rslora: true,
            use_dora: true,
            bias: Bias::LoraOnly,
            modules_to_save: vec!["lm_head".to_owned()],
            ensure_weight_tying: true,
            init_lora_weights: InitialWeights::Gaussian,
            rank_pattern: vec![("k_proj".to_owned(), 2), ("a".to_owned(), 3)],
            alpha_pattern: vec![("k_proj".to_owned(), 3.0)],
            lora_bias: false,
        };
        let json = config.to_json(Some("org/name"), false, &["model.layers.0.self_attn.q_proj".to_owned()]);
        assert_eq!(LoraConfig::from_json(&json).unwrap(), config);
        assert_eq!(json["base_model_name_or_path"], "org/name");
        assert_eq!(json["alpha_pattern"].to_string(), r#"{"k_proj":3}"#);
        assert_eq!(json["rank_pattern"].to_string(), r#"{"k_proj":2,"a":3}"#, "the order decides and is kept");
    }

    #[test]
    fn targets_that_are_no_names_are_written_as_the_layers_they_chose() {
        let adapted = ["model.layers.0.self_attn.q_proj".to_owned()];
        for target_modules in [Targets::AllLinear, Targets::Pattern(".*q_proj".to_owned())] {
            let config = LoraConfig { target_modules, layers_to_transform: vec![0], ..LoraConfig::default() };
            let json = config.to_json(None, false, &adapted);
            assert_eq!(json["target_modules"], json!(adapted));
            assert!(json["layers_to_transform"].is_null());
        }
    }

    #[test]
    fn one_word_chooses_layers() {
        assert_eq!(Targets::parse("All-Linear"), Targets::AllLinear);
        assert_eq!(Targets::parse("q_proj, v_proj"), Targets::Named(vec!["q_proj".into(), "v_proj".into()]));
        assert_eq!(Targets::parse("layers.0.mlp.up_proj"), Targets::Named(vec!["layers.0.mlp.up_proj".into()]));
        assert_eq!(Targets::parse(r".*\.[qv]_proj"), Targets::Pattern(r".*\.[qv]_proj".into()));
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("some")),
            ("init_lora_weights", json!("pissa")),
            ("init_lora_weights", json!("mica")),
            ("r", json!(0)),
            ("use_dora", json!("yes")),
            ("lora_dropout", json!(1)),
            ("rank_pattern", json!({"q_proj": 0})),
            ("layers_pattern", json!("layers")),
            ("trainable_token_indices", json!([1])),
            ("layer_replication", json!([[0, 1]])),
            ("a_later_scale", json!(2.0)),
        ] {
            let mut json = LoraConfig::default().to_json(None, false, &["q_proj".to_owned()]);
            json[key] = value;
            let error = LoraConfig::from_json(&json).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
        let both = LoraConfig { use_dora: true, lora_bias: true, ..LoraConfig::default() };
        assert!(both.check().unwrap_err().to_string().contains("lora_bias"));
        let odd = LoraConfig { r: 3, init_lora_weights: InitialWeights::Orthogonal, ..LoraConfig::default() };
        assert!(odd.check().unwrap_err().to_string().contains("even rank"));
    }
}
