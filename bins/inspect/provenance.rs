//! Where a folder's inputs lie. Manifests name inputs without paths, so that artifacts do not depend on the host; the
//! folders beside this one, and the current directory, are searched for them.

use artifact::{FileRecord, Manifest, hash_file};
use std::path::{Path, PathBuf};

/// A file that may be one of the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The stage that wrote it, where a manifest says so.
    pub(crate) stage: Option<String>,
    /// Whether the manifest beside it records the same content; unknown for files without one.
    pub(crate) same: Option<bool>,
}

impl Place {
    /// A few words for people.
    pub(crate) fn describe(&self) -> String {
        let writer = self.stage.as_ref().map(|stage| format!(", written by {stage}")).unwrap_or_default();
        let changed = if self.same == Some(false) { ", changed since" } else { "" };
        let by_content = if self.same == Some(true) { "same content as " } else { "" };
        format!("{by_content}{}{writer}{changed}", self.path.display())
    }
}

/// For each input of the manifest the place where it was found.
pub(crate) fn find_inputs(folder: &Path, manifest: &Manifest) -> Vec<Option<Place>> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let siblings = siblings(&folder);
    let writer = stage_before(&manifest.identity.stage);
    manifest.identity.inputs.iter().map(|input| find(input, writer, &folder, &siblings)).collect()
}

fn find(input: &FileRecord, writer: Option<&str>, folder: &Path, siblings: &[(PathBuf, Manifest)]) -> Option<Place> {
    let outputs = |(path, manifest): &(PathBuf, Manifest), fits: &dyn Fn(&FileRecord) -> bool| {
        let output = manifest.outputs.iter().find(|output| fits(output))?;
        let same = Some(output.sha256 == input.sha256);
        Some(Place { path: path.join(&output.name), stage: Some(manifest.identity.stage.clone()), same })
    };
    // Copies of one file lie in several folders, as a tokenizer does: the folder of the stage before is meant, or the one that
    // the input's name begins with, and in it the file of that name.
    let name = input.name.rsplit('/').next().unwrap_or(&input.name);
    let prefix = input.name.split('/').next().filter(|prefix| *prefix != name);
    let named = |path: &Path| path.file_name().is_some_and(|folder| prefix == Some(&folder.to_string_lossy()));
    let mut closest: Vec<&(PathBuf, Manifest)> = siblings.iter().collect();
    closest.sort_by_key(|(path, manifest)| (!named(path), Some(manifest.identity.stage.as_str()) != writer));
    let same = |output: &FileRecord| output.sha256 == input.sha256;
    let find = |fits: &dyn Fn(&FileRecord) -> bool| closest.iter().find_map(|sibling| outputs(sibling, fits));
    if let Some(place) = find(&|output| same(output) && output.name == name).or_else(|| find(&same)) {
        return Some(place);
    }
    // The one folder of the stage before this one holds a file of that name, with other content: it was made anew.
    let mut makers = siblings.iter().filter(|(_, manifest)| Some(manifest.identity.stage.as_str()) == writer);
    if let (Some(maker), None) = (makers.next(), makers.next())
        && let Some(place) = outputs(maker, &|output| output.name == input.name)
    {
        return Some(place);
    }
    let beside = folder.parent().map(|parent| parent.join(&input.name));
    // A file that is only called the same, such as some other config.json, is not the input. What a user brought is.
    let brought = writer.is_none();
    let known = |path: &Path| brought || hash_file(path, input.name.as_str()).is_ok_and(|found| found == *input);
    let places = [Some(PathBuf::from(&input.name)), beside].into_iter().flatten();
    let path = places.into_iter().find(|path| path.is_file() && known(path))?;
    Some(Place { path, stage: None, same: None })
}

/// The stage whose folder a stage reads.
fn stage_before(stage: &str) -> Option<&'static str> {
    match stage {
        "retune-tokenize" | "retune-test" => Some("retune-ingest"),
        "retune-train" | "retune-evaluate" => Some("retune-tokenize"),
        "retune-export" => Some("retune-train"),
        _ => None,
    }
}

/// The other finished folders in the same place, by name.
fn siblings(folder: &Path) -> Vec<(PathBuf, Manifest)> {
    let Some(parent) = folder.parent() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path != folder).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| Some((path.clone(), Manifest::read(&path).ok()??))).collect()
}
