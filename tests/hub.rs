//! Models by their name on a hub, with the real binaries and a hub on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use predicates::str::contains;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::hub_server::{COMMIT, Fault, HubServer, git_hash, hexadecimal};
use crate::support::{program, reference, stderr};

/// A hub with a real model, and an empty cache.
struct Bench {
    hub: HubServer,
    model: PathBuf,
    folder: TempDir,
}

impl Bench {
    /// `None` where the reference material is absent.
    fn new() -> Option<Self> {
        let model = reference("models/stories260K")?;
        Some(Self { hub: HubServer::of_folder(&model), model, folder: tempfile::tempdir().unwrap() })
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    fn entry(&self, inside: &str) -> PathBuf {
        self.cache().join("models--org--model").join(inside)
    }

    fn snapshot(&self, file: &str) -> PathBuf {
        self.entry(&format!("snapshots/{COMMIT}/{file}"))
    }

    /// A program of ours that knows this hub and its cache.
    fn program(&self, name: &str) -> assert_cmd::Command {
        let mut command = program(name);
        command.current_dir(self.folder.path()).env_remove("HF_HUB_CACHE");
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.folder.path());
        command
    }

    /// A short story by the model of this name.
    fn story(&self, model: &str) -> assert_cmd::Command {
        let mut command = self.program("retune-generate");
        command.args(["--model", model, "--prompt", "Once", "--raw", "--max-new-tokens", "8"]);
        command
    }

    /// The story of the model in its folder.
    fn expected(&self) -> String {
        let run = self.story(self.model.to_str().unwrap()).assert().success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    }

    /// No file of the cache may be taken for whole that is not.
    fn assert_nothing_looks_whole(&self, file: &str) {
        assert!(!self.snapshot(file).exists(), "{file} is linked");
        for entry in fs::read_dir(self.entry("blobs")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = fs::read(&path).unwrap();
            let sound = [git_hash(&bytes), hexadecimal(&Sha256::digest(&bytes))].contains(&name);
            assert!(sound || name.ends_with(".incomplete"), "{name}");
        }
    }
}

#[test]
fn a_model_is_fetched_once_and_then_is_here() {
    let Some(bench) = Bench::new() else { return };
    let expected = bench.expected();
    assert_eq!(bench.hub.requests(), [""; 0], "a folder needs no hub");
    bench.story("org/model").assert().success().stdout(expected.clone());
    let requests = bench.hub.requests();
    assert_eq!(requests[0], "GET /api/models/org/model/revision/main");
    assert!(requests.contains(&"GET /store/model.safetensors".to_owned()), "{requests:?}");
    assert!(!requests.iter().any(|request| request.contains("golden.json")), "only what is needed: {requests:?}");

    // As Python's huggingface_hub keeps it.
    assert_eq!(fs::read_to_string(bench.entry("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(bench.snapshot("model.safetensors")).unwrap();
    let sha = hexadecimal(&Sha256::digest(fs::read(bench.model.join("model.safetensors")).unwrap()));
    assert_eq!(link, Path::new("../../blobs").join(sha));
    let config = fs::read_link(bench.snapshot("config.json")).unwrap();
    assert_eq!(
        config.file_name().unwrap().to_str().unwrap(),
        git_hash(&fs::read(bench.model.join("config.json")).unwrap())
    );

    // Again: one question what main is, and no file. A commit does not change: no question either.
    bench.story("org/model@main").assert().success().stdout(expected.clone());
    assert_eq!(bench.hub.requests(), ["GET /api/models/org/model/revision/main"]);
    bench.story(&format!("org/model@{COMMIT}")).assert().success().stdout(expected.clone());
    assert_eq!(bench.hub.requests(), [""; 0]);
    bench.story("org/model@refs/pr/1").assert().success().stdout(expected);
    assert_eq!(fs::read_to_string(bench.entry("refs/refs/pr/1")).unwrap(), COMMIT);
    bench.program("retune-inspect").arg("org/model").assert().success().stdout(contains("llama"));
}

#[test]
fn an_interrupted_download_goes_on_where_it_broke_off() {
    for fault in [Fault::CutAfter(100_000), Fault::CutAfterWithoutRanges(100_000)] {
        let Some(bench) = Bench::new() else { return };
        bench.hub.fault("model.safetensors", fault);
        bench.story("org/model").assert().success().stdout(bench.expected());
        let requests = bench.hub.requests();
        let resumed = "GET /store/model.safetensors bytes=100000-".to_owned();
        assert!(requests.contains(&resumed), "{fault:?}: {requests:?}");
    }
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with_unless_it_is_damaged() {
    let Some(bench) = Bench::new() else { return };
    let bytes = fs::read(bench.model.join("model.safetensors")).unwrap();
    let part = bench.entry(&format!("blobs/{}.incomplete", hexadecimal(&Sha256::digest(&bytes))));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 5]).unwrap();
    bench.story("org/model").assert().success();
    let last = format!("GET /store/model.safetensors bytes={}-", bytes.len() - 5);
    assert!(bench.hub.requests().contains(&last));
    assert!(!part.exists());

    fs::remove_dir_all(bench.cache()).unwrap();
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![7; 1000]).unwrap();
    bench.story("org/model").assert().success().stdout(bench.expected());
    assert!(bench.hub.requests().contains(&"GET /store/model.safetensors".to_owned()), "and once more from its start");
}

#[test]
fn a_wrong_hash_leaves_nothing_that_looks_whole() {
    for file in ["model.safetensors", "config.json"] {
        let Some(bench) = Bench::new() else { return };
        bench.hub.fault(file, Fault::Damaged);
        let run = bench.story("org/model").assert().code(1);
        let text = stderr(&run);
        assert!(text.contains(file) && text.contains("arrived damaged: expected") && text.contains("hint:"), "{text}");
        bench.assert_nothing_looks_whole(file);
        assert!(!bench.entry("refs/main").exists());
        bench.story("org/model").env("HF_HUB_OFFLINE", "1").assert().code(1);
    }
}

#[test]
fn a_gated_model_asks_for_a_token_which_no_other_host_sees() {
    let Some(bench) = Bench::new() else { return };
    bench.hub.gate("secret");
    let stranger = stderr(&bench.story("org/model").assert().code(1));
    assert!(stranger.contains("does not give org/model to strangers: Access to model org/model"), "{stranger}");
    assert!(stranger.contains("HF_TOKEN") && stranger.contains("conditions"), "{stranger}");
    let other = stderr(&bench.story("org/model").env("HF_TOKEN", "wrong").assert().code(1));
    assert!(other.contains("the owner of this token") && other.contains("ask for access"), "{other}");

    bench.hub.requests();
    bench.story("org/model").env("HF_TOKEN", "secret").assert().success();
    let requests = bench.hub.requests();
    assert!(requests.iter().filter(|request| request.contains("/resolve/")).all(|request| request.ends_with("signed")));
    assert!(requests.contains(&"GET /store/model.safetensors".to_owned()), "unsigned: {requests:?}");

    // The file that `hf auth login` writes does as well.
    fs::remove_dir_all(bench.cache()).unwrap();
    fs::write(bench.folder.path().join("token"), "secret\n").unwrap();
    bench.story("org/model").assert().success();
}

#[test]
fn what_is_not_there_is_told_apart() {
    let Some(bench) = Bench::new() else { return };
    let says = |name: &str, words: &[&str]| {
        let text = stderr(&bench.story(name).assert().code(1));
        for word in words.iter().chain(&["hint:"]) {
            assert!(text.contains(word), "{name}: {word}\n{text}");
        }
    };
    says("org/nothing", &["has no model org/nothing", "neither a folder here", "check the spelling"]);
    says("org/model@v9", &["org/model has no revision v9", "branches and tags"]);
    says("./org/model", &["./org/model does not exist", "org/name@revision"]);
    says("org/model@../x", &["does not exist"]);
    bench.hub.set_down(true);
    says("org/model", &["answers 503"]);
    let text = stderr(&bench.story("org/model").env("HF_ENDPOINT", "http://127.0.0.1:9").assert().code(1));
    assert!(text.contains("cannot reach http://127.0.0.1:9") && text.contains("HTTPS_PROXY"), "{text}");
}

#[test]
fn repositories_that_are_no_such_model_say_what_they_are() {
    let says = |files: &[&str], arguments: &[&str], words: &[&str]| {
        let hub = HubServer::of_files(files.iter().map(|name| ((*name).to_owned(), b"{}".to_vec())));
        let folder = tempfile::tempdir().unwrap();
        let mut command = program("retune-generate");
        command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HUB_CACHE", folder.path()).args(["--prompt", "x"]);
        let text = stderr(&command.args(arguments).assert().code(1));
        for word in words {
            assert!(text.contains(word), "{files:?}: {word}\n{text}");
        }
        let requests = hub.requests();
        assert!(!requests.iter().any(|request| request.contains(".bin")), "{requests:?}");
    };
    let model = ["--model", "org/model"];
    says(&["config.json", "pytorch_model.bin"], &model, &["no model.safetensors", ".bin", "never fetched"]);
    says(&["adapter_config.json", "adapter_model.safetensors"], &model, &["it is an adapter: name it with --adapter"]);
    let Some(base) = reference("models/stories260K") else { return };
    let adapter = ["--model", base.to_str().unwrap(), "--adapter", "org/model"];
    says(&["config.json", "model.safetensors"], &adapter, &["it is a whole model: name it with --model"]);
}

#[test]
fn offline_the_cache_must_do() {
    let Some(bench) = Bench::new() else { return };
    let absent = stderr(&bench.story("org/model").env("HF_HUB_OFFLINE", "1").assert().code(1));
    assert!(absent.contains("org/model is not in the cache") && absent.contains("HF_HUB_OFFLINE"), "{absent}");
    assert_eq!(bench.hub.requests(), [""; 0]);

    bench.story("org/model").assert().success();
    bench.hub.requests();
    let expected = bench.expected();
    bench.story("org/model").env("HF_HUB_OFFLINE", "1").assert().success().stdout(expected.clone());
    assert_eq!(bench.hub.requests(), [""; 0]);
    // A hub that is down is no reason to stop either, and is said.
    bench.hub.set_down(true);
    let run = bench.story("org/model").assert().success().stdout(expected);
    assert!(stderr(&run).contains("warning:") && stderr(&run).contains("in the cache"), "{}", stderr(&run));

    fs::remove_file(bench.snapshot("model.safetensors")).unwrap();
    let part = stderr(&bench.story("org/model").env("HF_HUB_OFFLINE", "1").assert().code(1));
    assert!(part.contains("it lacks model.safetensors"), "{part}");
}

/// Lays the model out as Python's `snapshot_download` does.
#[test]
fn a_cache_that_another_tool_filled_is_used_as_it_is() {
    let Some(bench) = Bench::new() else { return };
    let snapshot = bench.entry(&format!("snapshots/{COMMIT}"));
    for folder in [&snapshot, &bench.entry("blobs"), &bench.entry("refs")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(bench.entry("refs/main"), COMMIT).unwrap();
    for entry in fs::read_dir(&bench.model).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let name = if bytes.len() > 20_000 { hexadecimal(&Sha256::digest(&bytes)) } else { git_hash(&bytes) };
        fs::write(bench.entry("blobs").join(&name), bytes).unwrap();
        let link = snapshot.join(path.file_name().unwrap());
        std::os::unix::fs::symlink(Path::new("../../blobs").join(name), link).unwrap();
    }
    bench.story("org/model").env("HF_HUB_OFFLINE", "1").assert().success().stdout(bench.expected());
    bench.story("org/model").assert().success().stdout(bench.expected());
    let requests = bench.hub.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET /api/")), "no file is fetched: {requests:?}");
}

#[test]
fn sharded_weights_come_with_the_shards_of_their_index_alone() {
    let Some(model) = reference("architectures/llama") else { return };
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names();
    let (one, two) = names.split_at(names.len() / 2);
    let shard = |names: &[&str]| {
        let chosen: Vec<_> = names.iter().map(|name| (*name, tensors.tensor(name).unwrap())).collect();
        safetensors::serialize(chosen, None).unwrap()
    };
    let map = one.iter().map(|name| (*name, "a.safetensors")).chain(two.iter().map(|name| (*name, "b.safetensors")));
    let map: serde_json::Map<String, Value> = map.map(|(name, file)| (name.to_owned(), file.into())).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string().into_bytes();
    let hub = HubServer::of_files([
        ("config.json".to_owned(), fs::read(model.join("config.json")).unwrap()),
        ("model.safetensors.index.json".to_owned(), index),
        ("a.safetensors".to_owned(), shard(one)),
        ("b.safetensors".to_owned(), shard(two)),
        ("consolidated.safetensors".to_owned(), vec![0; 50_000]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = program("retune-export");
    command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HUB_CACHE", folder.path()).arg("--out").arg(&out);
    command.args(["--model", "org/model"]).assert().success();
    let requests = hub.requests();
    assert!(!requests.iter().any(|request| request.contains("consolidated")), "{requests:?}");
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["origins"], serde_json::json!({ "model": format!("org/model@{COMMIT}") }));
    assert!(!manifest.to_string().contains(folder.path().to_str().unwrap()), "no path of this machine");
}

/// A pipeline whose base is on a hub: fetched in the first stage that needs it, and not looked at again.
#[test]
fn make_takes_a_hub_name_and_fetches_it_once() {
    let Some(bench) = Bench::new() else { return };
    let path = |name: &str| bench.folder.path().join(name);
    let rows: String = (0..40).map(|row| format!("{{\"text\": \"Tom saw {row} birds.\"}}\n")).collect();
    fs::write(path("rows.jsonl"), rows).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_retune-ingest")).parent().unwrap();
    let makefile = format!(
        "DATA := rows.jsonl\nMODEL := org/model@main\nMAX_STEPS := 2\nMAX_LENGTH := 64\nSTAGES := ingest tokenize train \
         evaluate\nBIN := {}\ninclude {}/pipelines/common.mk\n",
        bin.display(),
        env!("CARGO_MANIFEST_DIR")
    );
    fs::write(path("Makefile"), makefile).unwrap();
    let make = |arguments: &[&str]| {
        let mut command = std::process::Command::new("make");
        command.args(arguments).current_dir(bench.folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HF_ENDPOINT", bench.hub.endpoint()).env("HF_HOME", bench.folder.path());
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "make {arguments:?}:\n{text}");
        text
    };
    make(&[]);
    let requests = bench.hub.requests();
    let weights = requests.iter().filter(|request| request.starts_with("GET /store/model.safetensors"));
    assert_eq!(weights.count(), 1, "{requests:?}");
    for stage in ["tokens", "model", "eval"] {
        let manifest = fs::read_to_string(path(&format!("run/{stage}/manifest.json"))).unwrap();
        assert!(manifest.contains(&format!("\"model\": \"org/model@{COMMIT}\"")), "{stage}");
    }
    let adapter = fs::read_to_string(path("run/model/adapter_config.json")).unwrap();
    assert!(adapter.contains("\"base_model_name_or_path\": \"org/model\""), "{adapter}");

    bench.hub.set_down(true);
    assert!(make(&[]).contains("is up to date"));
    assert_eq!(bench.hub.requests(), [""; 0], "nothing is asked where nothing runs");
    assert!(
        make(&["explain", "MODEL=org/model@refs/pr/1"]).contains("MODEL is org/model@refs/pr/1, was org/model@main")
    );
}
