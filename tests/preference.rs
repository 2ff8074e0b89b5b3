//! Preference tuning through the stages, with the real binaries on a real data set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{program, reference, stderr};

const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/preference/user-bot.jinja");

/// Some pairs of the DPO demo set as tokens of a small chat model.
struct Bench {
    folder: TempDir,
    model: PathBuf,
}

impl Bench {
    /// `None` where the reference material is absent.
    fn new() -> Option<Self> {
        let model = reference("models/tinystories-chat-3M")?;
        let records: Vec<Value> =
            serde_json::from_slice(&fs::read(reference("datasets/formats/dpo_en_demo.json")?).unwrap()).unwrap();
        let bench = Self { folder: tempfile::tempdir().unwrap(), model };
        let few = Value::from(records[..48].to_vec());
        fs::write(bench.path("pairs.json"), few.to_string()).unwrap();
        bench.ingest("pairs.json", "data");
        let run = bench.tokenize("data", "tokens").assert().success();
        run.stderr(contains(" pairs → ").and(contains(" of 2 × 96, ")));
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str) -> assert_cmd::Command {
        let mut command = program(name);
        command.current_dir(self.folder.path());
        command
    }

    fn ingest(&self, file: &str, out: &str) {
        let split = "train=0.8,validation=0.2";
        self.program("retune-ingest").args([file, "--out", out, "--split", split]).assert().success();
    }

    fn tokenize(&self, data: &str, out: &str) -> assert_cmd::Command {
        let mut command = self.program("retune-tokenize");
        command.args([data, "--out", out, "--max-length", "96", "--overflow", "truncate", "--chat-template", TEMPLATE]);
        command.arg("--model").arg(&self.model);
        command
    }

    fn train(&self, out: &str, more: &[&str]) -> assert_cmd::Command {
        let mut command = self.program("retune-train");
        command.args(["tokens", "--out", out, "--batch-size", "4", "--max-steps", "6", "--learning-rate", "1e-3"]);
        command.arg("--model").arg(&self.model).args(more);
        command
    }

    fn metrics(&self, out: &str) -> Vec<serde_json::Map<String, Value>> {
        let path = self.path(out).join("metrics.parquet");
        let rows = (1..).map_while(|row| artifact_row(&path, row));
        rows.filter(|row| row["step"] != 0).collect()
    }
}

/// A row of a table, by way of `retune-inspect --json`.
fn artifact_row(path: &Path, row: usize) -> Option<serde_json::Map<String, Value>> {
    let run = program("retune-inspect").arg(path).args(["--row", &row.to_string(), "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&run.stdout).ok()?;
    json["record"].as_object().cloned()
}

#[test]
fn pairs_become_rows_of_two_sequences() {
    let Some(bench) = Bench::new() else { return };
    let file = fs::File::open(bench.path("tokens/train.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    use arrow::array::AsArray;
    use arrow::datatypes::{Int32Type, UInt32Type};
    let list = |name: &str, row: usize| {
        let values = batch.column_by_name(name).unwrap().as_list::<i32>().value(row);
        values.as_primitive::<Int32Type>().values().to_vec()
    };
    let chosen = batch.column_by_name("chosen_length").unwrap().as_primitive::<UInt32Type>();
    assert!(batch.num_rows() > 10);
    for row in 0..batch.num_rows() {
        let middle = chosen.value(row) as usize;
        let (ids, labels, positions) = (list("input_ids", row), list("labels", row), list("position_ids", row));
        assert_eq!((positions[0], positions[middle]), (0, 0));
        assert!(middle <= 96 && ids.len() - middle <= 96);
        // The prompt is the same on both sides, and not trained on; the answers are, and differ.
        let prompt = labels.iter().take_while(|&&label| label == -100).count();
        assert_eq!(ids[..prompt], ids[middle..middle + prompt]);
        assert!(labels[middle..middle + prompt].iter().all(|&label| label == -100));
        assert_eq!(labels[prompt..middle], ids[prompt..middle]);
        assert_ne!(ids[..middle], ids[middle..]);
    }
}

#[test]
fn pairs_teach_which_answer_is_preferred() {
    let Some(bench) = Bench::new() else { return };
    for objective in ["dpo", "orpo"] {
        let out = format!("model-{objective}");
        let run = bench.train(&out, &["--objective", objective, "--result", "last", "--json", "-q"]).assert().success();
        let report: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
        let (first, last) = (report["loss_first"].as_f64().unwrap(), report["loss_last"].as_f64().unwrap());
        assert!(last < first, "{objective}: {first} → {last}");
        if objective == "dpo" {
            assert!((first - 2f64.ln()).abs() < 1e-6, "an untrained policy is its reference: {first}");
        }
        let rows = bench.metrics(&out);
        assert_eq!(rows.len(), 6);
        for name in ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen"] {
            assert!(rows[5][name].is_number(), "{objective}: {name}: {:?}", rows[5]);
        }
        assert!(rows[5]["validation_rewards/margins"].is_number());
    }

    let mut evaluate = bench.program("retune-evaluate");
    evaluate.args(["tokens", "--adapter", "model-dpo", "--baseline", "--split", "train", "--out", "eval", "--json"]);
    let run = evaluate.arg("--model").arg(&bench.model).assert().success();
    let found: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert!(found["rewards"]["margin"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["rewards"]["accuracy"].as_f64().unwrap() > 0.5, "{found}");
    for side in ["tuned", "baseline"] {
        let accuracy = found[side]["preference_accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy) && found[side]["loss"].as_f64().unwrap() > 0.0, "{found}");
    }
    let interval = &found["rewards"]["margin_interval"];
    let ends = ["lower", "upper"].map(|end| interval[end].as_f64().unwrap());
    let margin = found["rewards"]["margin"].as_f64().unwrap();
    assert!(ends[0] < margin && margin < ends[1], "{found}");
    let page = fs::read_to_string(bench.path("eval/report.md")).unwrap();
    for part in ["Most misjudged pairs", "Loss over training", "; 95 % interval "] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for file in ["examples.parquet", "report.html", "report.json"] {
        assert!(bench.path("eval").join(file).is_file(), "{file}");
    }
    // From a few pairs no verdict is drawn.
    let mut evaluate = bench.program("retune-evaluate");
    evaluate.args(["tokens", "--adapter", "model-dpo", "--baseline", "--out", "few"]).arg("--model").arg(&bench.model);
    evaluate.assert().success().stderr(predicates::str::contains("pairs cannot tell tuned model and base apart"));
}

#[test]
fn the_bytes_are_the_same_with_any_threads_and_after_a_stop() {
    let Some(bench) = Bench::new() else { return };
    let settings = ["--objective", "dpo", "--rpo-alpha", "0.1", "--lora-dropout", "0.1", "--save-every", "2"];
    let result = |out: &str| {
        ["adapter_model.safetensors", "metrics.parquet"].map(|name| fs::read(bench.path(out).join(name)).unwrap())
    };
    for threads in ["1", "2"] {
        let out = format!("threads-{threads}");
        bench.train(&out, &settings).args(["--threads", threads]).assert().success();
    }
    assert!(result("threads-1") == result("threads-2"));

    // Killed as soon as there is a checkpoint.
    let mut training = Command::new(env!("CARGO_BIN_EXE_retune-train"));
    training.current_dir(bench.folder.path()).args([
        "tokens",
        "--out",
        "killed",
        "--batch-size",
        "4",
        "--max-steps",
        "6",
    ]);
    training.args(["--learning-rate", "1e-3", "-q", "--model"]).arg(&bench.model).args(settings);
    let mut training = training.spawn().unwrap();
    while !bench.path("killed/checkpoints/step-000002").exists() && training.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    training.kill().unwrap();
    training.wait().unwrap();
    bench.train("killed", &settings).arg("--resume").assert().success();
    assert!(result("killed") == result("threads-1"));
    let kept = |out: &str| fs::read(bench.path(out).join("checkpoints/reference.json")).unwrap();
    assert!(kept("killed") == kept("threads-1"));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let says = |mut command: assert_cmd::Command, code: i32, words: &[&str]| {
        let text = stderr(&command.assert().code(code));
        for word in words {
            assert!(text.contains(word), "{word}\n{text}");
        }
    };
    says(bench.train("out", &[]), 1, &["holds preference pairs", "--objective dpo"]);
    says(bench.train("out", &["--objective", "kto"]), 2, &["--objective kto is not built", "make pairs"]);
    says(bench.train("out", &["--beta", "0.2"]), 2, &["--beta has no meaning with --objective sft"]);
    says(bench.train("out", &["--objective", "orpo", "--rpo-alpha", "1"]), 2, &["--rpo-alpha has no meaning"]);
    says(bench.train("out", &["--objective", "dpo", "--beta", "0"]), 2, &["--beta must be a number above 0, found 0"]);
    let smoothed = ["--objective", "dpo", "--dpo-loss", "ipo", "--dpo-label-smoothing", "0.1"];
    says(bench.train("out", &smoothed), 2, &["--dpo-label-smoothing must be 0 with this loss type"]);

    fs::write(bench.path("texts.jsonl"), "{\"text\": \"one\"}\n{\"text\": \"two\"}\n".repeat(3)).unwrap();
    bench.program("retune-ingest").args(["texts.jsonl", "--out", "texts", "--as", "train"]).assert().success();
    bench.tokenize("texts", "text-tokens").assert().success();
    let mut wrong = bench.program("retune-train");
    wrong.args(["text-tokens", "--objective", "dpo", "--out", "out", "--model"]).arg(&bench.model);
    says(wrong, 1, &["holds no preference pairs", "chosen and rejected"]);

    let mut split = bench.program("retune-tokenize");
    split.args(["data", "--out", "split", "--overflow", "split", "--model"]).arg(&bench.model);
    says(split, 1, &["a preference pair is compared as a whole", "truncate or drop"]);
    assert!(!bench.path("out/manifest.json").exists());
}

/// The pipeline of the repository, on its data set.
#[test]
fn the_pipeline_takes_pairs_to_a_report() {
    let (Some(model), Some(data)) =
        (reference("models/tinystories-chat-3M"), reference("datasets/formats/dpo_en_demo.json"))
    else {
        return;
    };
    let run = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_retune-ingest")).parent().unwrap();
    let mut make = assert_cmd::Command::new("make");
    make.args(["-C", concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/preference"), "MAX_STEPS=3"]);
    make.arg(format!("DATA={}", data.display())).arg(format!("MODEL={}", model.display()));
    make.arg(format!("RUN={}", run.path().join("run").display())).arg(format!("BIN={}", bin.display()));
    make.assert().success().stderr(contains("The chosen answer is the more likely one"));
    assert!(run.path().join("run/eval/report.html").is_file());
}

#[test]
fn a_profile_and_a_plan_need_no_run_before_them() {
    let Some(bench) = Bench::new() else { return };
    for objective in ["dpo", "orpo"] {
        bench.train("out", &["--objective", objective, "--profile"]).assert().success().stderr(contains("one step"));
        bench.train("out", &["--objective", objective, "--plan"]).assert().success().stderr(contains("memory"));
    }
    assert!(!bench.path("out").exists());
}
