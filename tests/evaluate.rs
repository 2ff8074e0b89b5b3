//! `retune-evaluate` with the real binary: known losses, packing, verdicts, damaged input.

use crate::support::{program, reference, stderr};
use artifact::{Committed, MetricsRow, OutputFolder, PackedExample, TokenRow, TokenWriter, write_metrics};
use encoding::{Specials, Tokenizer};
use predicates::str::contains;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The stories that the known losses were measured on, as tokens of the model.
fn stories(model: &Path, count: usize, context: usize) -> Vec<Vec<i32>> {
    let folder = reference("datasets/text").unwrap();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.to_string_lossy().to_lowercase().contains("tinystories")).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let tokenizer = Tokenizer::open(model).unwrap();
    let stories = text.split("<|endoftext|>").map(str::trim).filter(|story| !story.is_empty()).take(count);
    stories
        .map(|story| {
            let ids = tokenizer.encode(story, Specials::Added).unwrap().ids;
            ids.into_iter().take(context).map(|id| id as i32).collect()
        })
        .collect()
}

/// A row that packs these token lists, every token trained.
fn packed(sequences: &[Vec<i32>], first: usize) -> TokenRow {
    let mut row = TokenRow::default();
    for (index, ids) in sequences.iter().enumerate() {
        row.examples.push(PackedExample {
            id: format!("story-{}", first + index),
            source_file: "stories.txt".into(),
            source_row: (first + index) as u64,
            start: row.input_ids.len() as u32,
            length: ids.len() as u32,
            spans: Vec::new(),
        });
        row.input_ids.extend(ids);
        row.labels.extend(ids);
        row.position_ids.extend(0..ids.len() as i32);
        row.char_start.extend(ids.iter().map(|_| 0));
        row.char_end.extend(ids.iter().map(|_| 0));
    }
    row
}

/// A sealed token folder whose validation split holds these rows.
fn token_folder(path: &Path, rows: &[TokenRow]) {
    let folder = OutputFolder::open(path).unwrap();
    let mut writer = TokenWriter::new(folder.stage("validation.parquet").unwrap()).unwrap();
    writer.write(rows).unwrap();
    let outputs = vec![writer.finish().unwrap()];
    let identity = cli::identity("retune-tokenize", &serde_json::json!({}), Vec::new());
    folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: Value::Null }).unwrap();
}

fn evaluate(tokens: &Path, model: &Path, out: &Path) -> assert_cmd::Command {
    let mut command = program("retune-evaluate");
    command.arg(tokens).arg("--model").arg(model).arg("--out").arg(out);
    command
}

#[test]
fn known_losses_come_out_whatever_the_packing() {
    for (name, context) in [("stories260K", 512), ("tinystories-chat-3M", 256)] {
        let Some(model) = reference(&format!("models/{name}")) else { return };
        let golden = json(&model.join("golden.json"));
        let known = golden["nll"].as_array().unwrap();
        let stories = stories(&model, known.len(), context);
        let folder = tempfile::tempdir().unwrap();
        let single: Vec<TokenRow> =
            stories.iter().enumerate().map(|(index, story)| packed(std::slice::from_ref(story), index)).collect();
        let mut losses = Vec::new();
        for (kind, rows) in [("single", single), ("packed", vec![packed(&stories, 0)])] {
            let (tokens, out) = (folder.path().join(kind), folder.path().join(format!("eval-{kind}")));
            token_folder(&tokens, &rows);
            evaluate(&tokens, &model, &out).assert().success().stderr(contains("perplexity"));
            let metrics = json(&out.join("metrics.json"));
            assert_eq!(metrics["tuned"]["trained_tokens"], golden["nll_tokens"], "{name} {kind}");
            let loss = metrics["tuned"]["loss"].as_f64().unwrap();
            assert!((loss - golden["nll_mean"].as_f64().unwrap()).abs() < 1e-4, "{name} {kind}: {loss}");
            let perplexity = metrics["tuned"]["perplexity"].as_f64().unwrap();
            assert!((perplexity - loss.exp()).abs() < 1e-9);
            assert!(metrics["baseline"].is_null());
            losses.push(loss);
        }
        assert!((losses[0] - losses[1]).abs() < 1e-5, "{name}: {losses:?}");
    }
}

#[test]
fn each_example_has_its_loss_beside_the_base() {
    let Some(model) = reference("architectures/llama") else { return };
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Vec<i32>> = (0..4).map(|row| (0..6 + row).map(|token| (token * 7 + row) % 60).collect()).collect();
    let (tokens, out) = (folder.path().join("tokens"), folder.path().join("eval"));
    token_folder(&tokens, &[packed(&rows[..3], 1), packed(&rows[3..], 4)]);
    let run = |threads: &str, out: &Path| {
        evaluate(&tokens, &model, out)
            .arg("--adapter")
            .arg(model.join("lora_final"))
            .args(["--baseline", "--threads", threads])
            .assert()
            .success()
    };
    run("1", &out);
    let metrics = json(&out.join("metrics.json"));
    assert_ne!(metrics["tuned"]["loss"], metrics["baseline"]["loss"]);
    assert_eq!(metrics["tuned"]["trained_tokens"], 5 + 6 + 7 + 8);
    let (rows, total) = example_losses(&out.join("examples.parquet"));
    assert_eq!(rows.len(), 4);
    let mean = metrics["tuned"]["loss"].as_f64().unwrap();
    assert!((total / 26.0 - mean).abs() < 1e-9, "the examples' losses add up to the whole");
    assert!(rows.iter().all(|row| row.2.is_some()));
    // Again: nothing to do. With other threads: the same bytes.
    evaluate(&tokens, &model, &out)
        .arg("--adapter")
        .arg(model.join("lora_final"))
        .arg("--baseline")
        .assert()
        .success()
        .stderr(contains("up to date"));
    let other = folder.path().join("other");
    run("2", &other);
    for file in ["metrics.json", "examples.parquet", "report.html"] {
        assert_eq!(std::fs::read(out.join(file)).unwrap(), std::fs::read(other.join(file)).unwrap(), "{file}");
    }
}

/// Id, loss and base loss of each row, and the sum of losses over tokens.
fn example_losses(path: &Path) -> (Vec<(String, f64, Option<f64>)>, f64) {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, UInt64Type};
    let file = std::fs::File::open(path).unwrap();
    let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let (mut rows, mut total) = (Vec::new(), 0.0);
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let (ids, losses, bases) = (column("id"), column("loss"), column("baseline_loss"));
        let tokens = column("trained_tokens");
        for row in 0..batch.num_rows() {
            let loss = losses.as_primitive::<Float64Type>().value(row);
            total += loss * tokens.as_primitive::<UInt64Type>().value(row) as f64;
            let base = bases.as_primitive::<Float64Type>();
            let base = base.is_valid(row).then(|| base.value(row));
            rows.push((ids.as_string::<i32>().value(row).to_owned(), loss, base));
        }
    }
    (rows, total)
}

#[test]
fn the_verdict_comes_from_the_curves_of_the_run() {
    let Some(model) = reference("architectures/llama") else { return };
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(model.join("lora_final").join(file), adapter.join(file)).unwrap();
    }
    let validations = [3.0, 2.5, 2.2, 2.4, 2.8];
    let rows: Vec<MetricsRow> = (0..=40u64)
        .map(|step| MetricsRow {
            step,
            loss: (step > 0).then_some(3.0 - 0.05 * step as f64),
            validation_loss: step.is_multiple_of(10).then(|| validations[step as usize / 10]),
            ..MetricsRow::default()
        })
        .collect();
    let staging = OutputFolder::open(&adapter).unwrap();
    let file = write_metrics(staging.stage("metrics.parquet").unwrap(), &rows).unwrap();
    let identity = cli::identity("retune-train", &serde_json::json!({}), Vec::new());
    staging.commit(Committed { outputs: vec![file], identity, seed: None, rows: None, summary: Value::Null }).unwrap();
    let (tokens, out) = (folder.path().join("tokens"), folder.path().join("eval"));
    token_folder(&tokens, &[packed(&[vec![1, 2, 3, 4]], 1)]);
    let mut command = evaluate(&tokens, &model, &out);
    command.arg("--adapter").arg(&adapter).assert().success().stderr(contains("overfits from step 20 on"));
    assert_eq!(json(&out.join("metrics.json"))["fit"]["verdict"], "overfitted");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("best step 20")
            && page.contains("<svg")
            && !page.contains("http://")
            && !page.contains("https://")
    );
}

#[test]
fn what_cannot_be_measured_is_said() {
    let Some(model) = reference("architectures/llama") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("eval");
    let tokens = |name: &str, row: TokenRow| -> PathBuf {
        let path = folder.path().join(name);
        token_folder(&path, &[row]);
        path
    };
    let fails = |tokens: &Path, message: &str| {
        let run = evaluate(tokens, &model, &out).assert().code(1);
        assert!(stderr(&run).contains(message), "{}", stderr(&run));
        assert!(!out.join("manifest.json").exists());
    };
    fails(&folder.path().join("nothing"), "does not exist");
    fails(&tokens("foreign", packed(&[vec![1, 1_000_000]], 1)), "outside of the model's vocabulary");
    let mut untrained = packed(&[vec![1, 2, 3]], 1);
    untrained.labels.fill(-100);
    fails(&tokens("untrained", untrained), "has no trained token");
    let good = tokens("good", packed(&[vec![1, 2, 3]], 1));
    let mut train = evaluate(&good, &model, &out);
    train.args(["--split", "train"]).assert().code(1).stderr(contains("has no train split"));
    // A bare file that another tool wrote needs no manifest.
    evaluate(&good.join("validation.parquet"), &model, &out).assert().success();
    program("retune-evaluate").arg(&good).args(["--model", "x"]).assert().code(2).stderr(contains("--out"));
}

#[test]
fn help_is_stable() {
    let help = program("retune-evaluate").arg("--help").assert().success();
    insta::assert_snapshot!(String::from_utf8_lossy(&help.get_output().stdout));
}
