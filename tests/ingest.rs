//! `retune-ingest` end to end: what goes in, what comes out, what is refused.

#[path = "ingest/bad_input.rs"]
mod bad_input;
#[path = "ingest/formats.rs"]
mod formats;
#[path = "ingest/parts.rs"]
mod parts;
#[path = "ingest/quality.rs"]
mod quality;
#[path = "ingest/reference.rs"]
mod reference;
#[path = "ingest/same_bytes.rs"]
mod same_bytes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use artifact::{Example, ExampleReader, Reject, read_rejects};
use assert_cmd::Command;
use tempfile::TempDir;

/// A folder to work in, with the program at hand.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Runs the program in the folder with `--out data`.
    fn ingest(&self, arguments: &[&str]) -> Run {
        self.ingest_with(arguments, "")
    }

    fn ingest_with(&self, arguments: &[&str], stdin: &str) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retune-ingest"));
        let command = command.current_dir(self.folder.path()).args(arguments).args(["--out", "data"]);
        Run::of(command.write_stdin(stdin).output().unwrap())
    }

    fn examples(&self, split: &str) -> Vec<Example> {
        let mut reader = ExampleReader::open(&self.path(&format!("data/{split}.parquet"))).unwrap();
        let mut all = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            all.extend(batch);
        }
        all
    }

    fn rejects(&self) -> Vec<Reject> {
        read_rejects(&self.path("data/rejects.parquet")).unwrap()
    }

    /// Every file of the output but the manifest, whose times differ.
    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path("data")).unwrap().map(|entry| entry.unwrap().path());
        let tables = entries.filter(|path| path.extension().is_some_and(|ending| ending == "parquet"));
        tables.map(|path| (name_of(&path), fs::read(&path).unwrap())).collect()
    }

    /// Nothing half-written: no file at all in the output folder.
    fn nothing_written(&self) -> bool {
        fs::read_dir(self.path("data")).map_or(true, |mut entries| entries.next().is_none())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// How a run ended.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    fn failed_with(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, 1, "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        }
        self
    }
}

fn said(example: &Example) -> Vec<(&str, &str)> {
    example.messages.iter().map(|message| (message.role.as_str(), message.content.as_deref().unwrap_or("-"))).collect()
}

#[test]
fn help_says_what_it_does() {
    let output = Command::new(env!("CARGO_BIN_EXE_retune-ingest")).arg("--help").output().unwrap();
    insta::assert_snapshot!("ingest_help", String::from_utf8(output.stdout).unwrap());
}

#[test]
fn every_row_is_accounted_for() {
    let bench = Bench::new();
    let rows = "{\"prompt\":\"a\",\"completion\":\"1\"}\n{\"prompt\":\"a\",\"completion\":\"1\"}\n\n\
                {\"prompt\":\"b\",\"completion\":\" \"}\n{\"question\":\"c\",\"answer\":\"3\"}\n\
                {\"prompt\":\"long one\",\"completion\":\"4444\"}\n{\"prompt\":\"d\",\"completion\":\"2\"}\n";
    let arguments = ["rows.jsonl", "--as", "train", "--max-chars", "5", "--json"];
    let run = bench.write("rows.jsonl", rows).ingest(&arguments).succeeded();
    assert!(run.stderr.contains("6 rows in = 2 out + 4 rejected"), "{}", run.stderr);
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((summary["read"].as_u64(), summary["rejects"]["duplicate"]["rows"].as_u64()), (Some(6), Some(1)));
    let found: Vec<(u64, String)> =
        bench.rejects().into_iter().map(|reject| (reject.source_row, reject.code)).collect();
    let expected = [(2, "duplicate"), (4, "empty"), (5, "bad_record"), (6, "too_long")];
    assert_eq!(found, expected.map(|(row, code)| (row, code.to_owned())));
    assert_eq!(bench.rejects()[0].detail, "the same as rows.jsonl:1");
    assert!(bench.rejects()[2].detail.contains("--map prompt=question,completion=answer"), "{:?}", bench.rejects()[2]);
    assert_eq!(bench.rejects()[2].record, "{\"question\":\"c\",\"answer\":\"3\"}");
    assert_eq!(bench.examples("train").iter().map(|example| example.source_row).collect::<Vec<_>>(), [1, 7]);
}

#[test]
fn a_second_run_is_up_to_date_and_another_option_is_not() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n").ingest(&["rows.jsonl"]).succeeded();
    let again = bench.ingest(&["rows.jsonl", "--threads", "1"]).succeeded();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    assert!(!bench.ingest(&["rows.jsonl", "--seed", "7"]).succeeded().stderr.contains("up to date"));
    bench.write("rows.jsonl", "{\"text\":\"a\"}\n{\"text\":\"c\"}\n");
    assert!(!bench.ingest(&["rows.jsonl", "--seed", "7"]).succeeded().stderr.contains("up to date"));
}

#[test]
fn a_dry_run_reports_and_writes_nothing() {
    let bench = Bench::new();
    let run = bench
        .write("rows.jsonl", "{\"text\":\"a\"}\n{\"text\":\"a\"}\n")
        .ingest(&["rows.jsonl", "--dry-run"])
        .succeeded();
    assert!(run.stderr.contains("2 rows in = 1 out + 1 rejected"), "{}", run.stderr);
    assert!(!bench.path("data").exists());
}

#[test]
fn a_configuration_file_gives_options_and_its_slips_are_told() {
    let bench = Bench::new();
    bench
        .write("rows.csv", "q,a\nx,y\n")
        .write("good.toml", "[ingest]\nmap = [\"prompt=q\", \"completion=a\"]\nas = \"test\"\n");
    bench.ingest(&["rows.csv", "--config", "good.toml"]).succeeded();
    assert_eq!(bench.examples("test").len(), 1);
    let run = bench.write("bad.toml", "mapp = \"prompt=q\"\n").ingest(&["rows.csv", "--config", "bad.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("did you mean map?"), "{}", run.stderr);
}

#[test]
fn rows_stay_in_their_split_when_data_grows() {
    let row = |number: usize| format!("{{\"text\":\"row number {number}\"}}\n");
    let bench = Bench::new();
    let shares = ["rows.jsonl", "--split", "train=0.6,validation=0.2,test=0.2"];
    bench.write("rows.jsonl", (0..300).map(row).collect::<String>()).ingest(&shares).succeeded();
    let before: BTreeMap<String, Vec<String>> = ids(&bench);
    // Others come first, in between and after, and some are gone.
    let grown: String = (250..700).rev().chain(0..200).map(row).collect();
    bench.write("rows.jsonl", grown).ingest(&shares).succeeded();
    let after = ids(&bench);
    for (split, ids) in &before {
        let strangers = after.iter().filter(|(other, _)| *other != split).flat_map(|(_, ids)| ids);
        assert!(strangers.into_iter().all(|id| !ids.contains(id)), "a row left {split}");
    }
}

fn ids(bench: &Bench) -> BTreeMap<String, Vec<String>> {
    let splits = ["train", "validation", "test"];
    splits.map(|split| (split.to_owned(), bench.examples(split).into_iter().map(|example| example.id).collect())).into()
}

#[test]
fn prompts_in_two_splits_are_told_and_can_be_kept_together() {
    let rows: String =
        (0..400).map(|n| format!("{{\"prompt\":\"question {}\",\"completion\":\"answer {n}\"}}\n", n / 4)).collect();
    let bench = Bench::new();
    let run = bench.write("rows.jsonl", rows).ingest(&["rows.jsonl"]).succeeded();
    assert!(run.stderr.contains("in more than one split"), "{}", run.stderr);
    let run = bench.ingest(&["rows.jsonl", "--split-by", "prompt", "--split", "train=0.5,test=0.5"]).succeeded();
    assert!(!run.stderr.contains("in more than one split"), "{}", run.stderr);
}

#[test]
fn near_duplicates_and_contaminated_rows_are_set_aside() {
    let words = |from: usize| (from..from + 120).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    let rows = [words(0), words(0).replace("w60", "other"), words(500), format!("As asked: {}", words(1000))];
    let rows: String = rows.iter().map(|text| format!("{{\"text\":\"{text}\"}}\n")).collect();
    let bench = Bench::new();
    bench.write("rows.jsonl", rows).write("benchmark.csv", format!("id,question\n1,\"{}\"\n", words(1010)));
    let arguments = ["rows.jsonl", "--as", "train", "--dedup", "near", "--decontaminate", "benchmark.csv"];
    bench.ingest(&arguments).succeeded();
    let found: Vec<(u64, String)> =
        bench.rejects().into_iter().map(|reject| (reject.source_row, reject.code)).collect();
    assert_eq!(found, [(2, "near_duplicate".to_owned()), (4, "contaminated".to_owned())]);
}
