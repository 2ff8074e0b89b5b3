//! The small reference models with known answers, read without the crates that know files.

use std::path::{Path, PathBuf};

use model::{Decoder, LoraConfig, MemorySource, ModelConfig, Trainable};
use serde_json::Value;

/// The folder of a reference architecture; `None` (after saying so) where the material is absent.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn architecture(name: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference");
    let root = std::env::var_os("RETUNE_REFERENCE").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let folder = root.join("architectures").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "the reference material is missing: {}", folder.display());
    println!("skipped: {} is absent", folder.display());
    None
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn tensors(path: &Path) -> MemorySource {
    MemorySource::new(candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap())
}

pub(crate) fn decoder(folder: &Path, trainable: Trainable) -> Decoder {
    let config = ModelConfig::from_json(&json(&folder.join("config.json"))).unwrap();
    Decoder::load(&config, &tensors(&folder.join("model.safetensors")), trainable).unwrap()
}

/// The model with the adapter from which the known run started.
pub(crate) fn decoder_with_adapter(folder: &Path) -> Decoder {
    let mut decoder = decoder(folder, Trainable::Nothing);
    let adapter = folder.join("lora_init");
    let config: LoraConfig = LoraConfig::from_json(&json(&adapter.join("adapter_config.json"))).unwrap();
    decoder.load_lora(&config, &tensors(&adapter.join("adapter_model.safetensors"))).unwrap();
    decoder
}
