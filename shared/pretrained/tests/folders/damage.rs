//! Each kind of damage gets one clear message: the file, what was expected, what was found.

use std::path::Path;

use model::{LoraConfig, Trainable};
use pretrained::{PretrainedError, SaveType, adapter_files, model_files, open_adapter, open_model, write_to};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::support::{small_config, small_model, split_into_shards};

fn model_folder() -> TempDir {
    let folder = tempdir().unwrap();
    let files = model_files(small_model(1).parameters(), &small_config(), None, SaveType::F32).unwrap();
    write_to(files, folder.path()).unwrap();
    folder
}

fn refusal(folder: &Path) -> (String, Option<String>) {
    let error: PretrainedError = open_model(folder, Trainable::Nothing).unwrap_err();
    (error.to_string(), error.hint())
}

fn expect(folder: &Path, parts: &[&str]) {
    let (message, hint) = refusal(folder);
    for part in parts {
        assert!(message.contains(part), "{part} is not in: {message} ({hint:?})");
    }
}

#[test]
fn files_that_are_missing_are_named() {
    let folder = model_folder();
    expect(&folder.path().join("absent"), &["absent", "does not exist"]);
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    expect(folder.path(), &["model.safetensors", "does not exist"]);
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    expect(folder.path(), &["holds no config.json"]);
}

#[test]
fn a_file_cut_short_says_how_many_bytes_it_lacks() {
    let folder = model_folder();
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    expect(
        folder.path(),
        &["model.safetensors", &format!("{} bytes", bytes.len()), &format!("{} bytes", bytes.len() - 100)],
    );
    std::fs::write(&path, &bytes[..5]).unwrap();
    expect(folder.path(), &["model.safetensors"]);
    std::fs::write(&path, []).unwrap();
    expect(folder.path(), &["model.safetensors"]);
}

#[test]
fn a_missing_shard_is_named() {
    let (whole, shards) = (model_folder(), tempdir().unwrap());
    split_into_shards(whole.path(), shards.path());
    std::fs::remove_file(shards.path().join("model-00002-of-00002.safetensors")).unwrap();
    expect(shards.path(), &["model-00002-of-00002.safetensors", "does not exist"]);
}

#[test]
fn a_configuration_that_is_not_honoured_is_refused_by_name() {
    for (key, value, parts) in [
        ("model_type", json!("mamba"), ["`mamba` is not supported", "llama"]),
        ("quantization_config", json!({"bits": 4}), ["quantization_config", "unquantised"]),
        ("hidden_act", json!("mish"), ["hidden_act", "silu"]),
        ("rope_scaling", json!({"rope_type": "spiral", "factor": 4.0}), ["rope_type", "llama3"]),
        ("num_key_value_heads", json!(3), ["num_key_value_heads", "divisor"]),
        ("vocab_size", json!("many"), ["vocab_size", "positive whole number"]),
        ("hidden_size", Value::Null, ["hidden_size", "missing"]),
    ] {
        let folder = model_folder();
        let mut config = small_config();
        config[key] = value;
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        expect(folder.path(), &parts);
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let folder = model_folder();
    for (key, value, parts) in [
        ("num_hidden_layers", json!(3), ["missing from the weights", "model.layers.2.input_layernorm.weight"]),
        ("num_hidden_layers", json!(1), ["no place", "model.layers.1.input_layernorm.weight"]),
        ("intermediate_size", json!(25), ["[24, 16]", "[25, 16]"]),
        ("attention_bias", json!(true), ["missing", "q_proj.bias"]),
    ] {
        let mut config = small_config();
        config[key] = value;
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        expect(folder.path(), &parts);
    }
}

#[test]
fn an_adapter_of_another_model_is_refused_by_its_names() {
    let mut decoder = small_model(1);
    decoder.add_lora(&LoraConfig::default(), 1).unwrap();
    let folder = tempdir().unwrap();
    write_to(adapter_files(&decoder, None).unwrap(), folder.path()).unwrap();
    let path = folder.path().join("adapter_config.json");
    let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (targets, parts) in [
        (json!(["q_proj"]), ["belong to no targeted layer", "up_proj.lora_A.weight"]),
        (json!(["query"]), ["`query` matches no linear layer", "`q_proj`"]),
    ] {
        let mut changed = json.clone();
        changed["target_modules"] = targets;
        std::fs::write(&path, changed.to_string()).unwrap();
        let message = open_adapter(&mut small_model(1), folder.path()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    std::fs::remove_file(&path).unwrap();
    let message = open_adapter(&mut small_model(1), folder.path()).unwrap_err().to_string();
    assert!(message.contains("holds no adapter_config.json"), "{message}");
}
