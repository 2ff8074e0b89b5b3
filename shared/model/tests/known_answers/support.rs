//! The reference material, read where it is and skipped by name where it is not.

use std::path::{Path, PathBuf};

use model::{Batch, Decoder, MemorySource, Mode, ModelConfig, Trainable};
use serde_json::Value;

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

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn tensors(path: &Path) -> MemorySource {
    MemorySource::new(candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap())
}

pub(crate) fn open(folder: &Path, trainable: Trainable) -> Decoder {
    let config = ModelConfig::from_json(&json(&folder.join("config.json"))).unwrap();
    Decoder::load(&config, &tensors(&folder.join("model.safetensors")), trainable).unwrap()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// Largest absolute difference.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Logits of every position of one sequence.
pub(crate) fn logits(decoder: &Decoder, ids: &[u32]) -> Vec<Vec<f32>> {
    let hidden = decoder.hidden_states(&Batch::from_sequences(&[ids]).unwrap(), Mode::Evaluate).unwrap();
    decoder.logits(&hidden).unwrap().to_vec2().unwrap()
}

/// Greedy continuation through the cache.
pub(crate) fn greedy(decoder: &Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut cache = decoder.new_cache(1);
    let mut next = prompt.to_vec();
    let mut generated = Vec::new();
    for _ in 0..count {
        let logits = decoder.decode(&[&next], &mut cache).unwrap().to_vec2::<f32>().unwrap();
        next = vec![argmax(&logits[0])];
        generated.push(next[0]);
    }
    generated
}

pub(crate) fn argmax(values: &[f32]) -> u32 {
    values.iter().enumerate().fold(0, |best, (index, value)| if *value > values[best] { index } else { best }) as u32
}

/// Targets of one unpacked row: the label of the next position.
pub(crate) fn shifted(labels: &Value) -> Vec<i32> {
    let labels: Vec<i32> = labels.as_array().unwrap().iter().map(|label| label.as_i64().unwrap() as i32).collect();
    labels[1..].iter().copied().chain([-100]).collect()
}
