//! A report in its three written forms: the page for people, the same for a pull request, the same for programs.

use anyhow::Result;
use artifact::{FinishedFile, OutputFolder, files};
use report::{Document, Setting};
use serde_json::Value;

/// An option and its value in words, as a line of a report.
pub fn setting(name: &str, value: &Value) -> Setting {
    Setting { name: name.to_owned(), value: words(value) }
}

/// A value in words.
pub fn words(value: &Value) -> String {
    let joined = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => joined(items.iter().map(words).collect()),
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            joined(set.map(|(name, value)| format!("{name} {}", words(value))).collect())
        }
        other => other.to_string(),
    }
}

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
