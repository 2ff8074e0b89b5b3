//! The reference material, and small models of our own in folders of any kind.

use std::path::{Path, PathBuf};

use artifact::weights::{Dtype, NamedTensor, Weights, write_weights_to};
use model::{Batch, Decoder, Mode, ModelConfig};
use serde_json::{Value, json};

/// A folder of the reference material, or none with a message; under `CI=true` its absence is a failure.
pub(crate) fn reference(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RETUNE_REFERENCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is absent under CI", path.display());
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// A Llama of a few thousand parameters.
pub(crate) fn small_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
        "hidden_act": "silu", "initializer_range": 0.3, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2
    })
}

pub(crate) fn small_model(seed: u64) -> Decoder {
    Decoder::random(&ModelConfig::from_json(&small_config()).unwrap(), seed).unwrap()
}

pub(crate) fn logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden_states(&Batch::from_sequences(&[ids]).unwrap(), Mode::Evaluate).unwrap();
    decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Writes a folder of two shards with an index, as large models have.
pub(crate) fn split_into_shards(from: &Path, to: &Path) {
    let weights = Weights::open_model(from).unwrap();
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let mut map = serde_json::Map::new();
    for (index, part) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let file = format!("model-{:05}-of-00002.safetensors", index + 1);
        let tensors = part.iter().map(|name| {
            let tensor = weights.get(name).unwrap();
            let (dtype, shape): (Dtype, _) = (tensor.dtype, tensor.shape.to_vec());
            NamedTensor { name: name.clone(), dtype, shape, data: tensor.data.to_vec().into() }
        });
        write_weights_to(&to.join(&file), tensors.collect()).unwrap();
        map.extend(part.iter().map(|name| (name.clone(), Value::String(file.clone()))));
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
    std::fs::write(to.join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
}
