//! Which files of a repository make a model, and how they are had: from the cache where it knows them all, else from the
//! hub, else from what the cache has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use crate::client::{Client, FileFacts, Revision};
use crate::download::Download;
use crate::error::HubError;
use crate::store::{Known, Store};
use crate::{ModelName, Reporter, Result, Settings};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// What goes with a tokenizer and its template, where there is such a file.
const TOKENIZER_EXTRAS: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json"];
const GENERATION_CONFIG: &str = "generation_config.json";
/// Weights as pickled Python objects, which run code when they are opened: never fetched.
const PICKLES: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];

/// What of a repository is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Configuration, weights and tokenizer.
    Model,
    /// Configuration and tokenizer.
    Tokenizer,
    /// A PEFT adapter.
    Adapter,
}

/// A model that is now on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its folder, in the Hugging Face layout.
    pub folder: PathBuf,
    /// The commit that the revision is.
    pub commit: String,
    /// Why the cache had to do, where the hub could not be asked.
    pub outage: Option<String>,
}

/// A hub and the cache before it.
#[derive(Clone, Debug)]
pub struct Hub {
    settings: Settings,
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

impl Part {
    /// Files without which it is none.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Model => &[CONFIG],
            Self::Tokenizer => &[TOKENIZER],
            Self::Adapter => &[ADAPTER_CONFIG, ADAPTER_WEIGHTS],
        }
    }

    /// Files that are taken where there are any.
    fn optional(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::Model => &[GENERATION_CONFIG, TOKENIZER],
            Self::Tokenizer => &[CONFIG, GENERATION_CONFIG],
            Self::Adapter => &[TOKENIZER],
        };
        own.iter().chain(&TOKENIZER_EXTRAS).copied().collect()
    }
}

impl Hub {
    /// A hub as the settings describe it.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The model's folder in the cache, filled as far as `part` needs.
    ///
    /// # Errors
    /// What stands in the way, with a hint.
    pub fn fetch(&self, name: &ModelName, part: Part, reporter: &mut dyn Reporter) -> Result<Fetched> {
        let store = Store::new(&self.settings.cache, name);
        if self.settings.offline {
            return cached(&store, name, part, None);
        }
        // A commit does not change: where all is known of it, nobody need be asked.
        if name.is_pinned() && is_settled(&store, name.revision(), part) {
            return cached(&store, name, part, None);
        }
        let client = Client::new(&self.settings);
        match client
            .revision(name)
            .and_then(|revision| Fetching { client, store: &store, name, revision, part }.run(reporter))
        {
            Err(error) if error.is_outage() => {
                let why = error.to_string();
                cached(&store, name, part, Some(why)).map_err(|_| error)
            }
            other => other,
        }
    }

    /// The model's folder, if the cache holds it; the hub is not asked.
    pub fn cached(&self, name: &ModelName, part: Part) -> Option<Fetched> {
        cached(&Store::new(&self.settings.cache, name), name, part, None).ok()
    }
}

/// The snapshot as it lies in the cache.
fn cached(store: &Store, name: &ModelName, part: Part, outage: Option<String>) -> Result<Fetched> {
    let not_cached = |missing| HubError::NotCached {
        name: name.clone(),
        cache: store.cache().into(),
        missing,
        why: "HF_HUB_OFFLINE is set".into(),
    };
    let commit = store.commit().filter(|commit| store.snapshot(commit).is_dir()).ok_or_else(|| not_cached(vec![]))?;
    let lacks = |file: &str| store.knows(&commit, file) != Known::Here;
    let mut missing: Vec<String> = part.required().iter().filter(|file| lacks(file)).map(ToString::to_string).collect();
    if part == Part::Model && lacks(WEIGHTS) {
        let shards = if lacks(INDEX) { vec![WEIGHTS.to_owned()] } else { shards(store, name, &commit, "the cache")? };
        missing.extend(shards.into_iter().filter(|file| lacks(file)));
    }
    if !missing.is_empty() {
        return Err(not_cached(missing));
    }
    Ok(Fetched { folder: store.snapshot(&commit), commit, outage })
}

/// Whether the cache knows of each file whether the commit holds it, and has those that it holds.
fn is_settled(store: &Store, commit: &str, part: Part) -> bool {
    let known = |file: &&str| store.knows(commit, file) != Known::Unknown;
    part.required().iter().all(&known) && part.optional().iter().all(known)
}

/// The shards that the index names.
fn shards(store: &Store, name: &ModelName, commit: &str, endpoint: &str) -> Result<Vec<String>> {
    let path = store.snapshot(commit).join(INDEX);
    let text = std::fs::read(&path).map_err(HubError::io("read", &path))?;
    let wrong = |what: String| HubError::NotAHub { address: format!("{INDEX} of {name} from {endpoint}"), what };
    let index: Index = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    match files.iter().find(|file| !file.ends_with(".safetensors") || file.contains(['/', '\\'])) {
        Some(file) => Err(wrong(format!("it names the shard {file:?}"))),
        None => Ok(files.into_iter().collect()),
    }
}

/// One model on its way from the hub.
struct Fetching<'a> {
    client: Client,
    store: &'a Store,
    name: &'a ModelName,
    revision: Revision,
    part: Part,
}

impl Fetching<'_> {
    fn run(&self, reporter: &mut dyn Reporter) -> Result<Fetched> {
        let required = self.part.required();
        if let Some(file) = required.iter().find(|file| !self.revision.holds(file)) {
            return Err(self.lacks(file));
        }
        let optional = self.part.optional();
        let (here, absent): (Vec<&str>, Vec<&str>) = optional.iter().partition(|file| self.revision.holds(file));
        let mut files: Vec<String> = required.iter().chain(&here).map(ToString::to_string).collect();
        if self.part == Part::Model {
            if self.revision.holds(WEIGHTS) {
                files.push(WEIGHTS.into());
            } else if self.revision.holds(INDEX) {
                self.bring(&[INDEX.into()], reporter)?;
                files.extend(shards(self.store, self.name, &self.revision.commit, self.client.endpoint())?);
            } else {
                return Err(self.lacks(WEIGHTS));
            }
        }
        self.bring(&files, reporter)?;
        let absent: Vec<String> = absent.into_iter().map(str::to_owned).collect();
        self.store.remember(&self.revision.commit, &absent)?;
        let commit = self.revision.commit.clone();
        Ok(Fetched { folder: self.store.snapshot(&commit), commit, outage: None })
    }

    /// Downloads the files that are not in the cache.
    fn bring(&self, files: &[String], reporter: &mut dyn Reporter) -> Result<()> {
        let commit = self.revision.commit.as_str();
        let mut wanted: Vec<(&String, FileFacts)> = Vec::new();
        for file in files.iter().filter(|file| self.store.knows(commit, file) != Known::Here) {
            let facts = self.client.facts(self.name, commit, file)?;
            wanted.push((file, facts.ok_or_else(|| self.lacks(file))?));
        }
        let still = |facts: &FileFacts| match self.store.blob(&facts.etag).is_file() {
            true => 0,
            false => {
                facts.size.saturating_sub(self.store.unfinished(&facts.etag).metadata().map_or(0, |part| part.len()))
            }
        };
        self.check_space(wanted.iter().map(|(_, facts)| still(facts)).sum())?;
        for (file, facts) in &wanted {
            Download { client: &self.client, store: self.store, name: self.name, commit, file, facts }.run(reporter)?;
        }
        Ok(())
    }

    fn check_space(&self, needed: u64) -> Result<()> {
        let folder = self.store.cache().ancestors().find(|folder| folder.exists());
        match folder.and_then(|folder| fs4::available_space(folder).ok()).filter(|free| *free < needed) {
            None => Ok(()),
            Some(free) => {
                Err(HubError::NoSpace { name: self.name.clone(), cache: self.store.cache().into(), needed, free })
            }
        }
    }

    /// The repository does not hold what it must: perhaps something like it.
    fn lacks(&self, file: &str) -> HubError {
        let pickle = || PICKLES.iter().find_map(|end| self.revision.ending_in(end));
        let hint = if file == CONFIG && self.revision.holds(ADAPTER_CONFIG) {
            "it is an adapter: name it with --adapter, and its base with --model".to_owned()
        } else if file == ADAPTER_CONFIG && self.revision.holds(CONFIG) {
            "it is a whole model: name it with --model".to_owned()
        } else if file == TOKENIZER && self.revision.holds("tokenizer.model") {
            "it has its tokenizer as tokenizer.model alone: look for a repository of the same model with tokenizer.json, or \
             save it with transformers' AutoTokenizer, which converts it"
                .to_owned()
        } else if let Some(pickle) = pickle() {
            format!(
                "it has {pickle}, which may run code when it is opened and is never fetched: look for a revision or a \
                 repository with safetensors"
            )
        } else if let Some(gguf) = self.revision.ending_in(".gguf") {
            format!("it has {gguf}; a Hugging Face folder with {WEIGHTS} is needed here")
        } else {
            format!(
                "{}/{}/tree/{} lists its files",
                self.client.endpoint(),
                self.name.repository(),
                self.name.revision()
            )
        };
        let endpoint = self.client.endpoint().to_owned();
        HubError::NoFile { endpoint, name: self.name.clone(), file: file.to_owned(), hint }
    }
}
