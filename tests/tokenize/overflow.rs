//! Examples longer than a row.

use super::{chats, data_folder, example, retune, rows, text};
use crate::support::reference;
use artifact::{IGNORED, Kind, Split, read_rejects};
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
    let cut = command.arg("--json").assert().success().stderr(contains("2 examples truncated"));
    let summary: serde_json::Value = serde_json::from_slice(&cut.get_output().stdout).unwrap();
    let characters = ["one two three".len(), "word ".len() * 15 + "word".len(), "more ".len() * 15 + "more".len()];
    let expected = characters.iter().sum::<usize>() as f64 / 36.0;
    assert_eq!(summary["splits"][0]["characters_per_token"], expected);
    let lengths: Vec<usize> = rows(&out.join("train.parquet")).iter().map(|row| row.input_ids.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 16 + 16 + 4);
    assert_eq!(read_rejects(&out.join("rejects.parquet")).unwrap().len(), 2);

    let (out, mut command) = run("split");
    command.assert().success().stderr(contains("2 examples split up")).stderr(contains("3 examples in 7 pieces"));
    // Four pieces of the second example and two of the third: each after the first repeats one token.
    let tokens: usize = rows(&out.join("train.parquet")).iter().map(|row| row.input_ids.len()).sum();
    assert_eq!(tokens, 52 + 3 + 22 + 1 + 4);
    assert!(read_rejects(&out.join("rejects.parquet")).unwrap().is_empty());

    let (out, mut command) = run("drop");
    command.assert().success();
    let rejects = read_rejects(&out.join("rejects.parquet")).unwrap();
    assert!(rejects.iter().all(|reject| reject.code == "too_long"));
    assert_eq!(rejects.iter().map(|reject| reject.source_row).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(rows(&out.join("train.parquet")).len(), 1);
}

#[test]
fn pieces_train_what_the_whole_example_trains_and_those_left_out_are_told() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut examples = chats(60);
    // A prompt of several pieces.
    examples.push(example(Kind::Completion, 61, &[("user", &"far ".repeat(40)), ("assistant", " a b c")]));
    let data = data_folder(&home.path().join("data"), &[(Split::Train, examples)]);
    let run = |name: &str, options: &[&str]| {
        let out = home.path().join(name);
        let mut command = retune();
        command.arg(&data).arg("--model").arg(&model).arg("--json").arg("--out").arg(&out).args(options);
        let run = command.assert().success();
        let summary: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
        let mut trained: Vec<(u64, i32, i32)> = Vec::new();
        for row in rows(&out.join("train.parquet")) {
            for piece in &row.examples {
                let tokens = (piece.start as usize..).take(piece.length as usize);
                let learnt = tokens.filter(|token| row.labels[*token] != IGNORED);
                trained.extend(learnt.map(|token| (piece.source_row, row.char_start[token], row.labels[token])));
            }
        }
        trained.sort_unstable();
        (trained, summary["splits"][0].clone(), out)
    };
    let (whole, before, _) = run("whole", &[]);
    let (pieces, after, out) = run("pieces", &["--max-length", "16", "--overflow", "split"]);
    assert_eq!(pieces, whole);
    assert_eq!(after["trained_tokens"], before["trained_tokens"]);
    // Nothing of the long prompt but its end is in a row, and of some chats the first questions are not.
    let rejects = read_rejects(&out.join("rejects.parquet")).unwrap();
    let last = rejects.iter().find(|reject| reject.source_row == 61).unwrap();
    assert_eq!(
        last.detail,
        "45 tokens: 30 of them, in pieces where nothing is trained, were left out; the rest was kept"
    );
    let told: u64 = rejects.iter().map(|reject| reject.detail.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(after["untrained_tokens"], told);
    assert_eq!(after["rejected"], 0);
    // Every token of each example is in a piece, at the beginning of one a second time, or told.
    let repeated = after["examples"].as_u64().unwrap() - before["examples"].as_u64().unwrap();
    let kept = after["tokens"].as_u64().unwrap();
    let least = before["tokens"].as_u64().unwrap() - told;
    assert!((least..=least + repeated).contains(&kept), "{kept} of {least} and {repeated}");
}
