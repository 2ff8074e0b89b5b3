//! What is written is read back as it was, in each type, whole or in shards; adapters likewise.

use model::{LoraConfig, Targets, Trainable};
use pretrained::{
    SaveType, adapter_files, base_model_name, model_files, open_adapter, open_config, open_model, write_to,
};
use serde_json::Value;
use tempfile::tempdir;

use crate::support::{difference, logits, small_config, small_model, split_into_shards};

const IDS: [u32; 9] = [1, 5, 9, 39, 0, 7, 7, 12, 2];

#[test]
fn each_type_and_shards_are_read() {
    let decoder = small_model(1);
    let expected = logits(&decoder, &IDS);
    for (save_type, name, tolerance) in
        [(SaveType::F32, "float32", 0.0), (SaveType::F16, "float16", 2e-2), (SaveType::BF16, "bfloat16", 2e-1)]
    {
        let folder = tempdir().unwrap();
        write_to(model_files(decoder.parameters(), &small_config(), None, save_type).unwrap(), folder.path()).unwrap();
        let read = open_model(folder.path(), Trainable::Nothing).unwrap();
        let distance = difference(&logits(&read.decoder, &IDS), &expected);
        assert!(distance <= tolerance, "{name}: {distance}");
        assert_eq!(read.config_json["torch_dtype"], name);
        assert_eq!(SaveType::of_config(&read.config_json), save_type);
        assert_eq!(read.generation_config.unwrap()["eos_token_id"], 2);

        let shards = tempdir().unwrap();
        split_into_shards(folder.path(), shards.path());
        let sharded = open_model(shards.path(), Trainable::Nothing).unwrap();
        assert_eq!(logits(&sharded.decoder, &IDS), logits(&read.decoder, &IDS));
        // A type is no longer lost by reading: the second generation equals the first.
        let again = tempdir().unwrap();
        let files = model_files(sharded.decoder.parameters(), &read.config_json, None, save_type).unwrap();
        write_to(files, again.path()).unwrap();
        for file in ["config.json", "model.safetensors"] {
            assert_eq!(
                std::fs::read(again.path().join(file)).unwrap(),
                std::fs::read(folder.path().join(file)).unwrap()
            );
        }
    }
}

#[test]
fn an_adapter_is_read_back_and_continues() {
    let config = LoraConfig {
        r: 3,
        alpha: 5.0,
        use_rslora: true,
        target_modules: Targets::Named(["q_proj", "down_proj"].map(str::to_owned).to_vec()),
        rank_pattern: vec![("layers.1.self_attn.q_proj".to_owned(), 2)],
        ..LoraConfig::default()
    };
    let mut decoder = small_model(1);
    decoder.add_lora(&config, 7).unwrap();
    assert_eq!(logits(&decoder, &IDS), logits(&decoder.without_adapter(), &IDS), "B begins at zero");
    for parameter in decoder.trainable().iter().filter(|parameter| parameter.name.contains("lora_B")) {
        parameter.var.set(&(parameter.var.as_tensor().ones_like().unwrap() * 0.1).unwrap()).unwrap();
    }
    let folder = tempdir().unwrap();
    write_to(adapter_files(&decoder, Some("org/name")).unwrap(), folder.path()).unwrap();
    let mut again = small_model(1);
    open_adapter(&mut again, folder.path()).unwrap();
    assert_eq!(again.adapter(), Some(&config));
    assert_eq!(logits(&again, &IDS), logits(&decoder, &IDS));
    assert!(difference(&logits(&again, &IDS), &logits(&small_model(1), &IDS)) > 1e-3);
    let second = tempdir().unwrap();
    write_to(adapter_files(&again, Some("org/name")).unwrap(), second.path()).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        assert_eq!(std::fs::read(second.path().join(file)).unwrap(), std::fs::read(folder.path().join(file)).unwrap());
    }
}

#[test]
fn a_tied_output_is_left_out() {
    let mut json = small_config();
    json["tie_word_embeddings"] = Value::Bool(true);
    let decoder = model::Decoder::random(&model::ModelConfig::from_json(&json).unwrap(), 1).unwrap();
    assert!(decoder.parameters().iter().all(|(name, _)| !name.starts_with("lm_head")));
    let folder = tempdir().unwrap();
    // A checkpoint may hold the shared tensor a second time.
    let mut parameters = decoder.parameters();
    parameters.push(("lm_head.weight".to_owned(), parameters[0].1.clone()));
    write_to(model_files(parameters, &json, None, SaveType::F32).unwrap(), folder.path()).unwrap();
    let read = open_model(folder.path(), Trainable::Nothing).unwrap();
    assert_eq!(logits(&read.decoder, &IDS), logits(&decoder, &IDS));
}

#[test]
fn a_configuration_stands_alone_for_training_from_nothing() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("my-model.json");
    std::fs::write(&file, small_config().to_string()).unwrap();
    let (config, json) = open_config(&file).unwrap();
    assert_eq!((config.model_type(), config.vocabulary(), config.context()), ("llama", 40, 64));
    assert_eq!(json, small_config());
    let count: usize = small_model(3).parameters().iter().map(|(_, tensor)| tensor.elem_count()).sum();
    assert_eq!(config.parameter_count(), count);
}

#[test]
fn no_path_is_stored_in_an_adapter() {
    let folder = tempdir().unwrap();
    let model = folder.path().join("base-model");
    std::fs::create_dir(&model).unwrap();
    assert_eq!(base_model_name(model.to_str().unwrap()), "base-model");
    assert_eq!(base_model_name("org/name@main"), "org/name");
    assert_eq!(base_model_name("org/name"), "org/name");
}
