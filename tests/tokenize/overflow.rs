//! Examples longer than a row.

use super::{data_folder, retune, rows, text};
use crate::support::reference;
use artifact::{Split, read_rejects};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn each_policy_does_what_it_says_and_lists_the_rows() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let examples = vec![text(1, "one two three"), text(2, &"word ".repeat(50)), text(3, &"more ".repeat(20))];
    let data = data_folder(&home.path().join("data"), &[(Split::Train, examples)]);
    let run = |policy: &str| {
        let out = home.path().join(policy);
        let mut command = retune();
        command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).args([
            "--max-length",
            "16",
            "--overflow",
            policy,
        ]);
        (out, command)
    };
    let (out, mut command) = run("error");
    command
        .assert()
        .code(1)
        .stderr(contains("2 examples are longer than --max-length 16, up to 52 tokens"))
        .stderr(contains("chats.jsonl:2: 52 tokens"))
        .stderr(contains("chats.jsonl:3: 22 tokens"))
        .stderr(contains("truncate").and(contains("split")).and(contains("drop")));
    assert!(!out.join("manifest.json").exists());

    let (out, mut command) = run("truncate");
    command.assert().success().stderr(contains("2 examples truncated"));
    let lengths: Vec<usize> = rows(&out.join("train.parquet")).iter().map(|row| row.input_ids.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 16 + 16 + 4);
    assert_eq!(read_rejects(&out.join("rejects.parquet")).unwrap().len(), 2);

    let (out, mut command) = run("split");
    command.assert().success().stderr(contains("2 examples split up"));
    let tokens: usize = rows(&out.join("train.parquet")).iter().map(|row| row.input_ids.len()).sum();
    assert_eq!(tokens, 52 + 22 + 4);

    let (out, mut command) = run("drop");
    command.assert().success();
    let rejects = read_rejects(&out.join("rejects.parquet")).unwrap();
    assert!(rejects.iter().all(|reject| reject.code == "too_long"));
    assert_eq!(rejects.iter().map(|reject| reject.source_row).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(rows(&out.join("train.parquet")).len(), 1);
}
