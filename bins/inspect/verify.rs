//! `--verify`: every recorded file hashed again.

use crate::artifact_folder::short;
use crate::provenance::find_inputs;
use crate::view::{Paint, View};
use anyhow::{Result, anyhow};
use artifact::{FileRecord, MANIFEST, Manifest, hash_file};
use cli::Hint;
use serde_json::json;
use std::path::Path;

/// Compares outputs and, where they can be found, inputs with the manifest; gives the number of differences.
pub(crate) fn verify(path: &Path, view: &mut View, paint: Paint) -> Result<usize> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Some(manifest) = Manifest::read(folder)? else {
        return Err(anyhow!("{} has no {MANIFEST} to verify against", folder.display()))
            .hint("only folders that a stage of retune has finished record hashes");
    };
    let only = path.is_file().then(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let mut results = Vec::new();
    for output in manifest.outputs.iter().filter(|output| only.as_ref().is_none_or(|name| *name == output.name)) {
        results.push(("output", output, Some(compare(&folder.join(&output.name), output)?)));
    }
    if only.is_none() {
        let places = find_inputs(folder, &manifest);
        for (input, place) in manifest.identity.inputs.iter().zip(places) {
            let state = match place {
                Some(place) => Some(compare(&place.path, input)?),
                None => None,
            };
            results.push(("input", input, state));
        }
    }
    let mut document = Vec::new();
    let section = view.section("verified");
    for (role, record, state) in &results {
        let text = match state {
            Some(State::Same) => paint.green("same"),
            Some(State::Missing) => paint.red("missing"),
            Some(State::Differs(found)) => paint.red(&format!("differs: sha256 {} now", short(found))),
            None => paint.dim("not found here"),
        };
        section.fact(format!("{role} {}", record.name), text);
        let word = state.as_ref().map_or("not_found", State::word);
        document.push(json!({"role": role, "name": record.name, "state": word}));
    }
    view.set("verified", document);
    Ok(results.iter().filter(|(_, _, state)| state.as_ref().is_some_and(|state| *state != State::Same)).count())
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Same,
    Missing,
    Differs(String),
}

impl State {
    fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Missing => "missing",
            Self::Differs(_) => "differs",
        }
    }
}

fn compare(path: &Path, record: &FileRecord) -> Result<State> {
    if !path.is_file() {
        return Ok(State::Missing);
    }
    let found = hash_file(path, record.name.clone())?;
    Ok(if found == *record { State::Same } else { State::Differs(found.sha256) })
}
