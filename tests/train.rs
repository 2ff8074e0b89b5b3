//! `retune-train` with real models: known answers, kills, resumes, refusals.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Float64Array, Int32Builder, ListBuilder, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::reference;

mod full_disk;
mod memory;
mod refusals;

/// One row: input_ids, labels. Positions count from 0.
pub(crate) type Row = (Vec<i32>, Vec<i32>);

fn train(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retune-train"));
    command.args(arguments).env("COLUMNS", "100").env_remove("RETUNE_LOG");
    command
}

/// Runs to the end and returns (exit code, stdout, stderr).
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = train(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn succeed(arguments: &[&str]) -> String {
    let (code, _, stderr) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}\n{stderr}");
    stderr
}

fn fail(arguments: &[&str], expected: &[&str]) {
    let (code, _, stderr) = run(arguments);
    assert_eq!(code, 1, "{arguments:?}\n{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{part:?} is not in:\n{stderr}");
    }
}

/// Writes the three columns that every trainer writes, and nothing else.
pub(crate) fn write_tokens(path: &Path, rows: &[Row]) {
    let column = |values: &dyn Fn(&Row) -> Vec<i32>| {
        let mut builder = ListBuilder::new(Int32Builder::new());
        for row in rows {
            builder.append_value(values(row).into_iter().map(Some));
        }
        Arc::new(builder.finish()) as ArrayRef
    };
    let batch = RecordBatch::try_from_iter([
        ("input_ids", column(&|row| row.0.clone())),
        ("labels", column(&|row| row.1.clone())),
        ("position_ids", column(&|row| (0..row.0.len() as i32).collect())),
    ])
    .unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Rows of different lengths whose first third is not trained.
fn some_rows(count: usize, vocabulary: usize) -> Vec<Row> {
    let row = |i: usize| {
        let length = 6 + i * 5 % 17;
        let ids: Vec<i32> = (0..length).map(|t| ((i * 31 + t * t * 7 + 3) % vocabulary) as i32).collect();
        let labels = ids.iter().enumerate().map(|(t, &id)| if t < length / 3 { -100 } else { id }).collect();
        (ids, labels)
    };
    (0..count).map(row).collect()
}

fn golden_rows(golden: &Value) -> Vec<Row> {
    let list =
        |row: &Value, key: &str| row[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect();
    golden["rows"].as_array().unwrap().iter().map(|row| (list(row, "input_ids"), list(row, "labels"))).collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The figures of every step, without those of the validation before the first.
pub(crate) fn metrics(out: &Path) -> RecordBatch {
    let file = fs::File::open(out.join("metrics.parquet")).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows = reader.next().unwrap().unwrap();
    let before = floats(&rows, "step").iter().filter(|step| **step == Some(0.0)).count();
    rows.slice(before, rows.num_rows() - before)
}

pub(crate) fn floats(batch: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    let column = arrow::compute::cast(batch.column_by_name(name).unwrap(), &DataType::Float64).unwrap();
    let column = column.as_any().downcast_ref::<Float64Array>().unwrap();
    (0..column.len()).map(|i| column.is_valid(i).then(|| column.value(i))).collect()
}

/// Every file of a finished run but those that hold wall time.
fn contents(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![out.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if name != "manifest.json" && !name.starts_with("throughput") {
                found.insert(path.strip_prefix(out).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn assert_same(found: &Path, expected: &Path) {
    let (found, expected) = (contents(found), contents(expected));
    let names = |map: &BTreeMap<PathBuf, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{} differs", name.display());
    }
}

/// A folder with tokens, and the reference model to train on them.
struct Bench {
    folder: TempDir,
    model: PathBuf,
}

impl Bench {
    fn new(model: &str, rows: usize, vocabulary: usize) -> Option<Self> {
        let model = reference(model)?;
        let folder = TempDir::new().unwrap();
        write_tokens(&folder.path().join("train.parquet"), &some_rows(rows, vocabulary));
        // Other rows than the last ones to train on, so that learning by heart does not help.
        let unseen = some_rows(rows + 50, vocabulary).split_off(rows + 45);
        write_tokens(&folder.path().join("validation.parquet"), &unseen);
        Some(Self { folder, model })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn arguments<'a>(&self, out: &str, more: &[&'a str]) -> Vec<String> {
        let mut arguments = vec![self.path("train.parquet"), "--validation".into(), self.path("validation.parquet")];
        arguments.extend(["--model".into(), self.model.to_str().unwrap().to_owned(), "--out".into(), self.path(out)]);
        arguments.extend(more.iter().map(|&argument: &&'a str| argument.to_owned()));
        arguments
    }

    fn succeed(&self, out: &str, more: &[&str]) -> String {
        let arguments = self.arguments(out, more);
        succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn fail(&self, out: &str, more: &[&str], expected: &[&str]) {
        let arguments = self.arguments(out, more);
        fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}

/// The known run of a reference architecture, through the binary: `method` from the given start.
fn known_run(architecture: &str, method: &str) -> Option<(TempDir, Value)> {
    let model = reference(&format!("architectures/{architecture}"))?;
    let golden = read_json(&model.join("golden.json"));
    let folder = TempDir::new().unwrap();
    let tokens = folder.path().join("tokens.parquet");
    write_tokens(&tokens, &golden_rows(&golden));
    let (out, adapter) = (folder.path().join("out"), model.join("lora_init"));
    let mut arguments = vec![tokens.to_str().unwrap(), "--model", model.to_str().unwrap(), "--method", method];
    arguments.extend([
        "--out",
        out.to_str().unwrap(),
        "--schedule",
        "constant",
        "--max-steps",
        "10",
        "--batch-size",
        "2",
    ]);
    arguments.extend(["--weight-decay", "0.01", "--max-grad-norm", "1"]);
    if method == "lora" {
        arguments.extend(["--adapter", adapter.to_str().unwrap(), "--learning-rate", "1e-2"]);
    } else {
        arguments.extend(["--learning-rate", "1e-3"]);
    }
    succeed(&arguments);
    Some((folder, golden))
}

fn assert_trace(out: &Path, trace: &Value) {
    let metrics = metrics(out);
    for (column, key, tolerance) in [("loss", "loss", 1e-4), ("grad_norm", "grad_norm", 1e-3)] {
        let expected = trace.as_array().unwrap().iter().map(|step| step[key].as_f64().unwrap());
        let found = floats(&metrics, column);
        assert_eq!(found.len(), trace.as_array().unwrap().len());
        for (step, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let error = (found.unwrap() - expected).abs() / expected;
            assert!(error < tolerance, "step {}: {column} {found:?} is not {expected}", step + 1);
        }
    }
}

#[test]
fn a_known_lora_run_gives_the_known_losses_and_adapter() {
    for architecture in ["llama", "gpt2"] {
        let Some((folder, golden)) = known_run(architecture, "lora") else { return };
        let out = folder.path().join("out");
        assert_trace(&out, &golden["lora"]["trace"]);
        let read = |path: PathBuf| {
            let bytes = fs::read(path).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let values =
                |data: &[u8]| data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
            tensors.tensors().into_iter().map(|(name, view)| (name, values(view.data()))).collect::<BTreeMap<_, _>>()
        };
        let found = read(out.join("adapter_model.safetensors"));
        let expected = read(
            reference(&format!("architectures/{architecture}/lora_final")).unwrap().join("adapter_model.safetensors"),
        );
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, values) in &expected {
            let largest = values.iter().zip(&found[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 1e-3, "{architecture}: {name} differs by {largest}");
        }
    }
}

#[test]
fn a_known_full_run_gives_the_known_losses() {
    for architecture in ["llama", "gpt2"] {
        let Some((folder, golden)) = known_run(architecture, "full") else { return };
        let out = folder.path().join("out");
        assert_trace(&out, &golden["full"]["trace"]);
        assert!(out.join("config.json").is_file() && out.join("model.safetensors").is_file());
    }
}

const SHORT: [&str; 10] =
    ["--epochs", "2", "--batch-size", "3", "--evaluate-every", "3", "--save-every", "4", "--lora-dropout", "0.1"];

#[test]
fn a_killed_run_resumed_ends_with_the_same_bytes() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 40, 14_000) else { return };
    bench.succeed("whole", &SHORT);
    let mut kills = 0;
    for attempt in 0.. {
        assert!(attempt < 200, "the run never ends");
        let mut arguments = bench.arguments("killed", &SHORT);
        arguments.push("--resume".into());
        let mut command = Command::new(env!("CARGO_BIN_EXE_retune-train"));
        let mut child = command.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments that fall everywhere: loading, a step, a validation, a checkpoint being written.
        std::thread::sleep(Duration::from_millis(120 + attempt * 173 % 700));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0, "the run was too short to be killed");
    assert_same(Path::new(&bench.path("killed")), Path::new(&bench.path("whole")));
}

#[test]
fn one_and_two_threads_end_with_the_same_bytes() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 12, 14_000) else { return };
    for method in ["lora", "dora", "full"] {
        let options = ["--method", method, "--max-steps", "4", "--batch-size", "3"];
        let (one, two) = (format!("{method}-one"), format!("{method}-two"));
        bench.succeed(&one, &[&options[..], &["--threads", "1"]].concat());
        bench.succeed(&two, &[&options[..], &["--threads", "2"]].concat());
        assert_same(Path::new(&bench.path(&one)), Path::new(&bench.path(&two)));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 40, 14_000) else { return };
    let options = ["--max-steps", "150", "--batch-size", "4", "--save-every", "7"];
    bench.succeed("whole", &options);
    let mut command = Command::new(env!("CARGO_BIN_EXE_retune-train"));
    let mut child = command.args(bench.arguments("stopped", &options)).stderr(Stdio::piped()).spawn().unwrap();
    // The first checkpoint shows that the steps have begun, whatever the speed of the machine.
    while !Path::new(&bench.path("stopped/checkpoints/step-000007")).exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");
    let stopped = PathBuf::from(bench.path("stopped"));
    assert!(!stopped.join("manifest.json").exists(), "an unfinished folder has no manifest");
    assert!(fs::read_dir(stopped.join("checkpoints")).unwrap().count() > 0);
    bench.fail("stopped", &options, &["--resume", "--force"]);
    let mut other = options;
    other[1] = "151";
    bench.fail("stopped", &[&other[..], &["--resume"]].concat(), &["max_steps", "150", "151"]);
    bench.succeed("stopped", &[&options[..], &["--resume"]].concat());
    assert_same(&stopped, Path::new(&bench.path("whole")));
}

#[test]
fn the_best_validation_is_the_result() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 12, 14_000) else { return };
    // A rate at which validation soon turns.
    let options = ["--max-steps", "40", "--batch-size", "4", "--evaluate-every", "2", "--learning-rate", "3e-2"];
    let stopping = [&options[..], &["--early-stopping-patience", "2"]].concat();
    bench.succeed("early", &stopping);
    let (json_code, report, _) = {
        let mut arguments = bench.arguments("early", &stopping);
        arguments.extend(["--json".into(), "--force".into()]);
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(json_code, 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    let metrics = metrics(Path::new(&bench.path("early")));
    let losses = floats(&metrics, "validation_loss");
    let (best, loss) = losses
        .iter()
        .enumerate()
        .filter_map(|(index, loss)| loss.map(|loss| (index + 1, loss)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    assert_eq!(report["validation"]["best_step"], best);
    assert_eq!(report["validation"]["best"], loss);
    assert_eq!(report["stopped_early"], true);
    assert_eq!(losses.len(), best + 4, "two more validations, two steps apart");
}

#[test]
fn a_finished_folder_is_up_to_date_until_something_changes() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 6, 14_000) else { return };
    let options = ["--max-steps", "2", "--batch-size", "3"];
    bench.succeed("out", &options);
    assert!(bench.succeed("out", &options).contains("up to date"));
    assert!(bench.succeed("out", &[&options[..], &["--resume"]].concat()).contains("up to date"));
    assert!(!bench.succeed("out", &["--max-steps", "3", "--batch-size", "3"]).contains("up to date"));
    write_tokens(Path::new(&bench.path("train.parquet")), &some_rows(7, 14_000));
    assert!(!bench.succeed("out", &["--max-steps", "3", "--batch-size", "3"]).contains("up to date"));
}

#[test]
fn random_weights_from_a_configuration() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 10, 60) else { return };
    let config = bench.path("config.json");
    fs::write(
        &config,
        r#"{"model_type": "llama", "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": true, "rope_theta": 10000.0}"#,
    )
    .unwrap();
    let (tokens, out) = (bench.path("train.parquet"), bench.path("out"));
    succeed(&[&tokens, "--init-config", &config, "--out", &out, "--epochs", "20", "--batch-size", "5"]);
    let losses = floats(&metrics(Path::new(&out)), "loss");
    let first = losses[0].unwrap();
    assert!((first - 60f64.ln()).abs() < 0.2, "a random model starts at ln V, found {first}");
    assert!(losses[losses.len() - 1].unwrap() < first - 0.3);
    // What comes out is a model that can be tuned on.
    succeed(&[&tokens, "--model", &out, "--out", &bench.path("tuned"), "--max-steps", "1"]);
}

#[test]
fn a_profile_tells_where_the_time_goes_and_writes_nothing() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 10, 14_000) else { return };
    let arguments = bench.arguments("out", &["--profile", "--json"]);
    let (code, stdout, stderr) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 0, "{stderr}");
    let profile: Value = serde_json::from_str(&stdout).unwrap();
    for key in ["tokens", "seconds", "gflop", "peak_gflop_per_second", "peak_memory_bytes"] {
        assert!(profile[key].as_f64().unwrap() > 0.0, "{key} in {stdout}");
    }
    let operations = profile["operations"].as_array().unwrap();
    let names: Vec<&str> = operations.iter().map(|operation| operation["name"].as_str().unwrap()).collect();
    for name in ["linear_lora", "linear_lora backward", "attention", "attention backward", "cross_entropy", "adamw"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let shares: f64 = operations.iter().map(|operation| operation["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    assert!(!Path::new(&bench.path("out")).exists());
}

#[test]
fn a_plan_tells_and_writes_nothing() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 10, 14_000) else { return };
    let arguments = bench.arguments("out", &["--plan", "--json"]);
    let (code, stdout, stderr) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 0, "{stderr}");
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(plan["parameters"], 3_413_632 + 262_144);
    assert_eq!(plan["steps"], 6);
    for key in ["trained_parameters", "tokens", "bytes", "seconds"] {
        assert!(plan[key].as_f64().unwrap() > 0.0, "{key} in {stdout}");
    }
    assert!(!Path::new(&bench.path("out")).exists());
}

#[test]
fn bad_input_gets_one_clear_message_and_leaves_nothing() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 4, 14_000) else { return };
    let tokens = PathBuf::from(bench.path("train.parquet"));
    bench.fail("out", &["--adapter", &bench.path("absent")], &["absent", "does not exist"]);

    write_tokens(&tokens, &[(vec![1, 2, 3], vec![1, 2, 3]), (vec![1, 14_019, 3], vec![1, 2, 3])]);
    bench.fail("out", &[], &["row 2", "14019", "14019 tokens"]);
    write_tokens(&tokens, &[(vec![1; 300], vec![1; 300])]);
    bench.fail("out", &[], &["row 1", "300", "256", "--max-length"]);
    write_tokens(&tokens, &[(vec![1, 2, 3], vec![-100; 3])]);
    bench.fail("out", &[], &["no row has a token to learn"]);
    write_tokens(&tokens, &[(vec![1, 2, 3], vec![-7; 3])]);
    bench.fail("out", &[], &["row 1", "-7"]);
    write_tokens(&tokens, &[]);
    bench.fail("out", &[], &["no rows"]);
    fs::remove_file(&tokens).unwrap();
    bench.fail("out", &[], &["train.parquet", "does not exist"]);
    let out = PathBuf::from(bench.path("out"));
    assert!(!out.exists() || fs::read_dir(&out).unwrap().next().is_none(), "something was left in {}", out.display());
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_names_rows() {
    let Some(bench) = Bench::new("models/tinystories-chat-3M", 9, 14_000) else { return };
    let options = [
        "--learning-rate",
        "1e30",
        "--method",
        "full",
        "--max-steps",
        "9",
        "--batch-size",
        "3",
        "--schedule",
        "constant",
    ];
    let saving = [&options[..], &["--save-every", "1", "--max-grad-norm", "0"]].concat();
    bench.fail("out", &saving, &["not finite", "row", "--learning-rate"]);
    assert!(!Path::new(&bench.path("out")).join("manifest.json").exists());
}

#[test]
fn help_is_stable() {
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("train_help", stdout);
}

#[test]
fn each_example_is_followed_through_the_run() {
    let Some(bench) = Bench::new("architectures/llama", 12, 60) else { return };
    bench.succeed("out", &["--max-steps", "6", "--batch-size", "4", "--evaluate-every", "3"]);
    let out = PathBuf::from(bench.path("out"));
    let points = artifact::read_example_history(&out.join("example_losses.parquet")).unwrap();
    let mean = |step: u64, split: artifact::Split| {
        let own: Vec<_> = points.iter().filter(|point| point.step == step && point.split == split).collect();
        let tokens: f64 = own.iter().map(|point| f64::from(point.trained_tokens)).sum();
        own.iter().map(|point| point.loss * f64::from(point.trained_tokens)).sum::<f64>() / tokens
    };
    let figures = metrics(&out);
    let (losses, validations) = (floats(&figures, "loss"), floats(&figures, "validation_loss"));
    for step in 1..=6u64 {
        let place = step as usize - 1;
        assert!((mean(step, artifact::Split::Train) - losses[place].unwrap()).abs() < 1e-9, "step {step}");
        if let Some(validation) = validations[place] {
            assert!((mean(step, artifact::Split::Validation) - validation).abs() < 1e-9, "validation at {step}");
        }
    }
    let before_training = points.iter().filter(|point| point.step == 0).count();
    assert_eq!(before_training, 5, "each validation row is measured before the first step");
    let twice = points.iter().filter(|point| point.id == points[5].id && point.split == artifact::Split::Train);
    assert_eq!(twice.count(), 2, "two epochs show each row twice");
}
