//! What `retune-test` measures beyond the common metrics: several references, expressions, commands, classes, costs, and
//! whether training has seen the test.

use crate::support::{program, reference, stderr};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn lines(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

fn rows() -> Vec<Value> {
    let row = |id: &str, prompt: &str, prediction: &str, references: &[&str], base: &str| json!({ "id": id, "prompt": prompt, "prediction": prediction, "reference": references, "baseline_prediction": base });
    vec![
        row("a", "Where is my parcel?", "refund", &["cancel", "refund"], "cancel it"),
        row("b", "How many are left?", "So there are 1,072 of them.", &["#### 1072"], "1071"),
        row("c", "Give me the order", "{\"id\": 7, \"paid\": true}", &["{\"paid\": true, \"id\": 7.0}"], "{\"id\": 8"),
        row("d", "Which is it?", "refund", &["refund"], "refund"),
    ]
}

#[test]
fn each_kind_of_metric_is_measured_with_its_signature() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("answers.jsonl"), folder.path().join("scores"));
    lines(&file, &rows());
    let mut command = program("retune-test");
    command.arg("--predictions").arg(&file).arg("--out").arg(&out);
    command.args(["--metrics", "exact_match,numeric,json_match,json_valid,f1_macro,accuracy,chrf:lowercase"]);
    command.args(["--metrics", "bleu:tokenize=zh:smooth_method=floor:smooth_value=0.5"]);
    command.args(["--regex", r"count=(\d[\d,]*)", "--scorer", "words=awk '{ print NR }'"]);
    command.assert().success().stderr(contains("not checked whether training has seen the test"));
    let card = read(&out.join("scorecard.json"));
    let value = |name: &str, of: &str| card["metrics"][name][of].as_f64().unwrap_or_else(|| panic!("{name} {of}"));
    assert_eq!(value("exact_match", "tuned"), 0.5, "either reference will do");
    assert_eq!((value("numeric", "tuned"), value("numeric", "baseline")), (0.5, 0.0));
    assert_eq!((value("json_match", "tuned"), value("json_valid", "tuned")), (0.25, 0.25));
    assert_eq!(value("words", "tuned"), 2.5, "the command's scores are averaged");
    assert_eq!(card["metrics"]["count"]["signature"], r"nrefs:var|measure:group-equals-reference|regex:(\d[\d,]*)");
    let bleu = &card["metrics"]["bleu_zh:smooth_method=floor:smooth_value=0.5"];
    assert_eq!(bleu["signature"], "nrefs:var|case:mixed|eff:no|tok:zh|smooth:floor[0.50]|version:2.6.0");
    assert_eq!(card["metrics"]["exact_match"]["difference"]["wins"], 1);
    assert_eq!(card["too_few_rows"], true);
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("4 rows cannot tell tuned model and base apart (30 are the least)"), "{page}");
    assert!(page.contains("| few rows |") && !page.contains("is better than its base"), "{page}");
    assert!(card["leakage"].is_null() && card["classes"].as_array().unwrap().len() == 3);
    // What was written is read again, with its lists of references.
    let again = folder.path().join("again");
    let mut command = program("retune-test");
    command.arg("--predictions").arg(out.join("predictions.parquet")).arg("--out").arg(&again);
    command.args(["--metrics", "exact_match"]).assert().success();
    assert_eq!(read(&again.join("scorecard.json"))["metrics"]["exact_match"]["tuned"], 0.5);
}

#[test]
fn what_cannot_be_measured_is_refused_before_or_with_its_row() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("answers.jsonl"), folder.path().join("scores"));
    lines(&file, &rows());
    let run = |arguments: &[&str]| {
        let mut command = program("retune-test");
        command.arg("--predictions").arg(&file).arg("--out").arg(&out).args(arguments).assert()
    };
    run(&["--metrics", "bleu:tokenise=zh"]).code(2).stderr(contains("tokenize, lowercase"));
    run(&["--metrics", "bleu:tokenize=ja-mecab"]).code(2).stderr(contains("13a, intl, zh, char, none"));
    run(&["--regex", "x=("]).code(2).stderr(contains("unclosed group"));
    run(&["--regex", "f1=a"]).code(2).stderr(contains("is the name of a metric already"));
    run(&["--gate", "latency_p95<=200"]).code(2).stderr(contains("200ms"));
    run(&["--gate", "rouge>=0.2"]).code(2).stderr(contains("stands for several: name one of rouge1, rouge2"));
    run(&["--gate", "latency_p95<=200ms"]).code(2).stderr(contains("needs a model that answers"));
    run(&["--scorer", "x=head -n 2"]).code(1).stderr(contains("expected 4 scores, found 2"));
    run(&["--scorer", "x=cat"]).code(1).stderr(contains("row 1").and(contains("expected a number")));
    run(&["--scorer", "x=exit 7"]).code(1).stderr(contains("exit status: 7"));
    run(&["--train", "nowhere"]).code(1).stderr(contains("nowhere does not exist"));
    run(&["--resamples", "1000000000"]).code(2).stderr(contains("0..=100000"));
    run(&["--gate", "exact_match>=80"]).code(2).stderr(contains("did you mean 0.8?"));
    run(&["--gate", "x>=80", "--scorer", "x=awk '{ print 90 }'"]).success();
    run(&["--gate", "bleu>=0.3"]).stderr(contains("bleu counts from 0 to 100; did you mean 30?"));
    fs::remove_dir_all(&out).unwrap();
    assert!(!out.join("manifest.json").exists());
    lines(&file, &[json!({ "prediction": "a", "reference": [] })]);
    run(&[]).code(1).stderr(contains("row 1").and(contains("empty list")));
    lines(&file, &[json!({ "prediction": "a", "reference": "a" }), json!({ "prediction": null, "reference": "a" })]);
    run(&[]).code(1).stderr(contains("row 2").and(contains("a text in the field prediction, found null")));
}

#[test]
fn of_lists_only_what_differs_stands_side_by_side() {
    let folder = TempDir::new().unwrap();
    lines(&folder.path().join("answers.jsonl"), &rows());
    for (out, metrics) in [("a", "exact_match,rouge"), ("b", "exact_match,rouge,bleu")] {
        let mut command = program("retune-test");
        command.current_dir(folder.path()).args(["--predictions", "answers.jsonl", "--metrics", metrics, "--out", out]);
        command.assert().success();
    }
    let compared = |arguments: &[&str]| {
        let mut command = program("retune-evaluate");
        let run = command.current_dir(folder.path()).arg("--compare").args(arguments).assert().success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    };
    let said = compared(&["a", "b"]);
    let line = said.lines().find(|line| line.starts_with("test metrics")).unwrap();
    assert!(line.contains("the 5 that all have") && line.contains("bleu and"), "{said}");
    assert!(!line.contains("rouge1"), "what both measured is not what changed: {said}");
    // A long value is cut to the width of a line where it is read, and whole where programs read it.
    let long = format!("s=true {}; awk '{{ print 1 }}'", "and so on ".repeat(40));
    let mut command = program("retune-test");
    command.current_dir(folder.path()).args(["--predictions", "answers.jsonl", "--scorer", &long, "--out", "c"]);
    command.assert().success();
    let said = compared(&["a", "c"]);
    assert!(said.lines().all(|line| line.chars().count() <= 100) && said.contains("test scorer"), "{said}");
    assert!(compared(&["a", "c", "--json"]).contains(&"and so on ".repeat(40)));
}

#[test]
fn rows_that_training_has_seen_are_listed_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    lines(&path("answers.jsonl"), &rows());
    lines(
        &path("train.jsonl"),
        &[
            json!({ "prompt": "where is my PARCEL", "completion": "on its way" }),
            json!({ "prompt": "How many are left?", "completion": "#### 1072" }),
            json!({ "prompt": "Something else", "completion": "Indeed" }),
        ],
    );
    let ingest =
        |arguments: &[&str]| program("retune-ingest").current_dir(folder.path()).args(arguments).assert().success();
    ingest(&["train.jsonl", "--as", "train", "--out", "data"]);
    let mut command = program("retune-test");
    command.current_dir(folder.path()).args(["--predictions", "answers.jsonl", "--train", "data", "--out", "scores"]);
    let said = stderr(&command.assert().success());
    assert!(
        said.contains("training has seen 2 rows of the test: 1 with prompt and answer, 1 with the prompt"),
        "{said}"
    );
    let card = read(&path("scores/scorecard.json"));
    assert_eq!(
        card["leakage"],
        json!({
            "training_examples": 3, "rows": 2, "same_example": 1, "same_prompt": 1, "overlap": 0
        })
    );
    assert_eq!(card["rows"], 4, "nothing is removed");
    let first = artifact::read_row(&path("scores/leakage.parquet"), 1).unwrap().unwrap();
    assert_eq!((&first["id"], &first["kind"]), (&json!("a"), &json!("same_prompt")));
    assert!(fs::read_to_string(path("scores/report.html")).unwrap().contains("Training has seen 2 of the 4 test rows"));
}

#[test]
fn training_data_that_tells_nothing_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    lines(&path("answers.jsonl"), &rows());
    fs::write(path("broken.jsonl"), "{\"prompt\": \"Where is my parcel?\"}\nnot JSON\n").unwrap();
    let tokens = artifact::OutputFolder::open(&path("tokens")).unwrap();
    let mut writer = artifact::TokenWriter::new(tokens.stage("train.parquet").unwrap()).unwrap();
    let row = artifact::TokenRow {
        input_ids: vec![1, 2],
        labels: vec![1, 2],
        position_ids: vec![0, 1],
        char_start: vec![0, 0],
        char_end: vec![0, 0],
        ..artifact::TokenRow::default()
    };
    writer.write(&[row]).unwrap();
    let outputs = vec![writer.finish().unwrap()];
    let identity = cli::identity("retune-tokenize", &json!({}), Vec::new());
    tokens.commit(artifact::Committed { outputs, identity, seed: None, rows: None, summary: Value::Null }).unwrap();
    let refused = |train: &str, message: &str| {
        let mut command = program("retune-test");
        command.current_dir(folder.path()).args(["--predictions", "answers.jsonl", "--out", "scores"]);
        let said = stderr(&command.args(["--train", train]).assert().code(1));
        assert!(said.contains(message) && said.contains("hint: whether training has seen the test"), "{said}");
        assert!(!path("scores").exists());
    };
    refused("broken.jsonl", "broken.jsonl:2");
    refused("tokens/train.parquet", "tokens/train.parquet holds no example to compare the test with");
}

#[test]
fn the_report_opens_with_the_metric_of_the_gate_and_its_settings_can_be_copied() {
    let folder = TempDir::new().unwrap();
    let rows: Vec<Value> = (0..30)
        .map(|row| json!({ "prediction": format!("the answer {row}"), "reference": format!("answer {row} is"), "baseline_prediction": "" }))
        .collect();
    lines(&folder.path().join("answers.jsonl"), &rows);
    let run = |out: &str, more: &[&str]| {
        let mut command = program("retune-test");
        command.current_dir(folder.path()).args(["--predictions", "answers.jsonl", "--out", out]).args(more);
        command.assert().success();
        fs::read_to_string(folder.path().join(out).join("report.md")).unwrap()
    };
    assert!(run("plain", &[]).contains("better than its base: f1"), "exact_match is 0 for both");
    let page = run("gated", &["--gate", "rougeL>=0.1", "--regex", "n=\\d", "--scorer", "s=awk '{ print 1 }'"]);
    assert!(page.contains("better than its base: rougeL"), "{page}");
    let names = "`exact_match, f1, rouge1, rouge2, rougeL, rougeLsum`";
    assert!(page.contains(&format!("- metrics: {names}")) && !page.contains("nrefs:|"), "{page}");
    assert!(page.contains("- regex: `n=\\d`") && page.contains("- scorer: `s=awk '{ print 1 }'`"), "{page}");
}

#[test]
fn a_scorer_that_hangs_is_ended_with_all_that_it_started() {
    let folder = TempDir::new().unwrap();
    lines(&folder.path().join("answers.jsonl"), &rows());
    let mut command = program("retune-test");
    command.current_dir(folder.path()).args(["--predictions", "answers.jsonl", "--out", "scores"]);
    command.args(["--scorer", "slow=echo 1; sleep 600 & echo $! >child; wait", "--scorer-timeout", "1"]);
    let said = stderr(&command.assert().code(1));
    assert!(said.contains("scorer slow was ended: no score came for 1 s, after 1 of 4"), "{said}");
    assert!(said.contains("--scorer-timeout SECONDS"), "{said}");
    let child = fs::read_to_string(folder.path().join("child")).unwrap();
    let alive = || std::process::Command::new("kill").args(["-0", child.trim()]).status().unwrap().success();
    // Its new parent may take a moment to bury it.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        !alive()
    });
    assert!(gone, "process {child} is still there");
}

#[test]
fn costs_are_told_and_may_be_asked_for_and_change_no_other_file() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let folder = TempDir::new().unwrap();
    let prompts = ["Hello", "What is your name?", "Do you like cake?", "Hi! How are you today?"];
    let rows: Vec<Value> = prompts
        .iter()
        .map(|prompt| json!({ "prompt": format!("User: {prompt}\nBot:"), "completion": " Hi, I'm Sarah." }))
        .collect();
    lines(&folder.path().join("rows.jsonl"), &rows);
    let ingest = ["rows.jsonl", "--as", "test", "--out", "data"];
    program("retune-ingest").current_dir(folder.path()).args(ingest).assert().success();
    let run = |out: &str, more: &[&str]| {
        let mut command = program("retune-test");
        command.current_dir(folder.path()).args(["data", "--max-new-tokens", "12", "--json", "--out", out]);
        command.arg("--model").arg(&model).arg(format!("--baseline={}", model.display())).args(more).assert()
    };
    let told: Value =
        serde_json::from_slice(&run("one", &["--batch-size", "1"]).success().get_output().stdout).unwrap();
    for of in ["tuned", "baseline"] {
        let cost = &told["cost"][of];
        let value = |name: &str| cost[name].as_f64().unwrap();
        assert!(value("tokens_per_second") > 0.0 && value("new_tokens") > 4.0);
        assert!(value("time_to_first_token_p50") > 0.0 && value("latency_p50") >= value("time_to_first_token_p50"));
        assert!(value("latency_p95") <= value("seconds") && value("peak_memory") > 1e6);
    }
    run("two", &["--batch-size", "3", "--threads", "1"]).success();
    for file in ["predictions.parquet", "scorecard.json", "report.html", "report.md", "report.json"] {
        let bytes = |out: &str| fs::read(folder.path().join(out).join(file)).unwrap();
        assert!(bytes("one") == bytes("two"), "{file} differs");
    }
    let times = artifact::TableFacts::read(&folder.path().join("one/throughput.parquet")).unwrap();
    assert_eq!(times.rows, 8, "each answer of both models");
    run("held", &["--gate", "latency_p95<=100s", "--gate", "peak_memory<=64GiB"]).success().stderr(contains("held"));
    let missed = run("missed", &["--gate", "latency_p99<=1us"]).code(3);
    assert!(stderr(&missed).contains("MISSED"), "{}", stderr(&missed));
    assert!(read(&folder.path().join("missed/scorecard.json"))["gates"][0]["missed_by"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_gate_on_the_base_and_an_endless_scorer_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("answers.jsonl");
    lines(&file, &[json!({ "prediction": "a", "reference": "a" })]);
    let run = |arguments: &[&str]| {
        let out = folder.path().join("out");
        let mut command = program("retune-test");
        command.arg("--predictions").arg(&file).arg("--out").arg(&out).args(arguments);
        let text = stderr(&command.assert().code(1));
        assert!(!out.exists(), "{text}");
        text
    };
    let text = run(&["--gate", "exact_match-baseline>=0"]);
    assert!(text.contains("answers.jsonl has no answers of one") && text.contains("baseline_prediction"), "{text}");
    let text = run(&["--scorer", "x=yes 1"]);
    assert!(text.contains("scorer x: expected 1 scores, found more"), "{text}");
    let mut command = program("retune-test");
    command.arg("--predictions").arg(folder.path()).arg("--out").arg(folder.path().join("out"));
    command.assert().code(1).stderr(contains("is a folder, not a file"));
}

#[test]
fn odd_rows_of_other_tools_are_told_with_their_rows() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("answers.jsonl"), folder.path().join("scores"));
    let row = |id: Value, prediction: &str| json!({ "id": id, "prediction": prediction, "reference": "a" });
    let rows = [row(json!("x"), "a"), row(json!(7), ""), row(json!("x"), " "), row(Value::Null, "b")];
    lines(&file, &rows);
    let mut command = program("retune-test");
    let said = stderr(&command.arg("--predictions").arg(&file).arg("--out").arg(&out).assert().success());
    for sentence in [
        "1 row without an id, the first is row 4",
        "2 rows have an empty prediction (rows 2, 3)",
        "1 id stands more than once: x in rows 1, 3; each row is scored",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("x in rows 1, 3"));
    // The same rows as Parquet, with columns of no interest: the same words, and nulls are refused by row.
    let mut command = program("retune-test");
    let again = folder.path().join("again");
    command.arg("--predictions").arg(out.join("predictions.parquet")).arg("--out").arg(&again);
    let said = stderr(&command.assert().success());
    assert!(said.contains("2 rows have an empty prediction (rows 2, 3)") && said.contains("x in rows 1, 3"), "{said}");
    let null = folder.path().join("null.parquet");
    let texts = |values: &[Option<&str>]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let columns = [("prediction", texts(&[Some("a"), Some("b")])), ("reference", texts(&[Some("a"), None]))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&null).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut command = program("retune-test");
    command.arg("--predictions").arg(&null).arg("--out").arg(folder.path().join("never"));
    command.assert().code(1).stderr(contains("null.parquet row 2").and(contains("reference, found null")));
}

#[test]
fn many_labels_show_their_largest_confusions_first() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("answers.jsonl"), folder.path().join("scores"));
    let row = |place: usize| {
        let answer = if place % 40 == 3 { "label-7".to_owned() } else { format!("label-{}", place % 40) };
        json!({ "prediction": answer, "reference": format!("label-{}", place % 40) })
    };
    lines(&file, &(0..80).map(row).collect::<Vec<_>>());
    let run = |arguments: &[&str]| {
        let mut command = program("retune-test");
        command.arg("--predictions").arg(&file).arg("--out").arg(&out).args(arguments).assert()
    };
    run(&["--temperature", "0.7"]).code(2).stderr(contains("cannot be used with"));
    run(&["--resamples", "0", "--gate", "accuracy>=0.5@95%"]).code(2).stderr(contains("needs an interval"));
    run(&["--metrics", "accuracy"]).success();
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(!page.contains("Confusion table"), "forty labels make no readable table: {page}");
    assert!(page.contains("| label-3 | label-7 | 2 | 100.0 % |"), "{page}");
    assert!(page.find("Most frequent confusions: 1 of 1 pair").unwrap() < page.find("Each class").unwrap(), "{page}");
    // Of fewer labels with long names there is a table, whose columns have the numbers of the rows.
    lines(&file, &(0..60).map(|place| row(place % 12)).collect::<Vec<_>>());
    run(&["--metrics", "accuracy"]).success();
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("| Expected | 1 | 2 |") && page.contains("| 1 label-0 | 5 | 0 |"), "{page}");
}

#[test]
fn answers_that_are_no_label_are_told() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("answers.jsonl"), folder.path().join("scores"));
    let told = |wrong: usize| {
        let row = |place: usize| {
            let answer = if place < wrong { "c" } else { "a" };
            json!({ "prediction": answer, "reference": if place.is_multiple_of(2) { "a" } else { "b" } })
        };
        lines(&file, &(0..30).map(row).collect::<Vec<_>>());
        let mut command = program("retune-test");
        command.arg("--predictions").arg(&file).arg("--out").arg(&out).args(["--metrics", "accuracy"]);
        command.assert().success();
        fs::read_to_string(out.join("report.md")).unwrap()
    };
    assert!(told(10).contains("- 10 of 30 answers are none of the 2 labels"));
    assert!(!told(2).contains("none of the 2 labels"), "a slip or two is no finding");
}

#[test]
fn any_of_several_labels_is_right_and_the_base_may_take_another() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("answers.jsonl"), folder.path().join("scores"));
    let row = json!({ "prediction": "b", "baseline_prediction": "a", "reference": ["a", "b"] });
    lines(&file, &vec![row; 30]);
    let mut command = program("retune-test");
    command.arg("--predictions").arg(&file).arg("--out").arg(&out).args(["--metrics", "classification"]);
    command.assert().success();
    let card = read(&out.join("scorecard.json"));
    assert_eq!(card["metrics"]["accuracy"]["tuned"], 1.0);
    assert_eq!(card["metrics"]["f1_macro"]["tuned"], 1.0);
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("| b | 100.0 % | 100.0 % | 1.000 | – | 30 |"), "{page}");
}
