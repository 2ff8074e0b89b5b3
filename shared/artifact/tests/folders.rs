//! A folder is whole or says that it is not, and what has not changed keeps its time.

use artifact::weights::{Dtype, NamedTensor, Weights, write_weights_to};
use artifact::{ArtifactError, Committed, Identity, MANIFEST, Manifest, OutputFolder, Split, files, resolve_split};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fs;
use std::path::Path;

fn identity(learning_rate: f64) -> Identity {
    Identity::new("retune-train", "1.0.0", &json!({ "learning_rate": learning_rate }), Vec::new())
}

fn commit(folder: &Path, files: &[(&str, &str)], identity: Identity) {
    let out = OutputFolder::open(folder).expect("a folder");
    let outputs = files.iter().map(|(name, text)| out.stage_bytes(name, text.as_bytes()).expect("staged")).collect();
    let committed = Committed { outputs, identity, seed: Some(1), rows: None, summary: Value::Null };
    out.commit(committed).expect("committed");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn nothing_changes_before_the_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    commit(folder.path(), &[("a", "old")], identity(1.0));
    let out = OutputFolder::open(folder.path()).expect("a folder");
    let staged = out.stage_bytes("a", b"new").expect("staged");
    assert_eq!(fs::read_to_string(folder.path().join("a")).expect("read"), "old");
    drop(staged);
    assert_eq!(names(folder.path()), ["a", MANIFEST]);
}

#[test]
fn a_folder_has_one_writer_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = OutputFolder::open(folder.path()).expect("a folder");
    let refused = OutputFolder::open(folder.path()).expect_err("it is being written");
    assert!(matches!(&refused, ArtifactError::Busy { path } if path == folder.path()), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("--out")));
    drop(first);
    commit(folder.path(), &[("a", "1")], identity(1.0));
    assert_eq!(names(folder.path()), ["a", MANIFEST], "the lock leaves nothing behind");
}

#[test]
fn what_a_killed_run_left_is_cleared_away() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(".tmp-a1B2c3"), "half").expect("written");
    fs::write(folder.path().join(".tmp-notes"), "of somebody else").expect("written");
    commit(folder.path(), &[("a", "1")], identity(1.0));
    assert_eq!(names(folder.path()), [".tmp-notes", "a", MANIFEST]);
}

#[test]
fn equal_content_keeps_its_time_and_stale_files_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    commit(path, &[("same", "1"), ("other", "1"), ("gone", "1")], identity(1.0));
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for name in ["same", "other"] {
        let file = fs::File::options().write(true).open(path.join(name)).expect("opened");
        file.set_modified(past).expect("dated");
    }
    commit(path, &[("same", "1"), ("other", "2")], identity(2.0));
    let modified = |name: &str| fs::metadata(path.join(name)).expect("there").modified().expect("dated");
    assert_eq!(modified("same"), past);
    assert!(modified("other") > past);
    assert_eq!(names(path), [MANIFEST, "other", "same"]);
}

#[test]
fn up_to_date_means_same_identity_and_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    commit(path, &[("a", "1")], identity(1.0));
    let current = |rate| Manifest::if_up_to_date(path, &identity(rate)).expect("readable").is_some();
    assert!(current(1.0));
    assert!(!current(2.0));
    fs::write(path.join("a"), "2").expect("written");
    assert!(!current(1.0));
    let manifest = Manifest::read(path).expect("readable").expect("there");
    assert_eq!(manifest.damaged_outputs(path).expect("readable"), ["a"]);
}

#[test]
fn differences_are_named() {
    let lines = identity(2.0).differences(&identity(1.0));
    assert_eq!(lines, ["learning_rate: 1.0 → 2.0"]);
}

#[test]
fn a_folder_without_manifest_is_refused_as_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = resolve_split(folder.path(), Split::Train, "retune-ingest").expect_err("unfinished");
    assert!(error.to_string().contains("no manifest.json"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("retune-ingest")));
    commit(folder.path(), &[("train.parquet", "1")], identity(1.0));
    let found = |split| resolve_split(folder.path(), split, "retune-ingest").expect("finished").is_some();
    assert!(found(Split::Train));
    assert!(!found(Split::Test));
}

#[test]
fn a_folder_is_built_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("step-1");
    let failed: Result<(), ArtifactError> = files::write_folder_atomically(&path, |inside| {
        fs::write(inside.join("a"), "1").expect("written");
        files::read(&inside.join("missing")).map(drop)
    });
    assert!(failed.is_err());
    assert_eq!(names(folder.path()), Vec::<String>::new());
    let filled = |text: &'static str| {
        let path = path.clone();
        move || {
            files::write_folder_atomically(&path, |inside| -> Result<(), ArtifactError> {
                fs::write(inside.join("a"), text).expect("written");
                Ok(())
            })
        }
    };
    filled("1")().expect("built");
    filled("2")().expect("replaced");
    assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "2");
    assert_eq!(names(folder.path()), ["step-1"]);
}

fn tensor(name: &str, values: &[f32]) -> NamedTensor<'static> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    NamedTensor { name: name.into(), dtype: Dtype::F32, shape: vec![values.len()], data: Cow::Owned(data) }
}

#[test]
fn weights_come_back_and_damage_is_told_in_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(files::MODEL_WEIGHTS);
    write_weights_to(&path, vec![tensor("b", &[3.0]), tensor("a", &[1.0, 2.0])]).expect("written");
    let weights = Weights::open_model(folder.path()).expect("opened");
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(weights.get("a").expect("there").shape, [2]);
    let whole = fs::read(&path).expect("read");
    drop(weights);
    fs::write(&path, &whole[..whole.len() - 5]).expect("cut");
    let error = Weights::open_model(folder.path()).expect_err("cut short").to_string();
    let expected = format!("expected {} bytes as its header says, found {} bytes", whole.len(), whole.len() - 5);
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn a_missing_shard_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let index = json!({ "weight_map": { "a": "model-1.safetensors", "b": "model-2.safetensors" } });
    fs::write(folder.path().join(files::MODEL_INDEX), index.to_string()).expect("written");
    write_weights_to(&folder.path().join("model-1.safetensors"), vec![tensor("a", &[1.0])]).expect("written");
    let error = Weights::open_model(folder.path()).expect_err("no shard").to_string();
    assert!(error.contains("model-2.safetensors does not exist"), "{error}");
    write_weights_to(&folder.path().join("model-2.safetensors"), vec![tensor("b", &[1.0])]).expect("written");
    assert_eq!(Weights::open_model(folder.path()).expect("opened").names().count(), 2);
}
