//! The manifest: what made a folder, from what, and the hash of every file in it. It is written last, so a folder
//! without one is unfinished.

use crate::{ArtifactError, CONTRACT, FileRecord, Result, files, hash_file};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// What decides whether a folder is up to date: a stage run again with an equal identity would write equal files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The binary's name, such as `retune-ingest`.
    pub stage: String,
    /// [`CONTRACT`] at the time of writing.
    pub contract: u32,
    /// The release of the program that wrote the folder; another release may compute otherwise.
    pub version: String,
    /// Every option as resolved from defaults, configuration file and flags, apart from those that cannot change the
    /// result (`--out`, `--threads`, `--json`, `-q`, `-v`, `--force`, `--config`).
    pub options: Map<String, Value>,
    /// Hash of each input, in the order in which the stage names them.
    pub inputs: Vec<FileRecord>,
    /// Where on a hub an input came from, by its role: `model` to `org/name@commit`. It is told, and decides nothing: a
    /// later commit with the same files is the same input.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, String>,
    /// Options of the stages whose result this one reads, by the stage's name: `retune-train` to `learning_rate` and the
    /// others. They are told, and decide nothing: what those stages wrote is among the inputs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, Map<String, Value>>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let Self { stage, contract, version, options, inputs, origins: _, earlier: _ } = self;
        (stage, contract, version, options, inputs)
            == (&other.stage, &other.contract, &other.version, &other.options, &other.inputs)
    }
}

impl Eq for Identity {}

impl Identity {
    /// An identity of this contract version. `options` must serialize to a JSON object.
    ///
    /// # Panics
    /// If `options` is not an object: a defect of the stage.
    pub fn new(stage: &str, version: &str, options: &impl Serialize, inputs: Vec<FileRecord>) -> Self {
        let Ok(Value::Object(options)) = serde_json::to_value(options) else { panic!("options are an object") };
        Self {
            stage: stage.into(),
            contract: CONTRACT,
            version: version.into(),
            options,
            inputs,
            origins: BTreeMap::new(),
            earlier: BTreeMap::new(),
        }
    }

    /// The same, with where the input of this role came from, if it came from a hub.
    pub fn with_origin(mut self, role: &str, origin: Option<&str>) -> Self {
        self.origins.extend(origin.map(|origin| (role.to_owned(), origin.to_owned())));
        self
    }

    /// The same, with the options of the stage that made this input and of those before it, where its manifest tells.
    #[must_use]
    pub fn after(mut self, input: &Path) -> Self {
        let folder = if input.is_file() { input.parent().unwrap_or(input) } else { input };
        if let Ok(Some(Manifest { identity, .. })) = Manifest::read(folder) {
            self.earlier.extend(identity.earlier);
            self.earlier.insert(identity.stage, identity.options);
        }
        self
    }

    /// Where `other` differs, as `name: theirs → ours` lines for people.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut compare = |name: &str, theirs: String, ours: String| {
            if theirs != ours {
                lines.push(format!("{name}: {theirs} → {ours}"));
            }
        };
        compare("stage", other.stage.clone(), self.stage.clone());
        compare("contract", other.contract.to_string(), self.contract.to_string());
        compare("version", other.version.clone(), self.version.clone());
        let missing = Value::Null;
        let names: std::collections::BTreeSet<&String> = self.options.keys().chain(other.options.keys()).collect();
        for name in names {
            let theirs = other.options.get(name).unwrap_or(&missing);
            let ours = self.options.get(name).unwrap_or(&missing);
            compare(name, theirs.to_string(), ours.to_string());
        }
        let hash = |identity: &Self, name: &str| {
            let found = identity.inputs.iter().find(|input| input.name == name);
            found.map_or_else(|| "absent".to_string(), |input| input.sha256.chars().take(12).collect())
        };
        let names: std::collections::BTreeSet<&str> =
            self.inputs.iter().chain(&other.inputs).map(|input| input.name.as_str()).collect();
        for name in names {
            compare(&format!("input {name}"), hash(other, name), hash(self, name));
        }
        lines
    }
}

/// Rows in, and where each of them went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Rows read.
    #[serde(rename = "in")]
    pub read: u64,
    /// Rows written to an output.
    #[serde(rename = "out")]
    pub written: u64,
    /// Rows written to `rejects.parquet`.
    pub rejected: u64,
    /// Copies written beside the rows read, where a source counts more than once: in + repeated = out + rejected.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The stamp of a finished folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What made it, from what.
    #[serde(flatten)]
    pub identity: Identity,
    /// The seed of every random choice, for stages that make any.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Hash of each file in the folder.
    pub outputs: Vec<FileRecord>,
    /// Row balance, for stages that pass rows on.
    #[serde(default)]
    pub rows: Option<Rows>,
    /// The stage's own summary: the same document that `--json` prints.
    #[serde(default)]
    pub summary: Value,
    /// Seconds from start to commit.
    pub wall_seconds: f64,
    /// Largest resident size of the process in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

impl Manifest {
    /// Reads the manifest of `folder`; `None` where there is none.
    ///
    /// # Errors
    /// [`ArtifactError::Json`] if it is damaged, [`ArtifactError::Io`] if it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        match files::read_json(&folder.join(MANIFEST)) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(ArtifactError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `folder` already holds what a stage of this identity would write: same identity, and each output there
    /// with the recorded hash. A damaged manifest counts as none.
    ///
    /// # Errors
    /// [`ArtifactError::Io`] if an output exists but cannot be read.
    pub fn if_up_to_date(folder: &Path, identity: &Identity) -> Result<Option<Self>> {
        let Ok(Some(manifest)) = Self::read(folder) else { return Ok(None) };
        if manifest.identity != *identity {
            return Ok(None);
        }
        Ok(manifest.damaged_outputs(folder)?.is_empty().then_some(manifest))
    }

    /// Names of the outputs that are missing from `folder` or hold other bytes than recorded.
    ///
    /// # Errors
    /// [`ArtifactError::Io`] if an output exists but cannot be read.
    pub fn damaged_outputs(&self, folder: &Path) -> Result<Vec<String>> {
        let mut damaged = Vec::new();
        for output in &self.outputs {
            match hash_file(&folder.join(&output.name), output.name.clone()) {
                Ok(found) if found == *output => {}
                Ok(_) | Err(ArtifactError::Missing { .. }) => damaged.push(output.name.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }
}
