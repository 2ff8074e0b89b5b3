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
