//! `retune-inspect`, the real binary, on what the other stages write and on models of other origin.

use crate::support::{program, reference};
use artifact::{
    Committed, Example, ExampleWriter, Identity, Kind, Message, OutputFolder, PlainColumn, hash_file, write_plain_table,
};
use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn retune(path: &Path) -> Command {
    let mut command = program("retune-inspect");
    command.arg(path);
    command
}

fn json(command: &mut Command) -> Value {
    serde_json::from_slice(&command.arg("--json").assert().success().get_output().stdout).unwrap()
}

/// `data` as ingest leaves it, and `tokens` made of it.
fn pipeline(home: &Path) -> Option<(PathBuf, PathBuf)> {
    let model = reference("tokenizers/gpt2")?;
    let source = home.join("raw.jsonl");
    std::fs::write(&source, "{}").unwrap();
    let (data, tokens) = (home.join("data"), home.join("tokens"));
    let folder = OutputFolder::open(&data).unwrap();
    let example = Example {
        id: "abc".into(),
        kind: Kind::Chat,
        messages: vec![Message::new("user", "Grüße, 你好?"), Message::new("assistant", "Hello 😀")],
        tools: None,
        text: None,
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: "raw.jsonl".into(),
        source_row: 7,
        extra: Vec::new(),
    };
    let mut writer = ExampleWriter::new(folder.stage("train.parquet").unwrap(), &[]).unwrap();
    writer.write(&[example]).unwrap();
    let options = serde_json::json!({"dedup": "exact"});
    let identity = Identity::new("retune-ingest", "0.1.0", &options, vec![hash_file(&source, "raw.jsonl").unwrap()]);
    let outputs = vec![writer.finish().unwrap()];
    folder.commit(Committed { outputs, identity, seed: Some(1), rows: None, summary: Value::Null }).unwrap();
    let mut command = program("retune-tokenize");
    command.arg(&data).arg("--model").arg(model).arg("--out").arg(&tokens).assert().success();
    Some((data, tokens))
}

#[test]
fn help_names_every_option() {
    let output = program("retune-inspect").arg("--help").output().unwrap();
    insta::assert_snapshot!("inspect_help", String::from_utf8(output.stdout).unwrap());
}

#[test]
fn a_folder_tells_its_stage_options_and_inputs() {
    let home = tempfile::tempdir().unwrap();
    let Some((data, tokens)) = pipeline(home.path()) else { return };
    let assert = retune(&tokens).assert().success();
    assert
        .stdout(contains("written by retune-tokenize"))
        .stdout(contains("whole").and(contains("yes")))
        .stdout(contains("1 in = 1 out + 0 rejected"))
        .stdout(contains("train_on").and(contains("assistant")))
        .stdout(contains("same content as ").and(contains("data/train.parquet, written by retune-ingest")))
        .stdout(contains("a BPE tokenizer"))
        .stdout(contains("\u{1b}").not());
    assert_eq!(json(&mut retune(&data))["manifest"]["stage"], "retune-ingest");
    assert_eq!(json(&mut retune(&tokens.join("manifest.json")))["whole"], true);
    std::fs::write(tokens.join("rejects.parquet"), "short").unwrap();
    retune(&tokens).assert().success().stdout(contains("no: rejects.parquet missing or of another size"));
}

#[test]
fn verify_hashes_again_and_fails_on_a_difference() {
    let home = tempfile::tempdir().unwrap();
    let Some((data, tokens)) = pipeline(home.path()) else { return };
    retune(&tokens).arg("--verify").assert().success().stdout(contains("input train.parquet").and(contains("same")));
    retune(&data).arg("--verify").assert().success();
    let table = tokens.join("train.parquet");
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&table, &bytes).unwrap();
    retune(&tokens)
        .arg("--verify")
        .assert()
        .code(1)
        .stdout(contains("output train.parquet").and(contains("differs")))
        .stderr(contains("1 of the recorded files differ"));
    retune(&table).arg("--verify").assert().code(1);
    std::fs::remove_file(&table).unwrap();
    retune(&tokens).args(["--verify", "--json"]).assert().code(1).stdout(contains("\"missing\""));
    // The source of the data changed after ingest.
    std::fs::write(home.path().join("raw.jsonl"), "[]").unwrap();
    retune(&data).arg("--verify").assert().code(1).stdout(contains("input raw.jsonl").and(contains("differs")));
    // The data was made anew after it had been tokenized.
    let mut bytes = std::fs::read(data.join("manifest.json")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let hash = artifact::Manifest::read(&data).unwrap().unwrap().outputs[0].sha256.clone();
    bytes = text.replace(&hash, &"0".repeat(64)).into_bytes();
    std::fs::write(data.join("manifest.json"), bytes).unwrap();
    std::fs::write(data.join("train.parquet"), "anew").unwrap();
    let anew = retune(&tokens).arg("--verify").assert().code(1);
    anew.stdout(contains("input train.parquet").and(contains("changed since")));
    let model = home.path().join("other");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
    retune(&model).assert().code(1);
}

#[test]
fn a_row_of_tokens_shows_text_mark_and_source_of_each() {
    let home = tempfile::tempdir().unwrap();
    let Some((_, tokens)) = pipeline(home.path()) else { return };
    retune(&tokens.join("train.parquet"))
        .args(["--row", "1"])
        .assert()
        .success()
        .stdout(contains("raw.jsonl row 7 (example abc)"))
        .stdout(contains("trained").and(contains("<|endoftext|>")));
    let document = json(retune(&tokens).args(["--row", "1"]));
    let tokens = document["examples"][0]["tokens"].as_array().unwrap();
    let trained: String =
        tokens.iter().filter(|token| token["trained"] == true).map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(trained, " Hello \\xf0\\x9f\\x98\\x80<|endoftext|>");
    // "Grüße, 你好?" in message 0: each character is covered by some token.
    let covered = |message: u64| {
        let mut covered: Vec<u64> = tokens
            .iter()
            .filter(|token| token["message"] == message)
            .flat_map(|token| token["content_start"].as_u64().unwrap()..token["content_end"].as_u64().unwrap())
            .collect();
        covered.sort_unstable();
        covered.dedup();
        covered
    };
    assert_eq!(covered(0), (0..10).collect::<Vec<_>>());
    assert_eq!(covered(1), (0..7).collect::<Vec<_>>());
    retune(&home.path().join("tokens")).args(["--row", "9"]).assert().code(1).stderr(contains("it has 1 row, counted"));
}

#[test]
fn rows_of_other_tables_are_printed_whole() {
    let home = tempfile::tempdir().unwrap();
    let Some((data, tokens)) = pipeline(home.path()) else { return };
    retune(&data)
        .args(["--row", "1"])
        .assert()
        .success()
        .stdout(contains("messages[1].content").and(contains("Hello 😀")).and(contains("source_row")));
    assert_eq!(json(retune(&data.join("train.parquet")).args(["--row", "1"]))["record"]["source_row"], 7);
    retune(&data.join("train.parquet")).assert().success().stdout(contains("examples to tokenize"));
    retune(&tokens.join("train.parquet")).assert().success().stdout(contains("tokens for a trainer"));
    retune(&tokens.join("rejects.parquet")).assert().success().stdout(contains("rejected rows"));
}

#[test]
fn findings_are_counted_and_narrowed_down() {
    let home = tempfile::tempdir().unwrap();
    let folder = OutputFolder::open(&home.path().join("eval")).unwrap();
    let text = |values: [&str; 3]| PlainColumn::Text(values.map(str::to_owned).to_vec());
    let columns = vec![
        ("id", text(["a", "b", "c"])),
        ("reason", text(["forgotten", "too_easy", "forgotten"])),
        ("detail", text(["x", "y", "z"])),
        ("source_file", text(["raw.jsonl"; 3])),
        ("source_row", PlainColumn::Count(vec![4, 9, 1002])),
        ("tuned_loss", PlainColumn::Number(vec![Some(0.5), None, Some(2.0)])),
    ];
    let outputs = vec![write_plain_table(folder.stage("suspects.parquet").unwrap(), columns).unwrap()];
    let identity = Identity::new("retune-evaluate", "0.1.0", &serde_json::json!({}), Vec::new());
    folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: Value::Null }).unwrap();
    let suspects = home.path().join("eval/suspects.parquet");
    let shown = retune(&suspects).assert().success();
    let shown = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
    for part in
        ["rows that stand out", "forgotten 2, too_easy 1", "4 … 1,002, mean 338.3", "0.500 … 2.000, mean 1.250", "z ·"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let narrowed = json(retune(&suspects).args(["--where", "reason=forgotten"]));
    assert_eq!(narrowed["matching_rows"], serde_json::json!([1, 3]));
    assert_eq!(narrowed["contents"]["tuned_loss"]["numbers"]["mean"], 1.25);
    let second = json(retune(&home.path().join("eval")).args(["--where", "reason=forgotten", "--row", "2"]));
    assert_eq!(second["record"]["id"], "c");
    assert_eq!(json(retune(&suspects).args(["--where", "tuned_loss=.50", "--row", "1"]))["record"]["id"], "a");
    retune(&suspects)
        .args(["--where", "tuned_loss=2", "--where", "reason=too_easy", "--row", "1"])
        .assert()
        .code(1)
        .stderr(contains("no row 1 that meets --where"));
    retune(&suspects).args(["--where", "cause=x"]).assert().code(1).stderr(contains("expected the column cause"));
}

#[test]
fn models_adapters_and_weights_are_recognised() {
    let Some(model) = reference("models/stories260K") else { return };
    let document = json(&mut retune(&model));
    assert_eq!(document["what"], "model");
    assert_eq!(document["config"]["model_type"], "llama");
    assert_eq!(document["tokenizer"]["eos_token"], "</s>");
    assert_eq!(json(&mut retune(&model.join("model.safetensors")))["what"], "weights");
    assert_eq!(json(&mut retune(&model.join("tokenizer.json")))["entries"], 512);
    let adapter = reference("architectures/llama/lora_final").unwrap();
    retune(&adapter).assert().success().stdout(contains("a PEFT adapter").and(contains("lora_alpha")));
    retune(Path::new("Cargo.toml")).assert().code(1).stderr(contains("not a kind of file"));
    retune(Path::new("nowhere")).assert().code(1).stderr(contains("does not exist"));
    let home = tempfile::tempdir().unwrap();
    let cut = home.path().join("cut.safetensors");
    std::fs::write(&cut, &std::fs::read(model.join("model.safetensors")).unwrap()[..5000]).unwrap();
    retune(&cut).assert().code(1);
}

#[test]
fn a_gguf_header_is_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let bytes = [
        b"GGUF".to_vec(),
        3u32.to_le_bytes().to_vec(),
        0u64.to_le_bytes().to_vec(),
        2u64.to_le_bytes().to_vec(),
        text("general.name"),
        8u32.to_le_bytes().to_vec(),
        text("tiny"),
        text("llama.block_count"),
        4u32.to_le_bytes().to_vec(),
        5u32.to_le_bytes().to_vec(),
    ]
    .concat();
    std::fs::write(&path, &bytes).unwrap();
    retune(&path).assert().success().stdout(contains("tiny in GGUF version 3").and(contains("llama.block_count")));
    std::fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
    retune(&path).assert().code(1).stderr(contains("not a whole GGUF file"));
}
