//! Bases in fewer bits through the real binaries: QLoRA beside LoRA, GGUF out and in again.

use std::fs;
use std::path::{Path, PathBuf};

use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{program, reference, stderr};

fn json(command: &mut assert_cmd::Command) -> Value {
    let done = command.args(["--json", "-q"]).assert().success();
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

/// Some lines of a story as tokens of the model, to train and to validate on.
fn tokens(model: &Path, home: &TempDir) -> Option<PathBuf> {
    let text = fs::read_to_string(reference("datasets/text/tinystories_sample.txt")?).unwrap();
    let chunks: Vec<String> = text
        .split_inclusive(['.', '!', '?'])
        .collect::<Vec<_>>()
        .chunks(6)
        .take(60)
        .map(|chunk| serde_json::json!({"text": chunk.concat()}).to_string())
        .collect();
    let lines = home.path().join("stories.jsonl");
    fs::write(&lines, chunks.join("\n")).unwrap();
    let (data, out) = (home.path().join("data"), home.path().join("tokens"));
    let split = "train=0.7,validation=0.3,test=0";
    program("retune-ingest").arg(&lines).arg("--out").arg(&data).args(["--split", split]).assert().success();
    let mut tokenize = program("retune-tokenize");
    tokenize.arg(&data).arg("--model").arg(model).arg("--out").arg(&out).args(["--overflow", "truncate"]);
    tokenize.args(["--max-length", "128"]).assert().success();
    Some(out)
}

fn validation_loss(tokens: &Path, model: &Path, home: &TempDir, name: &str, arguments: &[&str]) -> f64 {
    let out = home.path().join(name);
    let mut train = program("retune-train");
    train.arg(tokens).arg("--model").arg(model).arg("--out").arg(&out).args(["--max-steps", "12", "--batch-size", "4"]);
    let report = json(train.args(["--learning-rate", "2e-3"]).args(arguments));
    assert!(out.join("adapter_model.safetensors").is_file());
    report["validation"]["last"].as_f64().unwrap()
}

#[test]
fn a_base_in_fewer_bits_trains_as_the_base() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let home = tempfile::tempdir().unwrap();
    let tokens = tokens(&model, &home).unwrap();
    let full = validation_loss(&tokens, &model, &home, "lora", &[]);
    for (format, tolerance) in [("int8", 0.01), ("q8_0", 0.005), ("q4_k", 0.06), ("nf4", 0.06)] {
        let arguments = ["--method", "qlora", "--quantize-base", format];
        let found = validation_loss(&tokens, &model, &home, format, &arguments);
        assert!((found - full).abs() <= tolerance * full, "{format}: {found} beside {full}");
    }
    // The same again: the same bytes, also for one thread.
    let arguments = ["--method", "qlora", "--quantize-base", "int8", "--threads", "1"];
    validation_loss(&tokens, &model, &home, "again", &arguments);
    let adapter = |name: &str| fs::read(home.path().join(name).join("adapter_model.safetensors")).unwrap();
    assert!(adapter("again") == adapter("int8"));
    // The adapter belongs to the full base: it is folded into it in f32.
    let mut export = program("retune-export");
    export.arg("--model").arg(&model).arg("--adapter").arg(home.path().join("nf4"));
    export.arg("--out").arg(home.path().join("merged")).assert().success();
}

#[test]
fn what_does_not_go_together_is_said() {
    let Some(model) = reference("models/stories260K") else { return };
    let train = |arguments: &[&str]| {
        let mut command = program("retune-train");
        command.arg("nothing").arg("--model").arg(&model).args(["--out", "nowhere"]).args(arguments);
        command.assert()
    };
    let said = stderr(&train(&["--quantize-base", "nf4"]).failure());
    assert!(said.contains("--quantize-base nf4 goes with --method qlora") || said.contains("nothing"), "{said}");
    train(&["--method", "qlora", "--quantize-base", "int4"]).code(2);
    let export = |arguments: &[&str]| {
        let mut command = program("retune-export");
        command.arg("--model").arg(&model).args(["--out", "nowhere"]).args(arguments);
        command.assert().code(2)
    };
    export(&["--quantize", "q8_0"]).stderr(contains("--to gguf"));
    export(&["--to", "gguf", "--dtype", "f16"]).stderr(contains("--quantize"));
}

/// Every tensor of a safetensors file, by name, as f32.
fn weights(folder: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<(String, Vec<f32>)> = file
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
            let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (name, values)
        })
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

fn export(model: &Path, out: &Path, arguments: &[&str]) -> Value {
    json(program("retune-export").arg("--model").arg(model).arg("--out").arg(out).args(arguments))
}

#[test]
fn a_model_goes_through_gguf_and_comes_back() {
    for name in ["llama", "llama-tied-rope3", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"] {
        let Some(model) = reference(&format!("architectures/{name}")) else { return };
        let home = tempfile::tempdir().unwrap();
        let (file, back) = (home.path().join("gguf"), home.path().join("back"));
        let report = export(&model, &file, &["--to", "gguf", "--quantize", "f32"]);
        let difference = report["stored_difference"].as_f64().unwrap();
        assert!(difference <= 1e-5, "{name}: {difference}");
        export(&file.join("model.gguf"), &back, &["--dtype", "f32"]);
        let (found, expected) = (weights(&back), weights(&model));
        assert_eq!(found.len(), expected.len(), "{name}");
        for ((found_name, found), (name, expected)) in found.iter().zip(&expected) {
            assert_eq!(found_name, name);
            // Gemma's norms are stored with one added: a rounding.
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 1.2e-7), "{name}");
        }
        // Blocks of 8 bits stay near, whatever the shapes; 16 bits nearer.
        for (quantize, tolerance) in [("f16", 2e-3), ("bf16", 2e-2), ("q8_0", 3e-2), ("q4_k_m", 0.6)] {
            let report = export(&model, &home.path().join(quantize), &["--to", "gguf", "--quantize", quantize]);
            let difference = report["stored_difference"].as_f64().unwrap();
            assert!(difference < tolerance, "{name} in {quantize}: {difference}");
        }
    }
}

#[test]
fn what_llama_cpp_does_not_have_is_refused_by_name() {
    for (name, reason) in [
        ("mistral", "sliding window of"),
        ("gpt-neox", "model_type gpt_neox is not written"),
        ("olmo2", "model_type olmo2 is not written"),
    ] {
        let Some(model) = reference(&format!("architectures/{name}")) else { return };
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("gguf");
        let mut export = program("retune-export");
        export.arg("--model").arg(&model).arg("--out").arg(&out).args(["--to", "gguf"]);
        export.assert().code(1).stderr(contains(reason));
        assert!(!out.join("manifest.json").exists());
    }
}

#[test]
fn a_gguf_file_alone_is_a_model() {
    let Some(model) = reference("models/stories260K") else { return };
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("gguf");
    export(&model, &out, &["--to", "gguf", "--quantize", "f16"]);
    let generate = |model: &Path| {
        let mut command = program("retune-generate");
        command.arg("--model").arg(model).args(["--prompt", "Once upon a time", "--max-new-tokens", "60", "-q"]);
        String::from_utf8(command.args(["--temperature", "0"]).assert().success().get_output().stdout.clone()).unwrap()
    };
    // The file carries its tokenizer: alone, and as the only one of a folder.
    let expected = generate(&model);
    assert_eq!(generate(&out.join("model.gguf")), expected);
    assert_eq!(generate(&out), expected);
    // A copy under another name, cut short: refused with the reason.
    let cut = home.path().join("cut.gguf");
    let whole = fs::read(out.join("model.gguf")).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let mut command = program("retune-generate");
    command.arg("--model").arg(&cut).args(["--prompt", "x"]).assert().code(1).stderr(contains("cut.gguf"));
    // It is trained on as it is, and evaluated.
    let tokens = tokens(&model, &home).unwrap();
    let f32_loss = validation_loss(&tokens, &model, &home, "lora", &[]);
    let loss = validation_loss(&tokens, &out.join("model.gguf"), &home, "lora-gguf", &[]);
    assert!((loss - f32_loss).abs() < 2e-3 * f32_loss, "{loss} beside {f32_loss}");
    let mut evaluate = program("retune-evaluate");
    evaluate
        .arg(&tokens)
        .arg("--model")
        .arg(out.join("model.gguf"))
        .arg("--adapter")
        .arg(home.path().join("lora-gguf"));
    let report = json(evaluate.arg("--out").arg(home.path().join("eval")));
    assert!(report.to_string().contains("perplexity"));
}
