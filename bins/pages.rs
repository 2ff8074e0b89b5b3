//! A report in its three written forms: the page for people, the same for a pull request, the same for programs.

use anyhow::Result;
use artifact::{FinishedFile, OutputFolder, files};
use report::Document;

/// Stages `report.html`, `report.md` and `report.json`.
///
/// # Errors
/// Where the disk is full.
pub fn stage(folder: &OutputFolder, document: &Document) -> Result<Vec<FinishedFile>> {
    Ok(vec![
        folder.stage_bytes(files::REPORT_HTML, document.to_html()?.as_bytes())?,
        folder.stage_bytes(files::REPORT_MARKDOWN, document.to_markdown().as_bytes())?,
        folder.stage_bytes(files::REPORT_JSON, &files::to_json(document))?,
    ])
}
