//! A file of prompts: one on each line, or a column `prompt` of a table.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use cli::Hint;
use dataset::inputs::{Progress, discover};
use dataset::records::{ReadOptions, as_text, open};
use serde_json::Value;

const EXPECTED: &str = "a table of prompts has a column prompt; a text file has a prompt on each line";

/// Reads all prompts, in the order of the file.
pub(crate) fn read(path: &Path) -> Result<Vec<String>> {
    let prompts = match path.extension().and_then(|extension| extension.to_str()) {
        _ if path.as_os_str() == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read the prompts from standard input")?;
            lines(&bytes, &"standard input")?
        }
        Some("jsonl" | "ndjson" | "json" | "csv" | "tsv" | "parquet" | "arrow" | "gz" | "zst") => table(path)?,
        _ => {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
            lines(&bytes.hint("--prompts takes a file: text with a prompt on each line, or a table")?, &path.display())?
        }
    };
    if prompts.is_empty() {
        let name = if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() };
        return Err(anyhow!("{name} has no prompt")).hint(EXPECTED);
    }
    Ok(prompts)
}

/// A prompt on each line; empty lines are none, and a mark that says "this is UTF-8" is no part of the first.
fn lines(bytes: &[u8], name: &impl Display) -> Result<Vec<String>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        anyhow!("{name} line {line} is not UTF-8")
    });
    let text = text.hint("convert it, for instance with `iconv -t UTF-8`")?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
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
                    Ok(record) => match record.get("prompt") {
                        Some(Value::Null | Value::Array(_) | Value::Object(_)) => Err(anyhow!(
                            "expected a text in the field prompt, found {}",
                            record.get("prompt").map_or_else(String::new, ToString::to_string)
                        )),
                        Some(value) => Ok(as_text(value)),
                        None => {
                            let names = record.names().collect::<Vec<_>>().join(", ");
                            Err(anyhow!("expected a field prompt, found {names}"))
                        }
                    },
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
