//! Where a stage may write: never over what it reads, nor over what another stage made, unless it is told to.

use predicates::prelude::*;
use predicates::str::contains;
use std::fs;

use crate::support::{program, reference};

#[test]
fn nothing_is_written_over_an_input_or_another_stages_work() {
    let home = tempfile::tempdir().unwrap();
    let rows: String =
        (0..40).map(|i| format!("{{\"prompt\":\"What is {i}?\",\"completion\":\"It is {i}.\"}}\n")).collect();
    fs::write(home.path().join("rows.jsonl"), rows).unwrap();
    let run = |name: &str, arguments: &[&str]| {
        let mut command = program(name);
        command.current_dir(home.path()).args(arguments);
        command.assert()
    };
    let content = |file: &str| fs::read(home.path().join(file)).unwrap();
    run("retune-ingest", &["rows.jsonl", "--out", "data"]).success();
    run("retune-tokenize", &["data", "--new-tokenizer", "bpe:300", "--out", "tokens"]).success();
    let (data, tokens) = (content("data/train.parquet"), content("tokens/train.parquet"));

    run("retune-tokenize", &["data", "--new-tokenizer", "bpe:300", "--out", "data"])
        .code(2)
        .stderr(contains("--out data is also an input"));
    run("retune-ingest", &["rows.jsonl", "--out", "tokens"])
        .code(1)
        .stderr(contains("tokens holds what retune-tokenize made").and(contains("--force")));
    assert_eq!((content("data/train.parquet"), content("tokens/train.parquet")), (data, tokens));

    // Nor over what is nobody's of us, nor over an input within the folder, which no --force gives up.
    fs::create_dir(home.path().join("own")).unwrap();
    fs::write(home.path().join("own/train.parquet"), "mine").unwrap();
    run("retune-ingest", &["rows.jsonl", "--out", "own"])
        .code(1)
        .stderr(contains("own/train.parquet would be replaced, and no manifest").and(contains("--force")));
    run("retune-tokenize", &["data", "--new-tokenizer", "bpe:300", "--out", "own"])
        .code(1)
        .stderr(contains("own/train.parquet would be replaced"));
    assert_eq!(content("own/train.parquet"), b"mine");
    run("retune-ingest", &["rows.jsonl", "--out", "own", "--force"]).success();
    run("retune-ingest", &["own/train.parquet", "--out", "own", "--force"])
        .code(2)
        .stderr(contains("--out own holds train.parquet, which is an input and would be lost"));

    // A run that was killed while its files were put in place is no stranger to the next one.
    fs::rename(home.path().join("own/manifest.json"), home.path().join("own/.unsealed-manifest.json")).unwrap();
    run("retune-ingest", &["rows.jsonl", "--out", "own"]).success();
    assert!(!home.path().join("own/.unsealed-manifest.json").exists());

    fs::write(home.path().join("answers.jsonl"), "{\"prediction\":\"a\",\"reference\":\"a\"}\n").unwrap();
    fs::create_dir(home.path().join("scores")).unwrap();
    fs::write(home.path().join("scores/report.md"), "mine").unwrap();
    let scores = |predictions: &str, more: &[&str]| {
        run("retune-test", &[&["--predictions", predictions, "--out", "scores"], more].concat())
    };
    scores("answers.jsonl", &[]).code(1).stderr(contains("scores/report.md would be replaced"));
    scores("answers.jsonl", &["--force"]).success();
    scores("scores/predictions.parquet", &["--force"])
        .code(2)
        .stderr(contains("--out scores holds predictions.parquet, which is an input"));

    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let model = model.to_str().unwrap();
    run("retune-train", &["tokens", "--model", model, "--out", "model"])
        .code(1)
        .stderr(contains("tokens was tokenized with another tokenizer than that of").and(contains("retune-tokenize")));
    run("retune-train", &["tokens", "--model", model, "--out", "model", "--learning-rate", "-1"])
        .code(1)
        .stderr(contains("unexpected argument").not());
    run("retune-evaluate", &["tokens", "--model", model, "--out", "tokens"]).code(2).stderr(contains("also an input"));
    run("retune-ingest", &["rows.jsonl", "--out", "tokens", "--force"]).success();
}

#[test]
fn tokens_of_another_tokenizer_meet_no_model() {
    let (Some(model), Some(other)) = (reference("models/tinystories-chat-3M"), reference("models/stories260K")) else {
        return;
    };
    let (model, other) = (model.to_str().unwrap(), other.to_str().unwrap());
    let home = tempfile::tempdir().unwrap();
    let rows: String = (0..40).map(|i| format!("{{\"prompt\":\"{i}?\",\"completion\":\"It is {i}.\"}}\n")).collect();
    fs::write(home.path().join("rows.jsonl"), rows).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = program(arguments[0]);
        command.current_dir(home.path()).args(&arguments[1..]).assert()
    };
    run(&["retune-ingest", "rows.jsonl", "--out", "data", "--split", "train=0.8,validation=0.2"]).success();
    run(&["retune-tokenize", "data", "--model", model, "--out", "own"]).success();
    run(&["retune-tokenize", "data", "--model", other, "--out", "foreign"]).success();
    let refused = |arguments: &[&str]| {
        let said = run(&[arguments, &["--out", "never"]].concat()).code(1);
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(
            said.contains("was tokenized with another tokenizer") && said.contains("hint: run retune-tokenize"),
            "{said}"
        );
        assert!(!home.path().join("never/manifest.json").exists());
    };
    refused(&["retune-train", "own", "--model", other]);
    refused(&["retune-train", "own/train.parquet", "--model", other]);
    refused(&["retune-train", "own", "--validation", "foreign", "--model", model]);
    refused(&["retune-evaluate", "own", "--model", other]);
    refused(&["retune-evaluate", "own/validation.parquet", "--model", other]);
    refused(&["retune-evaluate", "own", "--model", model, &format!("--baseline={other}")]);
    run(&["retune-evaluate", "own", "--model", model, &format!("--baseline={model}"), "--out", "eval"]).success();
}
