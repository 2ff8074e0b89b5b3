//! `retune-test` with the real binary: answers, scores, gates, predictions of other tools.

use crate::support::{program, reference, stderr};
use artifact::{Committed, Example, ExampleWriter, Kind, Message, OutputFolder};
use predicates::str::contains;
use serde_json::Value;
use std::path::Path;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn completion(prompt: &str, completion: &str) -> Example {
    Example {
        id: format!("id-{}", prompt.len()),
        kind: Kind::Completion,
        messages: vec![Message::new("user", prompt), Message::new("assistant", completion)],
        tools: None,
        text: None,
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: "made.jsonl".into(),
        source_row: prompt.len() as u64,
        extra: Vec::new(),
    }
}

fn data_folder(path: &Path, examples: &[Example]) {
    let folder = OutputFolder::open(path).unwrap();
    let mut writer = ExampleWriter::new(folder.stage("test.parquet").unwrap(), &[]).unwrap();
    writer.write(examples).unwrap();
    let outputs = vec![writer.finish().unwrap()];
    let identity = cli::identity("retune-ingest", &serde_json::json!({}), Vec::new());
    folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: Value::Null }).unwrap();
}

/// Two prompts whose greedy answers are known, and one with a wrong reference.
fn known_rows() -> Vec<Example> {
    vec![
        completion("User: Hi! How are you today?\nBot:", " I'm doing well, thank you. How are you?"),
        completion("User: Hello\nBot:", " Hi, I'm Sarah."),
        completion("User: What?\nBot:", "nothing like it"),
    ]
}

#[test]
fn answers_that_a_command_fails_to_score_are_kept_and_can_be_scored() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let folder = tempfile::tempdir().unwrap();
    data_folder(&folder.path().join("data"), &known_rows());
    let test = |arguments: &[&str]| {
        let mut command = program("retune-test");
        command.current_dir(folder.path()).args(arguments);
        command.assert()
    };
    let model = model.to_str().unwrap();
    let asked = ["data", "--model", model, "--max-new-tokens", "40", "--scorer", "x=exit 7", "--out"];
    test(&[&asked[..], &["test"]].concat())
        .code(1)
        .stderr(contains("--predictions test/unscored-1.parquet scores them"));
    assert!(!folder.path().join("test/manifest.json").exists());
    test(&[&asked[..], &["test"]].concat())
        .code(1)
        .stderr(contains("--predictions test/unscored-2.parquet scores them"));
    test(&["--predictions", "test/unscored-1.parquet", "--out", "scored"]).success();
    let card = json(&folder.path().join("scored/scorecard.json"));
    assert_eq!(card["metrics"]["exact_match"]["tuned"].as_f64().unwrap(), 2.0 / 3.0);
    // What cannot be written is told before there is anything to lose, and a folder made for nothing goes again.
    std::fs::write(folder.path().join("file"), "mine").unwrap();
    let refused = test(&[&asked[..], &["file"]].concat()).code(1).stderr(contains("found a file"));
    assert!(!stderr(&refused).contains("answers"), "{}", stderr(&refused));
    test(&["--predictions", "test/unscored-1.parquet", "--scorer", "x=exit 7", "--out", "none"]).code(1);
    assert!(!folder.path().join("none").exists());
}

#[test]
fn known_answers_are_scored_and_gates_decide_the_exit_code() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("test"));
    data_folder(&data, &known_rows());
    let test = |gate: &str, batch_size: &str| {
        let mut command = program("retune-test");
        command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&out);
        command.args(["--max-new-tokens", "40", "--gate", gate, "--batch-size", batch_size]);
        command.assert()
    };
    test("exact_match>=0.6", "1").success().stderr(contains("held"));
    let card = json(&out.join("scorecard.json"));
    assert_eq!(card["metrics"]["exact_match"]["tuned"].as_f64().unwrap(), 2.0 / 3.0);
    assert_eq!(card["metrics"].as_object().unwrap().len(), 6, "exact_match, f1 and four of rouge");
    assert!(card["metrics"]["rougeL"]["signature"].as_str().unwrap().contains("rouge-score"));
    assert_eq!(card["gates"][0]["held"], true);
    let first = std::fs::read(out.join("predictions.parquet")).unwrap();
    let missed = test("exact_match>=0.9", "8").code(3);
    assert!(stderr(&missed).contains("MISSED"), "{}", stderr(&missed));
    assert_eq!(std::fs::read(out.join("predictions.parquet")).unwrap(), first, "the batch size changes no answer");
    assert!(out.join("manifest.json").exists(), "a missed gate is a finished test");
    let again = test("exact_match>=0.9", "8").code(3);
    assert!(stderr(&again).contains("up to date"), "asking again does not open a gate: {}", stderr(&again));
}

#[test]
fn the_base_answers_beside_the_adapter() {
    let Some(model) = reference("architectures/llama") else { return };
    if !model.join("tokenizer.json").exists() {
        // The tiny architectures bring no tokenizer: what is tested is that this is said.
        let folder = tempfile::tempdir().unwrap();
        data_folder(&folder.path().join("data"), &known_rows());
        let mut command = program("retune-test");
        command.arg(folder.path().join("data")).arg("--model").arg(&model).arg("--out").arg(folder.path().join("test"));
        command.assert().code(1).stderr(contains("tokenizer.json"));
    }
}

#[test]
fn a_whole_model_is_compared_with_a_named_base() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("test"));
    data_folder(&data, &known_rows());
    let mut command = program("retune-test");
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).args(["--max-new-tokens", "20"]);
    command.arg(format!("--baseline={}", model.display())).args(["--gate", "exact_match-baseline>=0.1"]);
    command.assert().code(3);
    let card = json(&out.join("scorecard.json"));
    let entry = &card["metrics"]["exact_match"];
    assert_eq!(entry["tuned"], entry["baseline"]);
    assert_eq!(entry["difference"]["ties"], 3);
    assert_eq!(card["gates"][0]["missed_by"].as_f64().unwrap(), 0.1);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("A gate was missed") && !page.contains("http://") && !page.contains("https://"));
}

#[test]
fn prompts_longer_than_the_context_are_named_and_the_others_answered() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("test"));
    let mut rows = known_rows();
    rows.insert(1, completion(&"Once upon a time there was a dog. ".repeat(60), "The end."));
    data_folder(&data, &rows);
    let mut command = program("retune-test");
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).args(["--max-new-tokens", "5"]);
    let said = stderr(&command.assert().success());
    assert!(said.contains("1 prompt is longer than the model's context of 256 tokens"), "{said}");
    assert_eq!(json(&out.join("scorecard.json"))["generation"]["finish"]["prompt_too_long"], 1);
    let page = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("1 prompt is longer than the model"), "{page}");
}

#[test]
fn predictions_of_other_tools_are_scored_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [("Paris", "Paris"), ("the Rome", "rome"), ("x, \"y\"", "z")];
    let jsonl: Vec<String> = rows
        .iter()
        .map(|(prediction, reference)| {
            serde_json::json!({ "prediction": prediction, "reference": reference }).to_string()
        })
        .collect();
    let csv: Vec<String> = rows.iter().map(|(p, r)| format!("\"{}\",\"{r}\"", p.replace('"', "\"\""))).collect();
    let files =
        [("answers.jsonl", jsonl.join("\n")), ("answers.csv", format!("prediction,reference\n{}\n", csv.join("\n")))];
    let mut cards = Vec::new();
    for (name, content) in files {
        let (file, out) = (folder.path().join(name), folder.path().join(format!("out-{name}")));
        std::fs::write(&file, content).unwrap();
        let mut command = program("retune-test");
        command.arg("--predictions").arg(&file).arg("--out").arg(&out);
        command.args([
            "--metrics",
            "exact_match,exact_match_squad,f1,accuracy,rouge,bleu,chrf,chrf++,ter",
            "--json",
            "-q",
        ]);
        let run = command.assert().success();
        let card: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
        assert_eq!(card, json(&out.join("scorecard.json")));
        assert_eq!(card["metrics"]["exact_match"]["tuned"].as_f64().unwrap(), 1.0 / 3.0);
        assert_eq!(card["metrics"]["exact_match_squad"]["tuned"].as_f64().unwrap(), 2.0 / 3.0);
        assert_eq!(
            card["metrics"]["chrf++"]["signature"],
            "nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0"
        );
        cards.push(card);
        // What was written can be read again.
        let again = folder.path().join(format!("again-{name}"));
        let mut command = program("retune-test");
        command.arg("--predictions").arg(out.join("predictions.parquet")).arg("--out").arg(&again).assert().success();
    }
    assert_eq!(cards[0], cards[1]);
}

#[test]
fn each_mistake_is_found_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answers.jsonl");
    std::fs::write(&file, "{\"prediction\": \"a\", \"reference\": \"a\"}\n{\"prediction\": \"b\"}\n").unwrap();
    let out = folder.path().join("test");
    let run = |arguments: &[&str]| {
        program("retune-test").arg("--predictions").arg(&file).arg("--out").arg(&out).args(arguments).assert()
    };
    run(&["--metrics", "exact_mach"]).code(2).stderr(contains("did you mean `exact_match`"));
    run(&["--gate", "exact_match"]).code(2).stderr(contains("no comparison"));
    run(&["--gate", "exact_match=>0.8"]).code(2).stderr(contains("exact_match="));
    run(&["--gate", "f1>=much"]).code(2).stderr(contains("`much` is not a number"));
    let missing = run(&[]).code(1);
    assert!(stderr(&missing).contains("row 2") && stderr(&missing).contains("reference"), "{}", stderr(&missing));
    assert!(!out.join("manifest.json").exists());
    program("retune-test").args(["--out", "x"]).assert().code(2);
    program("retune-test").args(["--predictions", "nothing.csv", "--out", "x"]).assert().code(1);
}

#[test]
fn rows_without_an_answer_are_refused_by_name() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let text = Example { kind: Kind::Text, messages: Vec::new(), text: Some("a story".into()), ..completion("x", "y") };
    data_folder(&data, &[completion("a", "b"), text]);
    let mut command = program("retune-test");
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(folder.path().join("test"));
    let run = command.assert().code(1);
    let said = stderr(&run);
    assert!(said.contains("row 2") && said.contains("kind text") && said.contains("retune-evaluate"), "{said}");
}

#[test]
fn help_is_stable() {
    let help = program("retune-test").arg("--help").assert().success();
    insta::assert_snapshot!(String::from_utf8_lossy(&help.get_output().stdout));
}
