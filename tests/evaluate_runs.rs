//! `retune-evaluate` on runs of the real programs: splits, kept columns, suspects, general text and multiple choice as
//! lm-evaluation-harness counts them, runs side by side.

use crate::support::{program, reference, stderr};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A data set with a kept column, tokenized for the reference model, and adapters trained on it.
struct Lab {
    folder: TempDir,
    model: PathBuf,
}

impl Lab {
    fn new() -> Option<Self> {
        Self::with_wrong_rows(&[])
    }

    /// The answers of these rows have nothing to do with their questions.
    fn with_wrong_rows(wrong: &[usize]) -> Option<Self> {
        let model = reference("models/tinystories-chat-3M")?;
        let lab = Self { folder: TempDir::new().unwrap(), model };
        let things = ["ball", "cat", "dog", "tree", "cake", "book", "boat", "bird"];
        let rows: Vec<String> = (0..72)
            .map(|row| {
                let (thing, kind) = (things[row % 8], ["toy", "pet"][row / 8 % 2]);
                let prompt = format!("User: Do you like the {thing} number {row}?\nBot:");
                let completion = match wrong.contains(&row) {
                    true => " Zebra quantum seven purple".to_owned(),
                    false => format!(" Yes, I like the {thing}."),
                };
                serde_json::json!({ "prompt": prompt, "completion": completion, "topic": kind }).to_string()
            })
            .collect();
        fs::write(lab.path("rows.jsonl"), rows.join("\n")).unwrap();
        lab.run(
            "retune-ingest",
            &["rows.jsonl", "--keep", "topic", "--split", "train=0.7,validation=0.3", "--out", "data"],
        );
        lab.run("retune-tokenize", &["data", "--model", "MODEL", "--pack", "off", "--out", "tokens"]);
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = program(name);
        let model = self.model.to_str().unwrap();
        command.current_dir(self.folder.path());
        command.args(arguments.iter().map(|&argument| if argument == "MODEL" { model } else { argument }));
        command
    }

    fn run(&self, name: &str, arguments: &[&str]) -> String {
        stderr(&self.command(name, arguments).assert().success())
    }

    fn train(&self, out: &str, learning_rate: &str) {
        let options =
            ["--max-steps", "12", "--batch-size", "8", "--evaluate-every", "3", "--learning-rate", learning_rate];
        let mut arguments = vec!["tokens", "--model", "MODEL", "--lora-r", "4", "--out", out];
        arguments.extend(options);
        self.run("retune-train", &arguments);
    }
}

#[test]
fn every_split_column_and_suspect_of_a_run_is_accounted_for() {
    let Some(lab) = Lab::new() else { return };
    lab.train("model", "5e-3");
    let arguments =
        ["tokens", "--model", "MODEL", "--adapter", "model", "--baseline", "--split", "all", "--data", "data"];
    let said = lab.run("retune-evaluate", &[&arguments[..], &["--out", "eval"]].concat());
    assert!(said.contains("bits per byte") && said.contains("validation loss"), "{said}");
    let metrics = json(&lab.path("eval/metrics.json"));
    assert_eq!(metrics["split"], "validation", "the split that decides comes first");
    // The curve begins where the base stands, so that both programs tell of the same fall.
    let begun = artifact::read_metrics(&lab.path("model/metrics.parquet")).unwrap()[0];
    assert_eq!((begun.step, begun.loss), (0, None));
    let base = number(&metrics["baseline"]["loss"]);
    assert!((begun.validation_loss.unwrap() - base).abs() < 1e-6);
    let told = metrics["fit"]["sentence"].as_str().unwrap();
    assert!(told.contains(&format!("validation loss fell from {base:.4} to")), "{told}");
    let splits = metrics["splits"].as_array().unwrap();
    assert_eq!(
        splits.iter().map(|split| split["value"].as_str().unwrap()).collect::<Vec<_>>(),
        ["validation", "train"]
    );
    assert_eq!(splits[0]["tuned"]["loss"], metrics["tuned"]["loss"]);
    // What the groups of a column say together is what the split says.
    let kinds = metrics["columns"]["topic"].as_array().unwrap();
    assert_eq!(kinds.len(), 2);
    for model in ["tuned", "baseline"] {
        let sum = |name: &str| kinds.iter().map(|kind| number(&kind[model][name])).sum::<f64>();
        let losses = kinds.iter().map(|kind| number(&kind[model]["loss"]) * number(&kind[model]["trained_tokens"]));
        let tokens = sum("trained_tokens");
        assert!((losses.sum::<f64>() / tokens - number(&metrics[model]["loss"])).abs() < 1e-12);
        assert_eq!(sum("text_bytes"), number(&metrics[model]["text_bytes"]));
    }
    // The trained text is the answers: their bytes, without the token that ends each.
    let mut bytes = 0;
    let mut reader = artifact::ExampleReader::open(&lab.path("data/validation.parquet")).unwrap();
    while let Some(examples) = reader.next_batch().unwrap() {
        bytes += examples.iter().map(|example| example.messages[1].content.as_ref().unwrap().len()).sum::<usize>();
    }
    assert_eq!(number(&metrics["tuned"]["text_bytes"]) as usize, bytes);
    for file in ["suspects.parquet", "report.md", "report.json", "report.html", "examples.parquet"] {
        assert!(lab.path("eval").join(file).is_file(), "{file}");
    }
    let page = fs::read_to_string(lab.path("eval/report.html")).unwrap();
    for section in ["By topic", "By split", "Loss over training", "Lengths", "Data", "training: learning_rate"] {
        assert!(page.contains(section), "{section}");
    }
    // Every table that the stages wrote is known.
    for (file, what) in [
        ("model/metrics.parquet", "metrics"),
        ("model/example_losses.parquet", "example_losses"),
        ("model/throughput.parquet", "throughput"),
        ("eval/examples.parquet", "losses"),
        ("eval/suspects.parquet", "suspects"),
    ] {
        let told = lab.command("retune-inspect", &[file, "--json"]).assert().success();
        let told: Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
        assert_eq!(told["what"], what, "{file}");
    }
    // Another number of threads, the same bytes.
    lab.run("retune-evaluate", &[&arguments[..], &["--out", "other", "--threads", "1"]].concat());
    for file in ["metrics.json", "examples.parquet", "suspects.parquet", "report.html", "report.md", "report.json"] {
        assert!(
            fs::read(lab.path("eval").join(file)).unwrap() == fs::read(lab.path("other").join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn suspects_are_left_out_by_the_next_ingest() {
    let Some(lab) = Lab::with_wrong_rows(&[17]) else { return };
    lab.train("model", "5e-3");
    let arguments = ["tokens", "--model", "MODEL", "--adapter", "model", "--baseline", "--split", "all"];
    let said = lab.run("retune-evaluate", &[&arguments[..], &["--out", "eval"]].concat());
    assert!(said.contains("likely mislabelled"), "{said}");
    let again = ["rows.jsonl", "--keep", "topic", "--exclude", "eval/suspects.parquet", "--out", "again"];
    let said = lab.run("retune-ingest", &again);
    let rejects = artifact::read_rejects(&lab.path("again/rejects.parquet")).unwrap();
    assert!(rejects.iter().all(|reject| reject.code == "excluded"), "{rejects:?}");
    let wrong = rejects.iter().find(|reject| reject.source_row == 18).expect("the row with the wrong answer");
    assert_eq!(wrong.detail, "listed in suspects.parquet (likely_mislabelled)");
    assert!(said.contains(&format!("72 rows in = {} out + {} rejected", 72 - rejects.len(), rejects.len())), "{said}");
    // Named again, nothing is done again; an empty list is another input.
    assert!(lab.run("retune-ingest", &again).contains("up to date"));
    fs::write(lab.path("ids.csv"), "name\nx\n").unwrap();
    lab.command("retune-ingest", &["rows.jsonl", "--exclude", "ids.csv", "--out", "other"])
        .assert()
        .code(1)
        .stderr(contains("expected a column id, found: name"));
    assert!(!lab.path("other").exists());
    // A run in which nothing stood out writes a list without rows: nothing is left out.
    fs::write(lab.path("ids.csv"), "id\n").unwrap();
    let said = lab.run("retune-ingest", &["rows.jsonl", "--exclude", "ids.csv", "--out", "other"]);
    assert!(said.contains("72 rows in = 72 out + 0 rejected"), "{said}");
}

#[test]
fn general_text_and_choices_are_counted_as_the_harness_counts() {
    let Some(lab) = Lab::new() else { return };
    let known: Value = serde_json::from_str(include_str!("data/peers/harness_counts.json")).unwrap();
    let mut arguments = vec!["tokens".to_owned(), "--model".into(), "MODEL".into(), "--out".into(), "eval".into()];
    for (place, document) in known["documents"].as_array().unwrap().iter().enumerate() {
        let name = format!("general-{place}.txt");
        fs::write(lab.path(&name), document.as_str().unwrap()).unwrap();
        arguments.extend(["--general".to_owned(), name]);
    }
    let questions = known["questions"].as_array().unwrap();
    let lines: Vec<String> = questions.iter().map(Value::to_string).collect();
    fs::write(lab.path("questions.jsonl"), lines.join("\n")).unwrap();
    arguments.extend(["--choices", "questions.jsonl"].map(str::to_owned));
    lab.run("retune-evaluate", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let metrics = json(&lab.path("eval/metrics.json"));
    let general = &metrics["general"]["tuned"];
    assert_eq!(general["trained_tokens"], known["general"]["tokens"]);
    for name in ["loss", "bits_per_byte", "byte_perplexity", "word_perplexity"] {
        let (ours, theirs) = (number(&general[name]), number(&known["general"][name]));
        assert!((ours / theirs - 1.0).abs() < 1e-5, "{name}: {ours} against {theirs}");
    }
    let answers = known["answers"].as_array().unwrap();
    let column = |name: &str| -> Vec<u64> {
        (1..=questions.len() as u64)
            .map(|row| {
                artifact::read_row(&lab.path("eval/choices.parquet"), row).unwrap().unwrap()[name].as_u64().unwrap()
            })
            .collect()
    };
    let expected = |name: &str| answers.iter().map(|answer| answer[name].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(column("tuned"), expected("plain"));
    assert_eq!(column("tuned_norm"), expected("normalised"));
    assert_eq!(column("answer"), [0, 0, 1, 0, 1]);
    let found = &metrics["choices"]["tuned"];
    assert_eq!((number(&found["acc"]), number(&found["acc_norm"])), (0.6, 0.2));
    assert!((number(&found["acc_stderr"]) - (0.6f64 * 0.4 / 4.0).sqrt()).abs() < 1e-12);
    // A space that a choice begins with is the one between: the model chooses the same.
    let spaced = questions.iter().zip([0, 0, 1, 0, 1]).map(|(question, answer)| {
        let choices = question["choices"].as_array().unwrap().iter();
        let choices: Vec<String> = choices.map(|choice| format!(" {}", choice.as_str().unwrap())).collect();
        serde_json::json!({ "prompt": question["prompt"], "choices": choices, "answer": answer }).to_string()
    });
    fs::write(lab.path("spaced.jsonl"), spaced.collect::<Vec<_>>().join("\n")).unwrap();
    lab.run("retune-evaluate", &["tokens", "--model", "MODEL", "--choices", "spaced.jsonl", "--out", "spaced"]);
    assert_eq!(json(&lab.path("spaced/metrics.json"))["choices"]["tuned"]["acc"], found["acc"]);
    // What is no question is named.
    fs::write(lab.path("bad.jsonl"), "{\"prompt\": \"x\", \"choices\": [\"a\", \"b\"], \"answer\": \"c3\"}\n").unwrap();
    lab.command("retune-evaluate", &["tokens", "--model", "MODEL", "--choices", "bad.jsonl", "--out", "bad"])
        .assert()
        .code(1)
        .stderr(contains("bad.jsonl:1").and(contains("none of the 2 choices")));
}

#[test]
fn runs_are_set_side_by_side() {
    let Some(lab) = Lab::new() else { return };
    for (run, learning_rate) in [("a", "1e-3"), ("b", "5e-3")] {
        lab.train(&format!("{run}/model"), learning_rate);
        let (model, eval) = (format!("{run}/model"), format!("{run}/eval"));
        lab.run("retune-evaluate", &["tokens", "--model", "MODEL", "--adapter", &model, "--out", &eval]);
    }
    let compared = lab.command("retune-evaluate", &["--compare", "a", "b", "--json"]).assert().success();
    let said = stderr(&compared);
    assert!(said.contains("train learning_rate") && said.contains("evaluate tuned loss"), "{said}");
    let found: Value = serde_json::from_slice(&compared.get_output().stdout).unwrap();
    assert_eq!(found["runs"], serde_json::json!(["a", "b"]));
    assert_eq!(found["settings"]["train learning_rate"], serde_json::json!(["0.001", "0.005"]));
    let losses = found["results"]["evaluate tuned loss"].as_array().unwrap();
    assert_eq!(losses[0], json(&lab.path("a/eval/metrics.json"))["tuned"]["loss"]);
    lab.run("retune-evaluate", &["--compare", "a", "b", "--out", "side-by-side"]);
    let page = fs::read_to_string(lab.path("side-by-side/report.html")).unwrap();
    assert!(
        page.contains("Settings that differ") && page.contains("train learning_rate") && !page.contains("train lora_r")
    );
    // The folder of one stage remembers the settings of those before it. The tables are what is asked for: they can be piped.
    let compared = lab.command("retune-evaluate", &["--compare", "a/eval", "b/eval", "-q"]).assert().success();
    let printed = String::from_utf8(compared.get_output().stdout.clone()).unwrap();
    assert!(printed.contains("differ in one setting: train learning_rate 0.001 against 0.005."), "{printed}");
    assert!(printed.contains("evaluate tuned loss") && stderr(&compared).is_empty(), "{}", stderr(&compared));
    assert!(!printed.contains("files that differ"), "{printed}");
    // Figures of other data are no better or worse.
    lab.run("retune-tokenize", &["data", "--model", "MODEL", "--max-length", "40", "--out", "short"]);
    lab.run("retune-evaluate", &["short", "--model", "MODEL", "--adapter", "b/model", "--out", "c/eval"]);
    lab.run("retune-evaluate", &["--compare", "a/eval", "c/eval", "--out", "other"]);
    let page = fs::read_to_string(lab.path("other/report.md")).unwrap();
    let why = "were measured on files that differ (evaluate tokens/validation.parquet)";
    assert!(page.contains(why) && !page.contains("is better than"), "{page}");
    let train = ["tokens", "--split", "train", "--model", "MODEL", "--adapter", "a/model", "--out", "d/eval"];
    lab.run("retune-evaluate", &train);
    let compared = lab.command("retune-evaluate", &["--compare", "a/eval", "d/eval"]).assert().success();
    let printed = String::from_utf8(compared.get_output().stdout.clone()).unwrap();
    assert!(printed.contains("were measured on files that differ") && printed.contains("train.parquet"), "{printed}");
    let mut nothing = lab.command("retune-evaluate", &["--compare", "a", "data/nothing"]);
    nothing.assert().code(1).stderr(contains("is no run"));
    lab.command("retune-evaluate", &["--compare", "a"]).assert().code(2);
}
