//! The rules of the house that no compiler checks: which way dependencies point, what pure crates may not mention, that
//! files stay small and say what they are for, that nothing names the machine it was written on.

use cargo_metadata::{Metadata, MetadataCommand, TargetKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each of our crates may depend on. Cargo itself refuses cycles; this keeps the direction.
const MAY_DEPEND_ON: [(&str, &[&str]); 13] = [
    ("kernels", &[]),
    ("metrics", &[]),
    ("report", &[]),
    ("artifact", &[]),
    ("model", &["kernels"]),
    ("training", &["kernels", "model"]),
    ("generation", &["model"]),
    ("pretrained", &["artifact", "model"]),
    ("dataset", &["artifact"]),
    ("encoding", &["artifact"]),
    ("cli", &["artifact"]),
    ("hub", &[]),
    // The root package, which owns the programs.
    (
        "retune",
        &[
            "artifact",
            "cli",
            "dataset",
            "encoding",
            "generation",
            "hub",
            "metrics",
            "model",
            "pretrained",
            "report",
            "training",
        ],
    ),
];

/// Crates that know numbers and no files: neither these dependencies nor, outside tests, these words.
const PURE: [&str; 4] = ["kernels", "model", "training", "generation"];
const IMPURE_CRATES: [&str; 5] = ["clap", "arrow", "parquet", "retune-artifact", "retune-cli"];
const IMPURE_WORDS: [&str; 8] =
    ["std::fs", "std::path", "fs::File", "PathBuf", "clap::", "arrow::", "parquet::", "artifact::"];

const LONGEST_FILE: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

/// Every file that is ours, apart from build output.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if [".git", "target", "run"].contains(&name) || name.starts_with(".tmp") {
            continue;
        }
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    files_below(root()).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn named(path: &Path) -> &str {
    path.strip_prefix(root()).unwrap().to_str().unwrap()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.into();
    let metadata = metadata();
    assert_eq!(
        metadata.packages.len(),
        allowed.len(),
        "a new crate needs its line in MAY_DEPEND_ON and in ARCHITECTURE.md"
    );
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.strip_prefix("retune-").unwrap_or(&package.name);
        let mine = allowed.get(name).unwrap_or_else(|| panic!("{name} has no line in MAY_DEPEND_ON"));
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            // Tests may read artifacts; what is shipped may not.
            let tested_only = dependency.kind == cargo_metadata::DependencyKind::Development;
            let other = dependency.name.strip_prefix("retune-").unwrap_or(&dependency.name);
            if !tested_only && !mine.contains(&other) {
                wrong.push(format!("{name} → {other}"));
            }
        }
        if PURE.contains(&name) {
            let impure = package.dependencies.iter().filter(|dependency| {
                dependency.kind != cargo_metadata::DependencyKind::Development
                    && IMPURE_CRATES.contains(&dependency.name.as_str())
            });
            wrong.extend(impure.map(|dependency| format!("{name} → {}", dependency.name)));
        }
    }
    assert_eq!(wrong, [""; 0], "dependencies against the direction of ARCHITECTURE.md");
}

#[test]
fn crates_that_compute_know_no_files() {
    let mut found = Vec::new();
    for path in PURE.iter().flat_map(|name| files_below(&root().join("shared").join(name).join("src"))) {
        let text = fs::read_to_string(&path).unwrap();
        let in_tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        let code = text[..in_tests].lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code.filter(|line| IMPURE_WORDS.iter().any(|word| line.contains(word))) {
            found.push(format!("{}: {}", named(&path), line.trim()));
        }
    }
    assert_eq!(found, [""; 0], "kernels, model, training and generation never mention a path, clap, Arrow or Parquet");
}

#[test]
fn every_crate_obeys_the_lints_and_the_licence_of_the_workspace() {
    let metadata = metadata();
    for package in &metadata.packages {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} sets lints of its own", package.manifest_path);
        assert_eq!(package.license.as_deref(), Some("MIT OR Apache-2.0"), "{}", package.name);
        assert!(package.description.is_some(), "{} has no description", package.name);
    }
    for name in ["LICENSE", "LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(root().join(name).exists(), "{name}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for_and_stays_small() {
    let mut wrong = Vec::new();
    let mut lengths = Vec::new();
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        let length = text.lines().count();
        lengths.push(length);
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not begin with a //! paragraph", named(&path)));
        }
        if length > LONGEST_FILE {
            wrong.push(format!("{} has {length} lines", named(&path)));
        }
    }
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] < 200, "the median file has {} lines", lengths[lengths.len() / 2]);
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name them either.
    let machine_paths = ["work/", "root/", "tmp/w/", "tmp/py"].map(|path| format!("/{path}"));
    let mut found = Vec::new();
    for path in files_below(root()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for line in text.lines().filter(|line| machine_paths.iter().any(|name| line.contains(name.as_str()))) {
            found.push(format!("{}: {}", named(&path), line.trim().chars().take(120).collect::<String>()));
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_program_has_help_with_an_example_and_names_its_contract() {
    let folder = Path::new(env!("CARGO_BIN_EXE_retune-ingest")).parent().unwrap();
    let programs = program_names();
    assert_eq!(programs.len(), 8, "{programs:?}");
    for name in programs {
        let output = |flag: &str| {
            let output = Command::new(folder.join(&name)).arg(flag).output().unwrap();
            assert!(output.status.success(), "{name} {flag}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let help = output("--help");
        let example =
            help.split("Examples:").nth(1).unwrap_or_else(|| panic!("{name} --help has no Examples:\n{help}"));
        assert!(example.contains(&name), "{name} --help has no example that calls it:\n{help}");
        assert_eq!(output("--version").trim(), format!("{name} {} (contract 1)", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_top_makefile_builds_every_program() {
    let text = fs::read_to_string(root().join("Makefile")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("stages   := ")).unwrap();
    let built: BTreeSet<String> = line.split(' ').map(|stage| format!("retune-{stage}")).collect();
    assert_eq!(built, program_names());
}

/// Names of the binaries of the root package.
pub(crate) fn program_names() -> BTreeSet<String> {
    let metadata = metadata();
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "retune").unwrap();
    let programs = package.targets.iter().filter(|target| target.kind.contains(&TargetKind::Bin));
    programs.map(|target| target.name.clone()).collect()
}
