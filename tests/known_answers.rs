//! Known answers of transformers and PEFT on tiny models whose weights are a function of their names: each option of LoRA
//! and DoRA, and architectures with settings that the reference models do not have, through the real programs.
//!
//! `data/known_answers.json` is made by `data/peers/known_answers.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use tempfile::TempDir;

use crate::train::{floats, metrics, write_tokens};

fn known() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/known_answers.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The same numbers as `values` in `known_answers.py`.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let key = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let unit = |index: usize| {
        let mut z = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(key);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let number = |index| match shape {
        [_] => unit(index) * 0.4 + if name.ends_with("bias") { 0.0 } else { 1.0 },
        _ if name.contains("lora_B") => unit(index) * 0.2,
        _ => unit(index) * 4.0 / (shape[shape.len() - 1] as f64).sqrt(),
    };
    (0..shape.iter().product()).map(|index| number(index) as f32).collect()
}

fn shapes(list: &Value) -> BTreeMap<String, Vec<usize>> {
    let shape = |value: &Value| value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    list.as_object().unwrap().iter().map(|(name, value)| (name.clone(), shape(value))).collect()
}

fn write_weights(path: &Path, shapes: &BTreeMap<String, Vec<usize>>, value_of: impl Fn(&str) -> String) {
    let bytes: BTreeMap<&String, Vec<u8>> = shapes
        .iter()
        .map(|(name, shape)| (name, values(&value_of(name), shape).iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views =
        shapes.iter().map(|(name, shape)| (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A folder with the rows, the model and, where the case has one, the adapter.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(known: &Value, model: &Value) -> Self {
        let bench = Self { folder: TempDir::new().unwrap() };
        let list = |row: &Value, key: &str| {
            row[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
        };
        let rows = known["rows"].as_array().unwrap().iter();
        write_tokens(
            &bench.path("rows.parquet"),
            &rows.map(|row| (list(row, "input_ids"), list(row, "labels"))).collect::<Vec<_>>(),
        );
        fs::create_dir(bench.path("model")).unwrap();
        fs::write(bench.path("model/config.json"), model["config"].to_string()).unwrap();
        write_weights(&bench.path("model/model.safetensors"), &shapes(&model["tensors"]), str::to_owned);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).args(["rows.parquet", "--model", "model"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ten steps as the reference made them.
    fn train(&self, more: &[&str]) {
        let mut arguments = vec!["--out", "out", "--schedule", "constant", "--max-steps", "10", "--batch-size", "2"];
        arguments.extend(["--weight-decay", "0.01", "--max-grad-norm", "1"]);
        arguments.extend(more);
        self.run(env!("CARGO_BIN_EXE_retune-train"), &arguments);
    }

    /// An adapter of the values of its names.
    fn write_adapter(&self, case: &Value) -> BTreeMap<String, Vec<usize>> {
        fs::create_dir(self.path("adapter")).unwrap();
        fs::write(self.path("adapter/adapter_config.json"), case["adapter_config"].to_string()).unwrap();
        let stored = shapes(&case["stored"]);
        let tied = case["adapter_config"]["ensure_weight_tying"] == true;
        write_weights(&self.path("adapter/adapter_model.safetensors"), &stored, |key| {
            if tied { key.replace("lm_head", "model.embed_tokens") } else { key.to_owned() }
        });
        stored
    }

    /// Loss before training, and loss and gradient norm of each step, against the case.
    fn compare(&self, name: &str, case: &Value) {
        let evaluated: Value = serde_json::from_slice(&fs::read(self.path("eval/metrics.json")).unwrap()).unwrap();
        let tokens = case["tokens"].as_f64().unwrap();
        let found = evaluated["tuned"]["loss"].as_f64().unwrap() * tokens;
        near(&format!("{name}: NLL"), found, case["nll_sum"].as_f64().unwrap(), 1e-5);
        self.compare_steps(name, case, &[("loss", 1e-4), ("grad_norm", 1e-3)]);
    }

    fn compare_steps(&self, name: &str, case: &Value, columns: &[(&str, f64)]) {
        let metrics = metrics(&self.path("out"));
        for (column, tolerance) in columns {
            let expected = case[column].as_array().unwrap();
            let found = floats(&metrics, column);
            assert_eq!(found.len(), expected.len());
            for (step, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                let what = format!("{name}: {column} of step {}", step + 1);
                near(&what, found.unwrap(), expected.as_f64().unwrap(), *tolerance);
            }
        }
    }
}

fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1e-12);
    assert!(error < tolerance, "{what} {found} is not {expected} ({error:e})");
}

#[test]
fn architectures_with_unusual_settings_train_as_in_transformers() {
    let known = known();
    for (name, case) in known["architectures"].as_object().unwrap() {
        let bench = Bench::new(&known, &known["models"][name]);
        bench.run(env!("CARGO_BIN_EXE_retune-evaluate"), &["--out", "eval"]);
        bench.train(&["--method", "full", "--learning-rate", "1e-3"]);
        bench.compare(name, case);
    }
}

#[test]
fn each_option_of_an_adapter_trains_as_in_peft() {
    let known = known();
    for (name, case) in known["adapters"].as_object().unwrap() {
        let bench = Bench::new(&known, &known["models"][case["model"].as_str().unwrap()]);
        let stored = bench.write_adapter(case);
        bench.run(env!("CARGO_BIN_EXE_retune-evaluate"), &["--out", "eval", "--adapter", "adapter"]);
        bench.train(&["--adapter", "adapter", "--learning-rate", "1e-2"]);
        bench.compare(name, case);
        let expected: BTreeSet<&String> = stored.keys().collect();
        assert_eq!(names(&bench.path("out")).iter().collect::<BTreeSet<_>>(), expected, "{name}: continued");

        // The same settings as flags make an adapter of the same tensors.
        let flags = case["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap());
        let mut arguments = vec!["--out", "new", "--max-steps", "1", "--lora-r", "4", "--lora-alpha", "6"];
        arguments.extend(flags);
        bench.run(env!("CARGO_BIN_EXE_retune-train"), &arguments);
        assert_eq!(names(&bench.path("new")).iter().collect::<BTreeSet<_>>(), expected, "{name}: new");
    }
}

#[test]
fn each_option_of_the_optimisation_is_the_reference_s() {
    let known = known();
    for (name, case) in known["options"].as_object().unwrap() {
        let adapter = &known["adapters"]["all-linear"];
        let bench = Bench::new(&known, &known["models"][adapter["model"].as_str().unwrap()]);
        bench.write_adapter(adapter);
        let flags: Vec<&str> = case["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
        let steps = case["loss"].as_array().unwrap().len().to_string();
        let mut arguments = vec!["--out", "out", "--batch-size", "2", "--max-steps", steps.as_str()];
        if !flags.contains(&"--schedule") {
            arguments.extend(["--schedule", "constant"]);
        }
        if !flags.contains(&"full") {
            arguments.extend(["--adapter", "adapter"]);
        }
        arguments.extend(flags);
        bench.run(env!("CARGO_BIN_EXE_retune-train"), &arguments);
        bench.compare_steps(name, case, &[("loss", 1e-4), ("grad_norm", 1e-3), ("learning_rate", 1e-9)]);
    }
}

/// Everything at once that draws random numbers or keeps more than the two factors.
const NOISY: [&str; 22] = [
    "--method",
    "dora",
    "--lora-dropout",
    "0.2",
    "--neftune-alpha",
    "5",
    "--label-smoothing",
    "0.1",
    "--lora-plus-ratio",
    "4",
    "--modules-to-save",
    "embed_tokens,norm",
    "--bias",
    "all",
    "--max-steps",
    "8",
    "--batch-size",
    "1",
    "--save-every",
    "3",
    "--keep-checkpoints",
    "9",
];

#[test]
fn a_resumed_run_draws_the_same_numbers() {
    let known = known();
    let bench = Bench::new(&known, &known["models"]["save-tied-head"]);
    let train = |out: &str, more: &[&str]| {
        bench.run(env!("CARGO_BIN_EXE_retune-train"), &[&["--out", out], &NOISY[..], more].concat());
    };
    train("whole", &["--threads", "2"]);
    let checkpoint = bench.path("resumed/checkpoints/step-000003");
    fs::create_dir_all(&checkpoint).unwrap();
    for file in fs::read_dir(bench.path("whole/checkpoints/step-000003")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), checkpoint.join(file.file_name())).unwrap();
    }
    train("resumed", &["--threads", "1", "--resume"]);
    for file in ["adapter_model.safetensors", "adapter_config.json", "metrics.parquet"] {
        let read = |out: &str| fs::read(bench.path(out).join(file)).unwrap();
        assert!(read("whole") == read("resumed"), "{file} differs");
    }
    // The noise is there: without it the losses are others.
    let quiet: Vec<&str> = NOISY.iter().map(|word| if *word == "0.2" || *word == "5" { "0" } else { word }).collect();
    bench.run(env!("CARGO_BIN_EXE_retune-train"), &[&["--out", "quiet", "--force"], &quiet[..]].concat());
    let losses = |out: &str| floats(&metrics(&bench.path(out)), "loss");
    assert_ne!(losses("quiet")[0], losses("whole")[0]);
}

#[test]
fn an_adapter_that_trained_whole_modules_leaves_the_base_as_it_was() {
    let known = known();
    for case in ["save-tied-head", "save-tied-table", "save-norm", "bias-all", "dora"] {
        let case = &known["adapters"][case];
        let bench = Bench::new(&known, &known["models"][case["model"].as_str().unwrap()]);
        bench.write_adapter(case);
        let evaluate = env!("CARGO_BIN_EXE_retune-evaluate");
        bench.run(evaluate, &["--out", "alone"]);
        bench.run(evaluate, &["--out", "both", "--adapter", "adapter", "--baseline"]);
        let read = |path: &str| -> Value { serde_json::from_slice(&fs::read(bench.path(path)).unwrap()).unwrap() };
        let (alone, both) = (read("alone/metrics.json"), read("both/metrics.json"));
        assert_eq!(alone["tuned"]["loss"], both["baseline"]["loss"]);
        assert_ne!(alone["tuned"]["loss"], both["tuned"]["loss"]);
    }
}

fn names(adapter: &Path) -> Vec<String> {
    let bytes = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.names().into_iter().map(ToOwned::to_owned).collect()
}
