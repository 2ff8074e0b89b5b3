//! Where a model lies that a command line names: a folder, or a name on a hub, whose files are in the cache or come there.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use cli::{Hint, Progress, Unit};
use hub::{Hub, HubError, ModelName, Settings};

pub use hub::Part;

/// A model or adapter that is on this machine.
#[derive(Debug, Clone)]
pub struct Located {
    /// Its folder, or its GGUF file.
    pub folder: PathBuf,
    /// For people and for adapters: `org/name`, or the folder's own name without the way to it.
    pub name: String,
    /// `org/name@commit` of what came from a hub.
    pub origin: Option<String>,
}

/// The folder that `given` names, or the one that the hub's files are in; `flag` is what it was given to.
///
/// # Errors
/// Where there is neither, with what to do.
pub fn locate(given: &str, flag: &str, part: Part) -> Result<Located> {
    let folder = Path::new(given);
    let is_file = part == Part::Model && folder.is_file() && pretrained::gguf_path(folder)?.is_some();
    if folder.is_dir() || is_file {
        return Ok(Located { folder: folder.into(), name: pretrained::base_model_name(given), origin: None });
    }
    let what = match part {
        Part::Adapter => "a PEFT adapter folder",
        _ => "a Hugging Face model folder or of a GGUF file",
    };
    if folder.exists() {
        return Err(anyhow!("{given} is neither a model folder nor a GGUF file"))
            .hint(format!("{flag} takes the path of {what}, or a name on a hub"));
    }
    let Some(name) = ModelName::parse(given) else {
        return Err(anyhow!("{given} does not exist")).hint(format!(
            "{flag} takes the path of {what}, or a name on a hub such as org/name or org/name@revision"
        ));
    };
    let fetched = Hub::new(Settings::from_environment()).fetch(&name, part, &mut Bar::default());
    let fetched = fetched.map_err(anyhow::Error::from).map_err(|error| match error.downcast_ref::<HubError>() {
        // A path that is spelt wrong looks like a name on a hub.
        Some(HubError::NoRepository { .. } | HubError::NotCached { .. } | HubError::Unreachable { .. }) => {
            error.context(format!("{given} is neither a folder here nor a model that can be had"))
        }
        _ => error,
    });
    let fetched =
        fetched.hint_from(|error| error.chain().find_map(|cause| cause.downcast_ref::<HubError>()?.hint()))?;
    if let Some(outage) = &fetched.outage {
        cli::warn(&format!("{outage}; using {name} as it is in the cache, commit {}", fetched.commit));
    }
    let repository = name.repository().to_owned();
    let origin = format!("{repository}@{}", fetched.commit);
    Ok(Located { folder: fetched.folder, name: repository, origin: Some(origin) })
}

/// The folder of a hub's model that is in the cache already; nothing is downloaded.
pub fn in_cache(given: &str) -> Option<PathBuf> {
    let name = ModelName::parse(given)?;
    let hub = Hub::new(Settings::from_environment());
    let parts = [Part::Model, Part::Adapter, Part::Tokenizer];
    parts.into_iter().find_map(|part| hub.cached(&name, part)).map(|fetched| fetched.folder)
}

/// Shows a download on the terminal.
#[derive(Default)]
struct Bar(Option<Progress>);

impl hub::Reporter for Bar {
    fn begin(&mut self, file: &str, bytes: u64, already: u64) {
        let bar = Progress::new(file, Some(bytes), Unit::Bytes);
        bar.resume_at(already);
        self.0 = Some(bar);
    }

    fn at(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set(bytes);
        }
    }

    fn end(&mut self) {
        self.0 = None;
    }
}
