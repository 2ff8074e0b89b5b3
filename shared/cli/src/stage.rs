//! What every stage that fills a folder does before it works.

use crate::{Hint, Outcome, Report, Usage};
use artifact::{FileRecord, FolderLock, Identity, Manifest};
use serde::Serialize;
use std::path::Path;

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
    drop(FolderLock::take(folder)?);
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

/// Refuses to write into a folder that the stage reads from.
///
/// # Errors
/// [`Usage`], naming the folder.
pub fn refuse_own_inputs<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Usage> {
    let Ok(place) = out.canonicalize() else { return Ok(()) };
    if inputs.into_iter().any(|input| input.canonicalize().is_ok_and(|input| input == place)) {
        let place = out.display();
        return Err(Usage(format!("--out {place} is also an input, which would be lost: choose another folder")));
    }
    Ok(())
}
