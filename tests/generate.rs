//! `retune-generate` with the real binary on real models.

use crate::support::{program, reference, stderr};
use predicates::str::contains;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn stdout(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn chat_model() -> Option<PathBuf> {
    reference("models/tinystories-chat-3M")
}

#[test]
fn the_published_story_is_told_word_for_word() {
    let Some(model) = reference("models/stories260K") else { return };
    let run = program("retune-generate")
        .arg("--model")
        .arg(&model)
        .args(["--prompt", "", "--raw", "--max-new-tokens", "200"])
        .assert()
        .success();
    let expected = json(&model.join("greedy_200.json"));
    assert_eq!(stdout(&run), format!("{}\n", expected["expected_text"].as_str().unwrap()));
    assert_eq!(stderr(&run), "", "standard error is for people who asked");
}

#[test]
fn known_continuations_come_out_whatever_the_batch() {
    for name in ["stories260K", "tinystories-chat-3M"] {
        let Some(model) = reference(&format!("models/{name}")) else { return };
        let golden = json(&model.join("golden.json"));
        let prompts = golden["prompts"].as_array().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.jsonl");
        let lines: Vec<String> =
            prompts.iter().map(|prompt| serde_json::json!({ "prompt": prompt["prompt"] }).to_string()).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        for (batch_size, threads) in [("1", "1"), ("8", "2")] {
            let run = program("retune-generate")
                .arg("--model")
                .arg(&model)
                .arg("--prompts")
                .arg(&file)
                .args(["--raw", "--json", "--max-new-tokens", "64", "--batch-size", batch_size, "--threads", threads])
                .assert()
                .success();
            let results: Value = serde_json::from_str(&stdout(&run)).unwrap();
            for (result, prompt) in results.as_array().unwrap().iter().zip(prompts) {
                let ids = result["token_ids"].as_array().unwrap();
                let expected = &prompt["greedy_64_ids"].as_array().unwrap()[..ids.len()];
                assert_eq!(ids, expected, "{name}: {}", prompt["prompt"]);
                assert!(ids.len() == 64 || result["finish"] == "stop_token", "{result}");
            }
        }
    }
}

#[test]
fn a_draw_repeats_with_its_seed_and_changes_with_another() {
    let Some(model) = reference("models/stories260K") else { return };
    let draw = |seed: &str| {
        let run = program("retune-generate")
            .arg("--model")
            .arg(&model)
            .args(["--prompt", "One day", "--raw", "--max-new-tokens", "40", "--temperature", "0.8", "--seed", seed])
            .assert()
            .success();
        stdout(&run)
    };
    assert_eq!(draw("7"), draw("7"));
    assert_ne!(draw("7"), draw("8"));
}

#[test]
fn a_conversation_ends_when_it_is_told_to() {
    let Some(model) = chat_model() else { return };
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("chat.jinja");
    std::fs::write(
        &template,
        "{% for m in messages %}{{ 'User: ' if m.role == 'user' else 'Bot: ' }}{{ m.content }}{{ eos_token if m.role == 'assistant' }}\n{% endfor %}{% if add_generation_prompt %}Bot:{% endif %}",
    )
    .unwrap();
    let run = program("retune-generate")
        .arg("--model")
        .arg(&model)
        .arg("--chat-template")
        .arg(&template)
        .args(["--chat", "--max-new-tokens", "40"])
        .write_stdin("Hi! How are you today?\n/nothing\n/exit\nnever read\n")
        .assert()
        .success();
    let said = stdout(&run);
    assert_eq!(said, " I'm doing well, thank you. How are you?\n");
    assert!(stderr(&run).contains("/nothing is no command"), "{}", stderr(&run));
}

#[test]
fn each_mistake_has_one_message() {
    let Some(model) = chat_model() else { return };
    let run = |arguments: &[&str]| program("retune-generate").arg("--model").arg(&model).args(arguments).assert();
    run(&["--prompt", "x", "--chat"]).code(2);
    run(&["--prompt", "x", "--temperature=-1"]).code(2).stderr(contains("temperature is -1"));
    run(&["--prompt", "x", "--top-p", "2"]).code(2).stderr(contains("top-p is 2"));
    run(&["--prompts", "nothing.txt"]).code(1).stderr(contains("nothing.txt"));
    run(&["--prompts", "-"]).code(1).stderr(contains("standard input has no prompt"));
    let long = "word ".repeat(400);
    run(&["--prompt", &long, "--raw"]).code(1).stderr(contains("the model's context is 256"));
    run(&["--prompt", "x", "--stop", ""]).code(2).stderr(contains("found an empty one"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let odd: [(&str, &[u8], &str); 4] = [
        ("latin.txt", b"fine\ncaf\xe9\n", "latin.txt line 2 is not UTF-8"),
        ("null.jsonl", b"{\"prompt\": \"a\"}\n{\"prompt\": null}\n", "expected a text in the field prompt, found null"),
        ("list.jsonl", b"{\"prompt\": [\"a\"]}\n", "found [\"a\"]"),
        ("other.csv", b"question\nwho?\n", "expected a field prompt, found question"),
    ];
    for (name, bytes, says) in odd {
        run(&["--prompts", &file(name, bytes)]).code(1).stderr(contains(says)).stderr(contains("hint:"));
    }
    // A mark at the beginning of a file is no part of its first prompt.
    let prompts = |name: &str, bytes: &[u8]| {
        stdout(&run(&["--prompts", &file(name, bytes), "--raw", "--max-new-tokens", "8"]).success())
    };
    assert_eq!(prompts("marked.txt", b"\xef\xbb\xbfOne day\r\nTom\r\n"), prompts("plain.txt", b"One day\nTom\n"));
    program("retune-generate")
        .arg("--model")
        .arg(&model)
        .args(["--chat", "--max-new-tokens", "4", "--json"])
        .write_stdin(b"caf\xe9\nHello\n".as_slice())
        .assert()
        .success()
        .stdout(contains("Hello"));
    program("retune-generate")
        .args(["--model", "nowhere", "--prompt", "x"])
        .assert()
        .code(1)
        .stderr(contains("nowhere"));
}

#[test]
fn help_is_stable() {
    let help = program("retune-generate").arg("--help").assert().success();
    insta::assert_snapshot!(stdout(&help));
}
