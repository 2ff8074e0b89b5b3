//! From a GGUF file's metadata to the `config.json` that Hugging Face would have for the model. Every key of the
//! architecture must be known here: one that is not could change what the model computes.

use std::cell::RefCell;
use std::collections::BTreeSet;

use artifact::gguf::{Gguf, GgufValue};
use model::RopeScaling;
use serde_json::{Map, Value, json};

use super::Refusal;
use super::architecture::Architecture;
use super::rope::{ROPE_FACTORS, rule};

/// Keys that say nothing about the arithmetic.
const WITHOUT_EFFECT: [&str; 4] = ["vocab_size", "use_parallel_residual", "attention.causal", "tensor_data_layout"];

/// The configuration of the model in the file.
pub(super) fn read(gguf: &Gguf, architecture: &Architecture) -> Result<Value, Refusal> {
    let keys = Keys { gguf, architecture: architecture.name, read: RefCell::default() };
    let mut json = if architecture.name == "gpt2" { gpt2(&keys)? } else { standard(&keys)? };
    json.insert("model_type".into(), architecture.model_types[0].into());
    json.insert("architectures".into(), json!([architecture.class]));
    json.insert("tie_word_embeddings".into(), json!(gguf.get("output.weight").is_none()));
    json.insert("torch_dtype".into(), json!("float32"));
    for (key, own) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        let id = gguf.metadata().get(&format!("tokenizer.ggml.{own}_token_id")).and_then(GgufValue::as_u64);
        json.insert(key.into(), id.map_or(Value::Null, Value::from));
    }
    keys.refuse_the_rest()?;
    Ok(Value::Object(json))
}

fn gpt2(keys: &Keys<'_>) -> Result<Map<String, Value>, Refusal> {
    let (hidden, heads) = (keys.count("embedding_length")?, keys.count("attention.head_count")?);
    let key_value_heads = keys.count_or("attention.head_count_kv", heads)?;
    if key_value_heads != heads {
        return Err((format!("attention.head_count_kv {heads}"), key_value_heads.to_string()));
    }
    Ok(object(json!({
        "vocab_size": keys.vocabulary()?,
        "n_positions": keys.count("context_length")?,
        "n_embd": hidden,
        "n_layer": keys.count("block_count")?,
        "n_head": heads,
        "n_inner": keys.count("feed_forward_length")?,
        "layer_norm_epsilon": keys.number("attention.layer_norm_epsilon")?,
        "activation_function": "gelu_new",
    })))
}

fn standard(keys: &Keys<'_>) -> Result<Map<String, Value>, Refusal> {
    let (hidden, heads) = (keys.count("embedding_length")?, keys.count("attention.head_count")?);
    let head_dim = keys.count_or("attention.key_length", hidden / heads.max(1))?;
    if keys.count_or("attention.value_length", head_dim)? != head_dim {
        return Err(("keys and values of one width".into(), "another attention.value_length".into()));
    }
    let rotary = keys.count_or("rope.dimension_count", head_dim)?;
    if rotary != head_dim {
        return Err((format!("rope.dimension_count {head_dim}, the width of a head"), rotary.to_string()));
    }
    let gemma = keys.architecture.starts_with("gemma");
    let theta = keys.number_or("rope.freq_base", if keys.architecture == "gemma3" { 1e6 } else { 10_000.0 })?;
    let mut json = object(json!({
        "vocab_size": keys.vocabulary()?,
        "hidden_size": hidden,
        "intermediate_size": keys.count("feed_forward_length")?,
        "num_hidden_layers": keys.count("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.count_or("attention.head_count_kv", heads)?,
        "head_dim": head_dim,
        "max_position_embeddings": keys.count("context_length")?,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon")?,
        "rope_theta": theta,
        "attention_bias": keys.gguf.get("blk.0.attn_output.bias").is_some(),
        "mlp_bias": keys.gguf.get("blk.0.ffn_down.bias").is_some(),
    }));
    if gemma {
        json.insert("hidden_activation".into(), json!("gelu_pytorch_tanh"));
        json.insert("query_pre_attn_scalar".into(), json!(head_dim));
    } else {
        json.insert("hidden_act".into(), json!("silu"));
    }
    window(keys, &mut json)?;
    for (key, own) in
        [("attn_logit_softcapping", "attn_logit_softcapping"), ("final_logit_softcapping", "final_logit_softcapping")]
    {
        let cap = keys.optional_number(key)?;
        if gemma || cap.is_some() {
            json.insert(own.into(), cap.map_or(Value::Null, Value::from));
        }
    }
    scaling(keys, &mut json, theta, head_dim)?;
    if keys.architecture == "gemma3" {
        json.insert("rope_local_base_freq".into(), json!(keys.number_or("rope.freq_base_swa", 10_000.0)?));
    }
    Ok(json)
}

/// Sliding windows: of Gemma in the layers that the architecture says, of Phi 3 in all. Others have none.
fn window(keys: &Keys<'_>, json: &mut Map<String, Value>) -> Result<(), Refusal> {
    let window = keys.optional_count("attention.sliding_window")?;
    match (keys.architecture, window) {
        ("gemma2" | "gemma3" | "phi3", window) => {
            json.insert("sliding_window".into(), window.map_or(Value::Null, Value::from));
        }
        (_, None) => {}
        (architecture, Some(window)) => {
            return Err((format!("no sliding window in {architecture}"), format!("attention.sliding_window {window}")));
        }
    }
    if let Some(pattern) = keys.optional_count("attention.sliding_window_pattern")? {
        json.insert("sliding_window_pattern".into(), json!(pattern));
    }
    Ok(())
}

fn scaling(keys: &Keys<'_>, json: &mut Map<String, Value>, theta: f64, head_dim: usize) -> Result<(), Refusal> {
    let kind = keys.optional_text("rope.scaling.type")?.unwrap_or_else(|| "none".into());
    let original = keys.optional_count("rope.scaling.original_context_length")?;
    let factor = keys.optional_number("rope.scaling.factor")?;
    match (kind.as_str(), factor) {
        ("none", _) | ("linear", None | Some(1.0)) => {}
        ("linear", Some(factor)) => {
            json.insert("rope_scaling".into(), json!({"rope_type": "linear", "factor": factor}));
        }
        (other, _) => return Err(("rope.scaling.type none or linear".into(), format!("{other} (of {original:?})"))),
    }
    let Some(tensor) = keys.gguf.get(ROPE_FACTORS) else { return Ok(()) };
    let found: Vec<f32> = match tensor.kind.name {
        "F32" if tensor.shape == [head_dim / 2] => {
            tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        kind => return Err((format!("{ROPE_FACTORS} of {} F32", head_dim / 2), format!("{:?} {kind}", tensor.shape))),
    };
    match rule(&found, theta) {
        Some(RopeScaling::Llama3 { factor, low, high, original_context }) => {
            json.insert(
                "rope_scaling".into(),
                json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                       "original_max_position_embeddings": original_context as u64}),
            );
            Ok(())
        }
        _ => Err((format!("{ROPE_FACTORS} by Llama 3's rule"), "other divisors".into())),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The metadata under the architecture's name; what has been read is remembered.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
    read: RefCell<BTreeSet<String>>,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<(&GgufValue, String)> {
        let key = format!("{}.{key}", self.architecture);
        self.read.borrow_mut().insert(key.clone());
        Some((self.gguf.metadata().get(&key)?, key))
    }

    fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&GgufValue) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some((value, name)) = self.get(key) else { return Ok(None) };
        // A list with one entry for each layer is one value where the entries are equal.
        let one = match value.as_array() {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => first,
            _ => value,
        };
        let shown = || format!("{value:?}").chars().take(100).collect::<String>();
        read(one).map(Some).ok_or_else(|| (format!("{name} to be {expected}"), shown()))
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>, Refusal> {
        self.optional(key, "a whole number", |value| value.as_u64().map(|number| number as usize))
    }

    fn optional_number(&self, key: &str) -> Result<Option<f64>, Refusal> {
        self.optional(key, "a number", GgufValue::as_f64)
    }

    fn optional_text(&self, key: &str) -> Result<Option<String>, Refusal> {
        self.optional(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn count(&self, key: &str) -> Result<usize, Refusal> {
        self.optional_count(key)?.ok_or_else(|| (format!("the key {}.{key}", self.architecture), "no such key".into()))
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize, Refusal> {
        Ok(self.optional_count(key)?.unwrap_or(default))
    }

    fn number(&self, key: &str) -> Result<f64, Refusal> {
        self.optional_number(key)?.ok_or_else(|| (format!("the key {}.{key}", self.architecture), "no such key".into()))
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, Refusal> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    fn vocabulary(&self) -> Result<usize, Refusal> {
        let embedding = self.gguf.get("token_embd.weight");
        let rows = embedding.and_then(|tensor| tensor.shape.first().copied());
        rows.ok_or_else(|| ("the tensor token_embd.weight".into(), "no such tensor".into()))
    }

    fn refuse_the_rest(&self) -> Result<(), Refusal> {
        let (prefix, read) = (format!("{}.", self.architecture), self.read.borrow());
        for (key, value) in &self.gguf.metadata().0 {
            let Some(own) = key.strip_prefix(&prefix) else { continue };
            if !read.contains(key) && !WITHOUT_EFFECT.contains(&own) && value.as_u64() != Some(0) {
                let shown: String = format!("{value:?}").chars().take(100).collect();
                return Err((format!("no key {key}, or 0: it may change the result and is not honoured"), shown));
            }
        }
        Ok(())
    }
}
