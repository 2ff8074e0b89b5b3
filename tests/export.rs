//! `retune-export` with the real binary on real models.

use crate::support::{all_in_contract, program, reference, stderr};
use predicates::str::contains;

#[test]
fn an_adapter_is_folded_in_and_checked() {
    for name in ["llama", "gpt2", "phi3", "gpt-neox"] {
        let Some(model) = reference(&format!("architectures/{name}")) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("merged");
        let export = || {
            let mut command = program("retune-export");
            command.arg("--model").arg(&model).arg("--adapter").arg(model.join("lora_final")).arg("--out").arg(&out);
            command
        };
        let json = export().args(["--json", "-q"]).assert().success();
        let report: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).expect("JSON");
        let difference = report["merge_difference"].as_f64().expect("a number");
        assert!(difference < 1e-4, "{name}: {difference}");
        for file in ["config.json", "generation_config.json", "model.safetensors", "manifest.json"] {
            assert!(out.join(file).is_file(), "{name}: {file}");
        }
        export().assert().success().stderr(contains("up to date"));
        // The folder is a base model again, and half the size is half the size.
        let half = folder.path().join("half");
        let mut again = program("retune-export");
        again.arg("--model").arg(&out).args(["--dtype", "f16", "--out"]).arg(&half).assert().success();
        let size =
            |folder: &std::path::Path| std::fs::metadata(folder.join("model.safetensors")).expect("written").len();
        assert!(size(&half) * 10 < size(&out) * 6, "{name}");
    }
}

#[test]
fn what_is_not_there_or_does_not_fit_is_said() {
    let Some(models) = reference("architectures") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let export = |model: &std::path::Path, adapter: &std::path::Path| {
        let mut command = program("retune-export");
        command.arg("--model").arg(model).arg("--adapter").arg(adapter).arg("--out").arg(&out);
        command.assert()
    };
    let missing = export(&models.join("nothing"), &models.join("llama/lora_final")).code(1);
    assert!(stderr(&missing).contains("does not exist"), "{}", stderr(&missing));
    let foreign = export(&models.join("gpt2"), &models.join("llama/lora_final")).code(1);
    assert!(stderr(&foreign).contains("matches no linear layer"), "{}", stderr(&foreign));
    assert!(!out.join("manifest.json").exists());
    program("retune-export").args(["--model", "x", "--out", "y", "--to", "gguf"]).assert().code(1);
}

#[test]
fn large_weights_are_written_in_shards() {
    let Some(model) = reference("models/stories260K") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let export = |from: &std::path::Path, out: &str, size: &str| {
        let mut command = program("retune-export");
        command.arg("--model").arg(from).arg("--out").arg(folder.path().join(out));
        command.args(["--max-shard-size", size, "--json", "-q"]).assert()
    };
    export(&model, "shards", "300KB").success();
    let shards = folder.path().join("shards");
    assert!(!shards.join("model.safetensors").exists());
    all_in_contract(&shards);
    let index = std::fs::read(shards.join("model.safetensors.index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    assert_eq!(index["metadata"]["total_parameters"], 260_032);
    for file in index["weight_map"].as_object().expect("a map").values() {
        let size = std::fs::metadata(shards.join(file.as_str().expect("a name"))).expect("a shard").len();
        assert!(size < 310_000, "{file}: {size}");
    }
    // And back into one file: the same bytes as the model's own weights, whole.
    let run = export(&shards, "whole", "1GB").success();
    let report: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    assert_eq!((&report["stored_difference"], &report["tokenizer"]), (&0.0.into(), &"base".into()));
    assert!(folder.path().join("whole/model.safetensors").is_file());
    assert!(stderr(&export(&model, "out", "5").code(2)).contains("such as 5GB"));
}

#[test]
fn help_is_stable() {
    let help = program("retune-export").arg("--help").assert().success();
    insta::assert_snapshot!(String::from_utf8_lossy(&help.get_output().stdout));
}
