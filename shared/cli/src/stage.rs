//! What every stage that fills a folder does before it works.

use crate::{Outcome, Report};
use artifact::{FileRecord, Identity, Manifest};
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
/// Where a file of the folder cannot be read.
pub fn up_to_date(folder: &Path, identity: &Identity, force: bool) -> anyhow::Result<Option<Outcome>> {
    if force {
        return Ok(None);
    }
    let Some(manifest) = Manifest::if_up_to_date(folder, identity)? else { return Ok(None) };
    let text =
        format!("{} is up to date: same inputs, same options (--force runs the stage all the same)", folder.display());
    Ok(Some(Outcome::UpToDate(Report { text, json: manifest.summary })))
}
