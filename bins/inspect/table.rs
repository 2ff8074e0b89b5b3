//! A Parquet table: which contract it follows, its columns, and one row of it.

use crate::token_row;
use crate::view::{Paint, View};
use anyhow::{Result, anyhow};
use artifact::{Manifest, TableFacts, TokenReader, read_row};
use cli::Hint;
use cli::format::{bytes, count, percent};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Tables of a folder, in the order in which one wants to look at them.
const TABLES: [&str; 7] = [
    "train.parquet",
    "validation.parquet",
    "test.parquet",
    "predictions.parquet",
    "examples.parquet",
    "metrics.parquet",
    "rejects.parquet",
];

/// The table that a path stands for: the file itself, or the first table of a folder.
pub(crate) fn table_of(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.into());
    }
    TABLES
        .iter()
        .map(|name| path.join(name))
        .find(|table| table.is_file())
        .ok_or_else(|| anyhow!("{} holds no table to show a row of", path.display()))
        .hint("name a Parquet file")
}

/// What a table is, by its columns.
fn kind(facts: &TableFacts) -> (&'static str, &'static str) {
    if facts.has(&["input_ids", "labels"]) {
        ("tokens", "tokens for a trainer")
    } else if facts.has(&["record", "code", "detail"]) {
        ("rejects", "rejected rows, each with its reason")
    } else if facts.has(&["prediction", "reference"]) {
        ("predictions", "generated answers beside their references")
    } else if facts.has(&["step", "loss"]) {
        ("metrics", "figures of a training run, step by step")
    } else if facts.has(&["trained_tokens", "loss"]) {
        ("losses", "the loss of each example")
    } else if facts.has(&["messages"]) || facts.has(&["text"]) || facts.has(&["prompt", "completion"]) {
        ("examples", "examples to tokenize")
    } else {
        ("table", "a table of no kind that retune knows")
    }
}

/// Describes the table.
pub(crate) fn describe(path: &Path) -> Result<View> {
    let facts = TableFacts::read(path)?;
    let (word, what) = kind(&facts);
    let mut view = View::new(word, format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path)?.len();
    let section = view.section("");
    section.fact("rows", format!("{} in {} row groups, {}", count(facts.rows), facts.row_groups, bytes(size)));
    if let Some(writer) = &facts.created_by {
        section.fact("written by", writer);
    }
    if let Some(manifest) = path.parent().and_then(|folder| Manifest::read(folder).ok()?) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if manifest.outputs.iter().any(|output| output.name == name) {
            section.fact("stage", format!("{} {}", manifest.identity.stage, manifest.identity.version));
            view.set("stage", manifest.identity.stage.as_str());
        }
    }
    if word == "tokens" {
        count_tokens(&mut view, path)?;
    }
    let columns = view.section("columns");
    for (name, kind) in &facts.columns {
        columns.fact(name, kind);
    }
    view.set("rows", facts.rows);
    view.set(
        "columns",
        facts
            .columns
            .iter()
            .map(|(name, kind)| (name.clone(), Value::from(kind.as_str())))
            .collect::<serde_json::Map<_, _>>(),
    );
    Ok(view)
}

fn count_tokens(view: &mut View, path: &Path) -> Result<()> {
    let mut reader = TokenReader::open(path)?;
    let (mut tokens, mut trained, mut examples, mut longest) = (0u64, 0u64, 0u64, 0usize);
    while let Some(rows) = reader.next_batch()? {
        for row in rows {
            tokens += row.input_ids.len() as u64;
            trained += row.labels.iter().filter(|label| **label != artifact::IGNORED).count() as u64;
            examples += row.examples.len() as u64;
            longest = longest.max(row.input_ids.len());
        }
    }
    let share = if tokens == 0 { 0.0 } else { trained as f64 / tokens as f64 };
    let section = view.sections.last_mut().expect("the facts come first");
    section.fact("tokens", format!("{}, {} trained; the longest row has {longest}", count(tokens), percent(share)));
    if examples > 0 {
        section.fact("examples", count(examples));
    }
    view.set("tokens", tokens);
    view.set("trained_tokens", trained);
    view.set("examples", examples);
    view.set("longest_row", longest);
    Ok(())
}

/// Shows one row, counted from one.
pub(crate) fn row(path: &Path, number: u64, paint: Paint) -> Result<View> {
    let facts = TableFacts::read(path)?;
    let Some(row) = read_row(path, number)? else {
        return Err(anyhow!("{} has no row {number}", path.display()))
            .hint(format!("it has {}, counted from 1", cli::format::plural(facts.rows, "row")));
    };
    let (word, what) = kind(&facts);
    if word == "tokens" {
        return token_row::describe(path, number, facts.rows, row, paint);
    }
    let mut view = View::new(word, format!("{}: row {number} of {}, {what}", path.display(), count(facts.rows)));
    let section = view.section("");
    for (name, value) in &row {
        write_value(section, name, value);
    }
    view.set("row", number);
    view.set("record", row);
    Ok(view)
}

/// A field, nested values indented below their name; nulls and empty lists left out.
fn write_value(section: &mut crate::view::Section, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                write_value(section, &format!("{name}[{index}]"), item);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                write_value(section, &format!("{name}.{key}"), item);
            }
        }
        Value::String(text) => {
            let mut lines = text.lines();
            section.fact(name, lines.next().unwrap_or_default());
            for line in lines {
                section.fact("", line);
            }
        }
        other => {
            section.fact(name, other);
        }
    }
}
