//! A pipeline in a temporary folder, with stand-in programs, and the calls of make on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// Every stage in its order.
pub(super) const ALL: [&str; 5] = ["ingest", "tokenize", "train", "evaluate", "test"];

const FOLDERS: [(&str, &str); 5] =
    [("ingest", "data"), ("tokenize", "tokens"), ("train", "model"), ("evaluate", "eval"), ("test", "test")];

/// Content and time of each file.
pub(super) type Snapshot = BTreeMap<PathBuf, (SystemTime, Vec<u8>)>;

/// What one call of make did.
#[derive(Debug)]
pub(super) struct Made {
    /// The stages whose program was called, in order.
    pub(super) stages: Vec<String>,
    /// Standard output.
    pub(super) stdout: String,
    /// Standard error.
    pub(super) stderr: String,
    /// The exit code.
    pub(super) code: i32,
}

/// A folder with a Makefile, data, a base model and stand-in programs.
pub(super) struct Pipeline {
    folder: TempDir,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        let pipeline = Self { folder: tempfile::tempdir().unwrap() };
        let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/common.mk");
        pipeline.write("Makefile", &format!("DATA ?= questions.txt\nMODEL ?= base\nBIN := bin\ninclude {engine}\n"));
        pipeline.write("questions.txt", "a\nb\ntest d\n");
        pipeline.write("base/config.json", "{}\n");
        pipeline.write("base/tokenizer.json", "{}\n");
        pipeline.write("base/model.safetensors", "weights\n");
        pipeline.write("bin/version", "retune-ingest 0.1.0 (contract 1)\n");
        pipeline.write("bin/calls", "");
        pipeline.write_stand_ins();
        pipeline
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn write_program(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes the stand-in for each stage's program.
    pub(super) fn write_stand_ins(&self) {
        for stage in ALL {
            self.write_program(&format!("bin/retune-{stage}"), include_str!("../support/stand_in_stage.sh"));
        }
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        self.write(name, &(self.read(name) + text));
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Gives a file the time of now and leaves its content.
    pub(super) fn touch(&self, name: &str) {
        File::options().append(true).open(self.path(name)).unwrap().set_modified(SystemTime::now()).unwrap();
    }

    /// Makes a file a day older.
    pub(super) fn age(&self, name: &str) {
        let yesterday = SystemTime::now() - Duration::from_hours(24);
        File::options().append(true).open(self.path(name)).unwrap().set_modified(yesterday).unwrap();
    }

    pub(super) fn time(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).unwrap().modified().unwrap()
    }

    /// Calls make, which must succeed.
    pub(super) fn make(&self, arguments: &[&str]) -> Made {
        let made = self.run(arguments);
        assert_eq!(made.code, 0, "make {arguments:?}: {}{}", made.stdout, made.stderr);
        made
    }

    /// Calls make.
    pub(super) fn run(&self, arguments: &[&str]) -> Made {
        let before = self.read("bin/calls").lines().count();
        let output = self.command(arguments).output().unwrap();
        let calls = self.read("bin/calls");
        let stages = calls.lines().skip(before).map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        Made {
            stages,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap(),
        }
    }

    /// Starts make in a process group of its own, as a terminal would.
    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        use std::os::unix::process::CommandExt;
        self.command(arguments).process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("make");
        // The make that runs the tests must not be seen, nor variables of the environment that are also the engine's.
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    /// The files that the stages made, each with its stage.
    pub(super) fn outputs(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (stage, folder) in FOLDERS {
            for path in self.snapshot().into_keys() {
                let name = path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned();
                if name.starts_with(&format!("run/{folder}/")) && !name.contains("checkpoints") {
                    found.push((stage, name));
                }
            }
        }
        found
    }

    /// Every file of the folder.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut files = Snapshot::new();
        collect(self.folder.path(), &mut files);
        files
    }

    /// The files and folders that came, went or were written since.
    pub(super) fn changes_since(&self, before: &Snapshot) -> Vec<String> {
        let now = self.snapshot();
        let names = before.keys().chain(now.keys()).collect::<BTreeSet<_>>();
        let changed = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
        changed.map(|path| path.strip_prefix(self.folder.path()).unwrap().display().to_string()).collect()
    }
}

fn collect(folder: &Path, files: &mut Snapshot) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), (SystemTime::UNIX_EPOCH, Vec::new()));
            collect(&path, files);
        } else {
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            files.insert(path.clone(), (time, fs::read(&path).unwrap()));
        }
    }
}
