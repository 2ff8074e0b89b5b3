//! A file of prompts: one on each line, or a column `prompt` of a table.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use cli::Hint;
use dataset::inputs::{Progress, discover};
use dataset::records::{ReadOptions, as_text, open};

const EXPECTED: &str = "a table of prompts has a column prompt; a text file has a prompt on each line";

/// Reads all prompts, in the order of the file.
pub(crate) fn read(path: &Path) -> Result<Vec<String>> {
    let prompts = match path.extension().and_then(|extension| extension.to_str()) {
        _ if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the prompts from standard input")?;
            lines(&text)
        }
        Some("jsonl" | "ndjson" | "json" | "csv" | "tsv" | "parquet" | "arrow" | "gz" | "zst") => table(path)?,
        _ => lines(&std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
    };
    if prompts.is_empty() {
        let name = if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() };
        return Err(anyhow!("{name} has no prompt")).hint(EXPECTED);
    }
    Ok(prompts)
}

/// A prompt on each line; empty lines are none.
fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

fn table(path: &Path) -> Result<Vec<String>> {
    let set = with_hint(discover(&[path.to_string_lossy().into_owned()]))?;
    let mut prompts = Vec::new();
    for input in &set.inputs {
        let source = with_hint(open(input, &ReadOptions::default(), &Arc::new(Progress::default())))?;
        for chunk in source.chunks {
            let mut failure = None;
            with_hint(chunk)?.visit(source.nested.as_ref(), &mut |item| {
                let found = match &item.content {
                    Ok(record) => record.get("prompt").map(as_text).ok_or_else(|| {
                        anyhow!("expected a field prompt, found {}", record.names().collect::<Vec<_>>().join(", "))
                    }),
                    Err(unreadable) => Err(anyhow!("{}", unreadable.detail)),
                };
                match found {
                    Ok(prompt) => prompts.push(prompt),
                    Err(error) => {
                        failure.get_or_insert(error.context(format!("{} row {}", path.display(), prompts.len() + 1)));
                    }
                }
            });
            if let Some(error) = failure {
                return Err(error).hint(EXPECTED);
            }
        }
    }
    Ok(prompts)
}

fn with_hint<T>(result: dataset::Result<T>) -> Result<T> {
    result.hint_from(|error| error.downcast_ref::<dataset::Error>()?.hint())
}
