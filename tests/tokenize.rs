//! `retune-tokenize`, the real binary: from examples to tokens that hold what they should, and clear refusals.

mod overflow;
mod streams;
mod tokenizer;

use crate::support::{program, reference};
use artifact::{
    Committed, Example, ExampleWriter, IGNORED, Identity, Kind, Message, OutputFolder, Split, TokenReader, TokenRow,
    read_rejects,
};
use assert_cmd::Command;
use predicates::str::contains;
use std::path::{Path, PathBuf};

fn retune() -> Command {
    program("retune-tokenize")
}

fn example(kind: Kind, row: u64, turns: &[(&str, &str)]) -> Example {
    Example {
        id: format!("id-{row}"),
        kind,
        messages: turns.iter().map(|(role, content)| Message::new(*role, *content)).collect(),
        tools: None,
        text: None,
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: "chats.jsonl".into(),
        source_row: row,
        extra: Vec::new(),
    }
}

fn text(row: u64, text: &str) -> Example {
    Example { text: Some(text.into()), ..example(Kind::Text, row, &[]) }
}

/// Two-turn chats with contents of many scripts; the n-th is a little longer than the one before.
fn chats(count: u64) -> Vec<Example> {
    (1..=count)
        .map(|row| {
            let question = format!("What is {row} plus {row}? {}", "Bitte! 你好 😀 ".repeat((row % 7) as usize));
            let answer = format!("It is {}.", row * 2);
            let turns =
                [("user", question.as_str()), ("assistant", &answer), ("user", "Sure?"), ("assistant", "Yes, sure.")];
            example(Kind::Chat, row, &turns)
        })
        .collect()
}

/// A folder as retune-ingest leaves it.
fn data_folder(folder: &Path, splits: &[(Split, Vec<Example>)]) -> PathBuf {
    let output = OutputFolder::open(folder).unwrap();
    let mut outputs = Vec::new();
    for (split, examples) in splits {
        let mut writer = ExampleWriter::new(output.stage(&split.file_name()).unwrap(), &[]).unwrap();
        writer.write(examples).unwrap();
        outputs.push(writer.finish().unwrap());
    }
    let identity = Identity::new("retune-ingest", "0.1.0", &serde_json::json!({}), Vec::new());
    output.commit(Committed { outputs, identity, seed: None, rows: None, summary: serde_json::Value::Null }).unwrap();
    folder.to_path_buf()
}

fn rows(path: &Path) -> Vec<TokenRow> {
    TokenReader::open(path).unwrap().read_all().unwrap()
}

/// The trained runs of a row, decoded.
fn trained_texts(folder: &Path, row: &TokenRow) -> Vec<String> {
    let tokenizer = encoding::Tokenizer::open(folder).unwrap();
    let mut runs: Vec<Vec<u32>> = vec![Vec::new()];
    for (id, label) in row.input_ids.iter().zip(&row.labels) {
        if *label == IGNORED {
            runs.push(Vec::new());
        } else {
            runs.last_mut().unwrap().push(*id as u32);
        }
    }
    runs.iter().filter(|run| !run.is_empty()).map(|run| tokenizer.decode(run, false).unwrap()).collect()
}

#[test]
fn help_names_every_option() {
    let output = retune().arg("--help").output().unwrap();
    insta::assert_snapshot!("tokenize_help", String::from_utf8(output.stdout).unwrap());
}

#[test]
fn chats_become_packed_rows_with_provenance() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let home = tempfile::tempdir().unwrap();
    let all = chats(40);
    let splits = [
        (Split::Train, all[..30].to_vec()),
        (Split::Validation, all[30..35].to_vec()),
        (Split::Test, all[35..].to_vec()),
    ];
    let data = data_folder(&home.path().join("data"), &splits);
    let out = home.path().join("tokens");
    let run = retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).arg("--json").assert().success();
    let summary: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!(summary["max_length"], 256);
    assert_eq!(summary["chat_template"], "retune's default");
    assert_eq!(summary["splits"][0]["examples"], 30);
    let mut seen = 0;
    for (split, expected) in [("train", 30), ("validation", 5), ("test", 5)] {
        for row in rows(&out.join(format!("{split}.parquet"))) {
            assert!(row.input_ids.len() <= 256);
            assert_eq!(row.examples.iter().map(|example| example.length as usize).sum::<usize>(), row.input_ids.len());
            for example in &row.examples {
                let (start, end) = (example.start as usize, (example.start + example.length) as usize);
                assert_eq!(row.position_ids[start..end], (0..example.length as i32).collect::<Vec<_>>());
                assert_eq!(row.labels[start], IGNORED);
                assert_eq!(example.spans.len(), 4);
                seen += 1;
            }
            let answers: Vec<String> = row
                .examples
                .iter()
                .flat_map(|example| {
                    [format!(" It is {}.<|endoftext|>", example.source_row * 2), " Yes, sure.<|endoftext|>".into()]
                })
                .collect();
            assert_eq!(trained_texts(&out, &row), answers);
        }
        assert_eq!(seen, expected, "{split}");
        seen = 0;
    }
    let manifest = artifact::Manifest::read(&out).unwrap().unwrap();
    assert_eq!(manifest.rows.unwrap().written, 40);
    assert!(read_rejects(&out.join("rejects.parquet")).unwrap().is_empty());
    assert!(out.join("chat_template.jinja").is_file());
    // Once more: nothing to do. With another option: done anew.
    retune()
        .arg(&data)
        .arg("--model")
        .arg(&model)
        .arg("--out")
        .arg(&out)
        .assert()
        .success()
        .stderr(contains("up to date"));
    let again = retune()
        .arg(&data)
        .arg("--model")
        .arg(&model)
        .arg("--out")
        .arg(&out)
        .args(["--pack", "off"])
        .assert()
        .success();
    assert!(!String::from_utf8_lossy(&again.get_output().stderr).contains("up to date"));
    assert_eq!(rows(&out.join("train.parquet")).len(), 30);
}

#[test]
fn threads_do_not_change_a_byte() {
    let Some(model) = reference("tokenizers/qwen2") else { return };
    let home = tempfile::tempdir().unwrap();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, chats(500))]);
    let files = ["train.parquet", "rejects.parquet", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
    let bytes = ["1", "2", "3"].map(|threads| {
        let out = home.path().join(threads);
        retune()
            .arg(&data)
            .arg("--model")
            .arg(&model)
            .arg("--out")
            .arg(&out)
            .args(["--threads", threads])
            .assert()
            .success();
        files.map(|file| std::fs::read(out.join(file)).unwrap())
    });
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn bare_parquet_files_are_taken_and_prompts_stay_plain() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let plain = vec![example(Kind::Completion, 1, &[("user", "Q: 1+1\nA:"), ("assistant", " 2")])];
    let data = data_folder(&home.path().join("data"), &[(Split::Train, plain.clone()), (Split::Validation, plain)]);
    let out = home.path().join("tokens");
    let files = [data.join("train.parquet"), data.join("validation.parquet")];
    std::fs::remove_file(data.join("manifest.json")).unwrap();
    let mut command = retune();
    command.arg(&files[0]).arg("--validation").arg(&files[1]).arg("--model").arg(&model).arg("--out").arg(&out);
    command.assert().success();
    let row = &rows(&out.join("train.parquet"))[0];
    let tokenizer = encoding::Tokenizer::open(&out).unwrap();
    let ids: Vec<u32> = row.input_ids.iter().map(|id| *id as u32).collect();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "Q: 1+1\nA: 2<|endoftext|>");
    assert_eq!(trained_texts(&out, row), [" 2<|endoftext|>"]);
    assert_eq!(rows(&out.join("validation.parquet")).len(), 1);
    command.args(["--force", "--render", "chat"]).assert().success();
    let row = &rows(&out.join("train.parquet"))[0];
    let ids: Vec<u32> = row.input_ids.iter().map(|id| *id as u32).collect();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "User: Q: 1+1\nA:\nAssistant:  2<|endoftext|>\n");
}

#[test]
fn bad_inputs_each_get_one_clear_message() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, chats(3))]);
    let out = home.path().join("tokens");
    let fails = |command: &mut Command, code: i32, message: &str| {
        command.arg("--out").arg(&out).assert().code(code).stderr(contains(message));
        assert!(!out.join("manifest.json").exists() && !out.join("train.parquet").exists());
    };
    fails(retune().arg("nowhere").arg("--model").arg(&model), 1, "nowhere does not exist");
    fails(retune().arg(&data).arg("--model").arg("nowhere"), 1, "nowhere does not exist");
    fails(retune().arg(&data).arg("--model").arg(home.path()), 1, "has no tokenizer.json");
    fails(retune().arg(&data), 2, "<--model <DIR|NAME>|--new-tokenizer <KIND:SIZE>>");
    let none = data_folder(&home.path().join("none"), &[(Split::Train, Vec::new())]);
    fails(retune().arg(&none).arg("--model").arg(&model), 1, "none holds no example: its tables have no rows");
    fails(retune().arg(&data).arg("--model").arg(&model).args(["--overflow", "cut"]), 2, "truncate");
    let broken = home.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    let whole = std::fs::read(model.join("tokenizer.json")).unwrap();
    std::fs::write(broken.join("tokenizer.json"), &whole[..whole.len() / 2]).unwrap();
    fails(retune().arg(&data).arg("--model").arg(&broken), 1, "tokenizer.json: expected a tokenizer");
    // A tokenizer of 50257 entries beside a model of 100.
    std::fs::write(broken.join("tokenizer.json"), &whole).unwrap();
    std::fs::write(broken.join("tokenizer_config.json"), r#"{"eos_token": "<|endoftext|>"}"#).unwrap();
    std::fs::write(broken.join("config.json"), r#"{"vocab_size": 100, "max_position_embeddings": 512}"#).unwrap();
    fails(retune().arg(&data).arg("--model").arg(&broken), 1, "the tokenizer does not fit the model");
    fails(
        retune().arg(&data).arg("--model").arg(&broken).args(["--max-length", "600"]),
        2,
        "the model's 512 positions",
    );
    fails(
        retune().arg(&data).arg("--model").arg(&model).args(["--chat-template", "no.jinja"]),
        1,
        "no.jinja cannot be read",
    );
    fails(retune().arg(&data).arg("--model").arg(&model).args(["--config", "no.toml"]), 1, "no.toml cannot be read");
    std::fs::write(home.path().join("bad.jinja"), "{% for %}").unwrap();
    fails(
        retune().arg(&data).arg("--model").arg(&model).arg("--chat-template").arg(home.path().join("bad.jinja")),
        1,
        "does not compile",
    );
}

#[test]
fn rows_without_an_answer_are_rejected_and_when_all_are_the_stage_fails() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut examples = chats(3);
    examples[1].messages.truncate(1);
    examples[2].messages.iter_mut().for_each(|message| message.weight = Some(0.0));
    let data = data_folder(&home.path().join("data"), &[(Split::Train, examples.clone())]);
    let out = home.path().join("tokens");
    retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).assert().success();
    let rejects = read_rejects(&out.join("rejects.parquet")).unwrap();
    let found: Vec<(u64, &str)> = rejects.iter().map(|reject| (reject.source_row, reject.code.as_str())).collect();
    assert_eq!(found, [(2, "nothing_trained"), (3, "nothing_trained")]);
    let rows = artifact::Manifest::read(&out).unwrap().unwrap().rows.unwrap();
    assert_eq!((rows.read, rows.written, rows.rejected), (3, 1, 2));
    let data = data_folder(&home.path().join("none"), &[(Split::Train, examples[1..].to_vec())]);
    let fail = retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(home.path().join("no")).assert().code(1);
    fail.stderr(contains("no example of the train split can be trained on")).stderr(contains("chats.jsonl:2"));
}

#[test]
fn a_text_that_doubles_the_start_token_is_rejected_alone() {
    let Some(model) = reference("tokenizers/llama-2") else { return };
    let home = tempfile::tempdir().unwrap();
    let texts = vec![text(1, "as usual"), text(2, "<s><s>once more")];
    let data = data_folder(&home.path().join("data"), &[(Split::Train, texts)]);
    let out = home.path().join("tokens");
    retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).assert().success();
    let rejects = artifact::read_rejects(&out.join("rejects.parquet")).unwrap();
    assert!(rejects.len() == 1 && rejects[0].source_row == 2 && rejects[0].detail.contains("begins with 2 times <s>"));
}

#[test]
fn a_template_that_rewrites_earlier_turns_names_row_and_way_out() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, chats(3))]);
    let template = home.path().join("forgetful.jinja");
    let source = "{% for m in messages %}{{ m.role }}:\n{% if m.role == 'assistant' and not loop.last %}gone{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}";
    std::fs::write(&template, source).unwrap();
    let out = home.path().join("tokens");
    let mut command = retune();
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).arg("--chat-template").arg(&template);
    command
        .assert()
        .code(1)
        .stderr(contains("chats.jsonl:1: the chat template of forgetful.jinja rewrites earlier turns"))
        .stderr(contains("--train-on last"));
    command.args(["--train-on", "last"]).assert().success();
    assert_eq!(std::fs::read_to_string(out.join("chat_template.jinja")).unwrap(), source);
    // Or each turn by itself: two answers of each chat.
    let split = home.path().join("split");
    let mut command = retune();
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&split).arg("--chat-template").arg(&template);
    let run = command.args(["--rewritten-turns", "split"]).assert().success();
    run.stderr(contains("3 examples taken turn by turn"));
    let answers: Vec<String> =
        rows(&split.join("train.parquet")).iter().flat_map(|row| trained_texts(&split, row)).collect();
    let expected = ["It is 2.", "Yes, sure.", "It is 4.", "Yes, sure.", "It is 6.", "Yes, sure."];
    assert_eq!(answers, expected.map(|answer| format!("{answer}<|endoftext|>")));
}
