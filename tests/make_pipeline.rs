//! The Make engine over the real programs: a small model of the reference material, a few rows of a real data set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::support;

const FOLDERS: [&str; 5] = ["data", "tokens", "model", "eval", "test"];

struct Pipeline {
    folder: TempDir,
}

impl Pipeline {
    /// `None` where the reference material is absent.
    fn new() -> Option<Self> {
        let model = support::reference("models/tinystories-chat-3M")?;
        let rows = fs::read_to_string(support::reference("datasets/customer-service-banking77/train.csv")?).unwrap();
        let pipeline = Self { folder: tempfile::tempdir().unwrap() };
        let few: Vec<&str> = rows.lines().filter(|line| !line.contains('"')).take(60).collect();
        fs::write(pipeline.path("tickets.csv"), few.join("\n") + "\n").unwrap();
        let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/common.mk");
        let bin = Path::new(env!("CARGO_BIN_EXE_retune-ingest")).parent().unwrap();
        let makefile = format!(
            "DATA := tickets.csv\nMODEL := {}\nMAP := prompt=text,completion=category\n\
             SPLIT := train=0.8,validation=0.1,test=0.1\nMAX_STEPS := 4\nLORA_R := 2\nMAX_NEW_TOKENS := 4\n\
             BIN := {}\ninclude {engine}\n",
            model.display(),
            bin.display()
        );
        fs::write(pipeline.path("Makefile"), makefile).unwrap();
        Some(pipeline)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("make");
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    /// Calls make, which must succeed; says which stages wrote their manifest.
    fn make(&self, arguments: &[&str]) -> Vec<&'static str> {
        let before = self.manifests();
        let output = self.command(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "make {arguments:?}:\n{text}");
        let now = self.manifests();
        FOLDERS.into_iter().filter(|name| before.get(name) != now.get(name)).collect()
    }

    fn manifests(&self) -> BTreeMap<&'static str, SystemTime> {
        let time = |name| fs::metadata(self.path(&format!("run/{name}/manifest.json"))).ok()?.modified().ok();
        FOLDERS.into_iter().filter_map(|name| Some((name, time(name)?))).collect()
    }
}

#[test]
fn raw_rows_become_a_tested_model_and_only_what_changed_runs_again() {
    let Some(pipeline) = Pipeline::new() else { return };
    assert_eq!(pipeline.make(&[]), FOLDERS);
    FOLDERS.iter().for_each(|name| support::all_in_contract(&pipeline.path(&format!("run/{name}"))));
    let start = Instant::now();
    assert_eq!(pipeline.make(&[]), [""; 0]);
    assert!(start.elapsed() < Duration::from_secs(5), "the second make took {:?}", start.elapsed());

    assert_eq!(pipeline.make(&["LEARNING_RATE=1e-3"]), ["model", "eval", "test"]);
    assert_eq!(pipeline.make(&["LEARNING_RATE=1e-3", "METRICS=exact_match"]), ["test"]);
    let settings = ["LEARNING_RATE=1e-3", "METRICS=exact_match"];

    let rows = fs::read_to_string(pipeline.path("tickets.csv")).unwrap();
    fs::write(pipeline.path("tickets.csv"), &rows).unwrap();
    assert_eq!(pipeline.make(&settings), [""; 0], "the same rows, written again");
    let last = rows.lines().last().unwrap();
    fs::write(pipeline.path("tickets.csv"), format!("{rows}{last}\n")).unwrap();
    assert_eq!(
        pipeline.make(&settings),
        ["data", "eval"],
        "a duplicate row changes the rejects alone, which the report counts"
    );

    fs::remove_file(pipeline.path("run/tokens/train.parquet")).unwrap();
    assert_eq!(pipeline.make(&settings), ["tokens"]);
    let output =
        pipeline.command(&["METRICS=exact_match", "GATE=exact_match>=1", "LEARNING_RATE=1e-3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a missed gate fails");
    assert!(pipeline.path("run/test/manifest.json").exists(), "and its result is whole");
}

#[test]
fn a_killed_training_ends_with_the_bytes_of_an_undisturbed_one() {
    let Some(pipeline) = Pipeline::new() else { return };
    let settings = ["train", "MAX_STEPS=30", "TRAIN_FLAGS=--save-every 1"];
    pipeline.make(&settings);
    let undisturbed = fs::read(pipeline.path("run/model/adapter_model.safetensors")).unwrap();
    fs::remove_dir_all(pipeline.path("run/model")).unwrap();

    use std::os::unix::process::CommandExt;
    let mut make =
        pipeline.command(&settings).process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !pipeline.path("run/model/checkpoints/step-000002").exists() {
        assert!(start.elapsed() < Duration::from_mins(2), "training wrote no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    let killed = Command::new("kill").args(["-KILL", "--", &format!("-{}", make.id())]).status().unwrap();
    assert!(killed.success());
    make.wait().unwrap();
    assert!(!pipeline.path("run/model/manifest.json").exists());

    let output = pipeline.command(&settings).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("--resume"), "{text}");
    let resumed = fs::read(pipeline.path("run/model/adapter_model.safetensors")).unwrap();
    assert!(resumed == undisturbed, "the resumed adapter differs from the undisturbed one");
}

#[test]
fn messages_name_the_variables_of_the_pipeline() {
    let Some(pipeline) = Pipeline::new() else { return };
    let failed = |arguments: &[&str]| {
        let output = pipeline.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = failed(&["tokenize", "MAX_LENGTH=4"]);
    assert!(text.contains("make: ") && text.contains("--overflow is set by OVERFLOW=…"), "{text}");
    let text = failed(&["OVERFLOW=truncat"]);
    assert!(text.contains("make: --overflow is set by OVERFLOW=…"), "{text}");
    let text = failed(&["TOKENIZE_FLAGS=--chat-templat x"]);
    assert!(text.contains("goes into TOKENIZE_FLAGS='"), "{text}");
}
