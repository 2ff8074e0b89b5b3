//! A Hugging Face model folder or a PEFT adapter.

use crate::view::View;
use crate::{tokenizer_file, weights_file};
use anyhow::Result;
use artifact::files::read_json;
use artifact::weights::Weights;
use serde_json::Value;
use std::path::Path;

const MODEL_FACTS: [&str; 12] = [
    "model_type",
    "hidden_size",
    "n_embd",
    "num_hidden_layers",
    "n_layer",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "n_positions",
    "tie_word_embeddings",
];
const ADAPTER_FACTS: [&str; 9] = [
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "target_modules",
    "base_model_name_or_path",
    "task_type",
];

/// Describes the folder.
pub(crate) fn describe(path: &Path) -> Result<View> {
    let adapter = path.join("adapter_config.json");
    if adapter.is_file() {
        let mut view = View::new("adapter", format!("{}: a PEFT adapter", path.display()));
        facts(&mut view, &read_json(&adapter)?, &ADAPTER_FACTS);
        weights_file::write(&mut view, &Weights::open(&path.join("adapter_model.safetensors"))?);
        return with_tokenizer(path, view);
    }
    let mut view = View::new("model", format!("{}: a Hugging Face model", path.display()));
    facts(&mut view, &read_json(&path.join("config.json"))?, &MODEL_FACTS);
    if path.join("model.safetensors").is_file() || path.join("model.safetensors.index.json").is_file() {
        weights_file::write(&mut view, &Weights::open_model(path)?);
    } else {
        view.section("tensors").line("none: model.safetensors is not there");
    }
    with_tokenizer(path, view)
}

fn facts(view: &mut View, config: &Value, names: &[&str]) {
    let section = view.section("");
    for name in names {
        if let Some(value) = config.get(name).filter(|value| !value.is_null()) {
            section.fact(*name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    view.set("config", config.clone());
}

fn with_tokenizer(path: &Path, mut view: View) -> Result<View> {
    if path.join("tokenizer.json").is_file() {
        view.attach("tokenizer", tokenizer_file::describe(path)?);
    }
    Ok(view)
}
