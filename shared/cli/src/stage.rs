//! What every stage that fills a folder does before it works.

use crate::{Hint, Outcome, Report, Usage};
use artifact::{FileRecord, FolderLock, Identity, Manifest, would_replace};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The release, as recorded in manifests.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What decides whether a folder is up to date. `options` are the stage's arguments; fields that cannot change the
/// result are to be skipped by their `Serialize`.
pub fn identity(stage: &str, options: &impl Serialize, inputs: Vec<FileRecord>) -> Identity {
    Identity::new(stage, VERSION, options, inputs)
}

/// The outcome, where `folder` already holds what a stage of this identity would write and `force` is not set.
///
/// # Errors
/// Where a file of the folder cannot be read, where the folder holds what another stage finished, or while another process
/// fills it.
pub fn up_to_date(folder: &Path, identity: &Identity, force: bool) -> anyhow::Result<Option<Outcome>> {
    // Only asked here, so that nobody works in vain: `OutputFolder::open` takes it for good.
    let lock = FolderLock::take(folder)?;
    if Manifest::read(folder).is_ok_and(|manifest| manifest.is_some()) {
        artifact::files::remove_unfinished(folder);
    }
    drop(lock);
    if force {
        return Ok(None);
    }
    if let Ok(Some(other)) = Manifest::read(folder)
        && other.identity.stage != identity.stage
    {
        let (found, own, place) = (&other.identity.stage, &identity.stage, folder.display());
        return Err(anyhow::anyhow!("{place} holds what {found} made, and {own} would replace it"))
            .hint("choose another folder with --out; --force replaces it all the same");
    }
    let Some(manifest) = Manifest::if_up_to_date(folder, identity)? else { return Ok(None) };
    let text =
        format!("{} is up to date: same inputs, same options (--force runs the stage all the same)", folder.display());
    Ok(Some(Outcome::UpToDate(Report { text, json: manifest.summary })))
}

/// Refuses an output folder that the stage reads from, or files of which it would replace, and without `force` one with
/// files of others under the names that the stage writes. `flag` is what the folder was given to.
///
/// # Errors
/// [`Usage`] for an input, which no `force` gives up.
pub fn refuse_to_replace<'a>(
    (flag, out): (&str, &Path),
    stage: &str,
    inputs: impl IntoIterator<Item = &'a Path>,
    force: bool,
) -> anyhow::Result<()> {
    let Ok(place) = out.canonicalize() else { return Ok(()) };
    let replaced = would_replace(&place, stage);
    let inputs: Vec<PathBuf> = inputs.into_iter().filter_map(|input| input.canonicalize().ok()).collect();
    let lost =
        inputs.iter().find(|input| **input == place || replaced.iter().any(|(name, _)| place.join(name) == **input));
    if let Some(lost) = lost {
        let what = match lost.strip_prefix(&place) {
            Ok(name) if !name.as_os_str().is_empty() => format!("holds {}, which is an input", name.display()),
            _ => "is also an input".to_owned(),
        };
        let out = out.display();
        return Err(Usage(format!("{flag} {out} {what} and would be lost: choose another folder")).into());
    }
    match replaced.iter().find(|(_, ours)| !ours) {
        Some((name, _)) if !force => {
            let found = out.join(name);
            let detail = "no manifest there says that a stage of retune made it";
            Err(anyhow::anyhow!("{} would be replaced, and {detail}", found.display()))
                .hint(format!("choose another folder with {flag}; --force replaces it all the same"))
        }
        _ => Ok(()),
    }
}

/// Refuses a file to write that is one of those that the stage reads.
///
/// # Errors
/// [`Usage`], naming the file.
pub fn refuse_own_input<'a>(flag: &str, file: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Usage> {
    let Ok(place) = file.canonicalize() else { return Ok(()) };
    if inputs.into_iter().any(|input| input.canonicalize().is_ok_and(|input| input == place)) {
        let file = file.display();
        return Err(Usage(format!("{flag} {file} is also an input and would be lost: choose another file")));
    }
    Ok(())
}
