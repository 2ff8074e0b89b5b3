//! Folders for other tools to open: run by hand, with a script that compares transformers' and PEFT's logits with ours.
//!
//! `RETUNE_WRITE_TO=DIR cargo test --release -p retune-pretrained -- --ignored folders_for_other_tools` writes, for each
//! reference model, `NAME/adapter`, `NAME/merged`, `NAME/full` and `NAME/logits.json` with the ids and the logits of base,
//! adapted and merged model.

use std::path::PathBuf;

use model::{LoraConfig, Targets, Trainable};
use pretrained::{SaveType, adapter_files, model_files, open_model, write_to};
use serde_json::json;

use crate::support::{logits, reference};

#[test]
#[ignore = "writes folders for other tools"]
fn folders_for_other_tools() {
    let root = PathBuf::from(std::env::var_os("RETUNE_WRITE_TO").expect("RETUNE_WRITE_TO names a folder"));
    let models = ["models/stories260K", "models/tinystories-chat-3M", "architectures/phi3", "architectures/gpt-neox"];
    for (index, name) in models.into_iter().enumerate() {
        let Some(folder) = reference(name) else { return };
        let mut model = open_model(&folder, Trainable::Nothing).unwrap();
        let ids: Vec<u32> = (0..40).map(|position| 3 + position * 7 % 300).collect();
        let base = logits(&model.decoder, &ids);
        let linears = model.config.description().linears();
        let first = linears[0].name.rsplit('.').next().unwrap().to_owned();
        let config = LoraConfig {
            r: 4,
            alpha: 6.0,
            use_rslora: index % 2 == 0,
            target_modules: if index < 2 { Targets::AllLinear } else { Targets::Named(vec![first.clone()]) },
            rank_pattern: vec![(format!("1.*{first}"), 7)],
            ..LoraConfig::default()
        };
        model.decoder.add_lora(&config, 11).unwrap();
        for parameter in model.decoder.trainable().iter().filter(|parameter| parameter.name.contains("lora_B")) {
            let shape = parameter.var.dims2().unwrap();
            let values: Vec<f32> =
                (0..shape.0 * shape.1).map(|at| ((at * 37 % 101) as f32 / 50.0 - 1.0) * 0.1).collect();
            let value = candle_core::Tensor::from_vec(values, shape, parameter.var.device()).unwrap();
            parameter.var.set(&value).unwrap();
        }
        let target = root.join(folder.file_name().unwrap());
        for part in ["adapter", "merged", "full"] {
            std::fs::create_dir_all(target.join(part)).unwrap();
        }
        let (config, generation) = (&model.config_json, model.generation_config.as_ref());
        write_to(adapter_files(&model.decoder, Some("base")).unwrap(), &target.join("adapter")).unwrap();
        let merged = model.decoder.merged().unwrap();
        write_to(model_files(merged, config, generation, SaveType::F32).unwrap(), &target.join("merged")).unwrap();
        let full = model.decoder.parameters();
        write_to(model_files(full, config, generation, SaveType::F32).unwrap(), &target.join("full")).unwrap();
        let merged = open_model(&target.join("merged"), Trainable::Nothing).unwrap();
        let found = json!({
            "model": name, "ids": ids, "base": base, "adapted": logits(&model.decoder, &ids),
            "merged": logits(&merged.decoder, &ids),
        });
        std::fs::write(target.join("logits.json"), found.to_string()).unwrap();
    }
}
