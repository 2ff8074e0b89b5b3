//! What the end-to-end tests share: the binaries, the reference material, folders.

pub(crate) mod hub_server;

use assert_cmd::Command;
use std::path::{Path, PathBuf};

/// One of the binaries, as built for this test run.
pub(crate) fn program(name: &str) -> Command {
    let path = match name {
        "retune-ingest" => env!("CARGO_BIN_EXE_retune-ingest"),
        "retune-tokenize" => env!("CARGO_BIN_EXE_retune-tokenize"),
        "retune-train" => env!("CARGO_BIN_EXE_retune-train"),
        "retune-evaluate" => env!("CARGO_BIN_EXE_retune-evaluate"),
        "retune-test" => env!("CARGO_BIN_EXE_retune-test"),
        "retune-export" => env!("CARGO_BIN_EXE_retune-export"),
        "retune-generate" => env!("CARGO_BIN_EXE_retune-generate"),
        "retune-inspect" => env!("CARGO_BIN_EXE_retune-inspect"),
        other => panic!("{other} is no binary of ours"),
    };
    let mut command = Command::new(path);
    command.env_remove("RETUNE_LOG").env("COLUMNS", "100");
    // No test reaches beyond this machine: where none is started for it, there is no hub.
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HUB_CACHE", "no-cache");
    for name in ["HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// Fails where a stage wrote a file that the contract does not list for it: such a file would not be looked out for before it
/// is replaced.
pub(crate) fn all_in_contract(folder: &Path) {
    let artifact::Manifest { identity, outputs, .. } = artifact::Manifest::read(folder).unwrap().unwrap();
    for output in outputs {
        assert!(artifact::files::writes(&identity.stage, &output.name), "{} of {}", output.name, identity.stage);
    }
}

/// What a run says to people.
pub(crate) fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// The reference material; `None` where it is absent, which is said and, under `CI=true`, is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn reference(inside: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/reference");
    let folder = std::env::var_os("RETUNE_REFERENCE").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let path = folder.join(inside);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is absent", path.display());
    eprintln!("skipped: {} is absent; set RETUNE_REFERENCE", path.display());
    None
}
