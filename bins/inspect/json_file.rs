//! JSON files: tokenizer, configuration, or a report.

use crate::view::View;
use crate::{model_folder, tokenizer_file};
use anyhow::Result;
use artifact::files::read_json;
use serde_json::Value;
use std::path::Path;

/// Describes the file.
pub(crate) fn describe(path: &Path) -> Result<View> {
    let document: Value = read_json(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let has = |key: &str| document.get(key).is_some();
    if has("model") && has("added_tokens") {
        return tokenizer_file::describe(path);
    }
    if name == "config.json" || name == "adapter_config.json" {
        return model_folder::describe(folder);
    }
    let (word, what) = match name.as_str() {
        "scorecard.json" => ("scorecard", "metrics and gates of a test"),
        "metrics.json" => ("evaluation", "loss of the tuned model and its base"),
        _ => ("json", "a JSON document"),
    };
    let mut view = View::new(word, format!("{}: {what}", path.display()));
    let section = view.section("");
    for line in serde_json::to_string_pretty(&document)?.lines() {
        section.line(line);
    }
    view.set("document", document);
    Ok(view)
}
