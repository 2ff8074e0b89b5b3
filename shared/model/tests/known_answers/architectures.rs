//! Each architecture against known answers of transformers and PEFT: logits, loss, greedy tokens, adapters.

use std::path::Path;

use crate::support::{difference, floats, greedy, ids, json, logits, open, reference, shifted, tensors};
use model::{Batch, LoraConfig, Mode, Trainable};

pub(crate) fn folders() -> Vec<std::path::PathBuf> {
    let Some(root) = reference("architectures") else { return Vec::new() };
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn check_logits(folder: &Path) {
    let golden = json(&folder.join("golden.json"));
    let decoder = open(folder, Trainable::Nothing);
    let (mut nll, mut rows) = (0.0, Vec::new());
    let mut targets = Vec::new();
    for (index, row) in golden["rows"].as_array().unwrap().iter().enumerate() {
        let ids = ids(&row["input_ids"]);
        let found = logits(&decoder, &ids);
        let last = difference(&found[ids.len() - 1], &floats(&golden["logits_last"][index]));
        let middle = difference(&found[ids.len() / 2], &floats(&golden["logits_mid"][index]));
        eprintln!(
            "{} row {index}: logits differ by {middle:.1e} in the middle, {last:.1e} at the end",
            folder.display()
        );
        assert!(last < 1e-4 && middle < 1e-4, "{}: {last} {middle}", folder.display());
        let batch = Batch::from_sequences(&[&ids]).unwrap();
        let loss = decoder.loss(&batch, &shifted(&row["labels"]), Mode::Evaluate).unwrap();
        nll += f64::from(loss.loss_sum.to_scalar::<f32>().unwrap());
        targets.extend(shifted(&row["labels"]));
        rows.push(ids);
    }
    let expected = golden["nll_sum"].as_f64().unwrap();
    eprintln!("{}: NLL differs by {:.1e} (relative)", folder.display(), (nll / expected - 1.0).abs());
    assert!((nll / expected - 1.0).abs() < 1e-5, "{}: {nll} instead of {expected}", folder.display());
    // Both rows in one flat batch do not see each other.
    let packed = decoder.loss(&Batch::from_sequences(&rows).unwrap(), &targets, Mode::Evaluate).unwrap();
    let packed = f64::from(packed.loss_sum.to_scalar::<f32>().unwrap());
    assert!((packed / expected - 1.0).abs() < 1e-5, "{}: packed {packed}", folder.display());
    assert_eq!(greedy(&decoder, &ids(&golden["greedy_prompt"]), 32), ids(&golden["greedy_32"]), "{}", folder.display());
}

#[test]
fn logits_loss_and_greedy_tokens_are_those_of_transformers() {
    folders().iter().for_each(|folder| check_logits(folder));
}

#[test]
fn adapters_load_strictly_change_the_logits_and_merge() {
    for folder in folders() {
        let golden = json(&folder.join("golden.json"));
        let ids = ids(&golden["rows"][0]["input_ids"]);
        let base = open(&folder, Trainable::Nothing);
        let plain = logits(&base, &ids);
        for name in ["lora_init", "lora_final"] {
            let mut decoder = base.clone();
            let config = LoraConfig::from_json(&json(&folder.join(name).join("adapter_config.json"))).unwrap();
            let source = tensors(&folder.join(name).join("adapter_model.safetensors"));
            decoder.load_lora(&config, &source).unwrap();
            let adapted = logits(&decoder, &ids);
            let change = difference(&adapted.concat(), &plain.concat());
            assert!(change > 1e-3, "{} {name}: {change}", folder.display());
            assert_eq!(logits(&decoder.without_adapter(), &ids), plain);

            let config = model::ModelConfig::from_json(&json(&folder.join("config.json"))).unwrap();
            let merged = model::MemorySource::new(decoder.merged().unwrap());
            let merged = model::Decoder::load(&config, &merged, Trainable::Nothing).unwrap();
            let distance = difference(&logits(&merged, &ids).concat(), &adapted.concat());
            eprintln!("{} {name}: merged logits differ by {distance:.1e}", folder.display());
            assert!(distance < 1e-4, "{} {name}: {distance}", folder.display());
        }
    }
}
