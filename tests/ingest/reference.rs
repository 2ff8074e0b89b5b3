//! Every command of docs/datasets.md on the set that it names.

use std::path::{Path, PathBuf};

use super::{Bench, Run};

/// Where the reference material lies, or nothing where tests that need it are to be skipped.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn reference() -> Option<PathBuf> {
    let given = std::env::var_os("RETUNE_REFERENCE").map(PathBuf::from);
    let path = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference"));
    if path.join("datasets").is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is not there", path.display());
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// The commands of a document: lines of its `sh` blocks, continued lines joined.
fn commands(document: &str) -> Vec<String> {
    let blocks = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<Vec<_>>().join("\n");
    joined.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn every_documented_command_works() {
    let Some(reference) = reference() else { return };
    let document = include_str!("../../docs/datasets.md");
    let folder = Path::new(env!("CARGO_BIN_EXE_retune-ingest")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let commands = commands(document);
    assert!(commands.len() > 20);
    for command in commands {
        let bench = Bench::new();
        std::os::unix::fs::symlink(reference.canonicalize().unwrap().join("datasets"), bench.path("datasets")).unwrap();
        let output = assert_cmd::Command::new("sh")
            .args(["-c", &command])
            .current_dir(bench.folder.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let run = Run::of(output);
        assert_eq!(run.code, 0, "{command}\n{}", run.stderr);
        assert!(bench.path("data/manifest.json").exists(), "{command}");
        let rejects = bench.rejects();
        let bad = rejects.iter().filter(|reject| reject.code == "bad_record").count();
        assert_eq!(bad, 0, "{command}\n{}", run.stderr);
    }
}

#[test]
fn every_data_set_has_its_command() {
    let Some(reference) = reference() else { return };
    let document = include_str!("../../docs/datasets.md");
    for folder in std::fs::read_dir(reference.join("datasets")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let name = super::name_of(&file.unwrap().path());
            // The German halves stand behind --aligned, licences are no data.
            assert!(name.starts_with("LICENSE") || document.contains(&name), "{name} has no command");
        }
    }
}

#[test]
fn tool_calls_and_weights_arrive() {
    let Some(reference) = reference() else { return };
    let bench = Bench::new();
    let file = |name: &str| reference.canonicalize().unwrap().join("datasets/formats").join(name).display().to_string();
    bench.ingest(&[&file("glaive_toolcall_en_demo.json"), "--as", "train"]).succeeded();
    let examples = bench.examples("train");
    assert!(examples.iter().any(|example| example.tools.is_some()));
    let calls = examples.iter().flat_map(|example| &example.messages).filter(|message| message.tool_calls.is_some());
    assert!(calls.count() > 100);
    bench.ingest(&[&file("v1_sft_demo.jsonl"), "--as", "train"]).succeeded();
    let weights: Vec<Option<f32>> = bench.examples("train")[0].messages.iter().map(|message| message.weight).collect();
    assert_eq!(weights, [Some(0.0), Some(1.0)]);
}
