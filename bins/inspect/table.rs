//! A Parquet table: which contract it follows, its columns, and one row of it.

use crate::token_row;
use crate::view::{Paint, View};
use anyhow::{Result, anyhow};
use artifact::{Condition, Content, Manifest, Overview, TableFacts, TokenReader, read_row};
use cli::Hint;
use cli::format::{bytes, count, percent};
use report::decimal;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Tables of a folder, in the order in which one wants to look at them.
const TABLES: [&str; 9] = [
    "train.parquet",
    "validation.parquet",
    "test.parquet",
    "predictions.parquet",
    "examples.parquet",
    "suspects.parquet",
    "metrics.parquet",
    "example_losses.parquet",
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

/// The words for a table of examples, which may be large: it is looked into only where that is asked for.
const EXAMPLES: &str = "examples";

/// What a table is, by its columns.
fn kind(facts: &TableFacts) -> (&'static str, &'static str) {
    let kinds: [(&[&str], _, _); 15] = [
        (&["input_ids", "labels"], "tokens", "tokens for a trainer"),
        (&["record", "code", "detail"], "rejects", "rejected rows, each with its reason"),
        (
            &["reason", "detail", "source_row"],
            "suspects",
            "rows that stand out; retune-ingest --exclude leaves them out",
        ),
        (&["overlap", "train_source_file"], "leakage", "test rows that training has seen"),
        (&["prediction", "reference"], "predictions", "generated answers beside their references"),
        (&["step", "trained_tokens", "source_row"], "example_losses", "the loss of each example over training"),
        (&["step", "tokens_per_second"], "throughput", "how long each step of training took"),
        (&["model", "new_tokens", "seconds"], "throughput", "how long each answer took"),
        (&["step", "loss"], "metrics", "figures of a training run, step by step"),
        (&["trained_tokens", "loss"], "losses", "the loss of each example"),
        (&["chosen_tokens", "rejected_tokens"], "pairs", "log-probabilities of chosen and rejected answers"),
        (&["answer", "tuned", "tuned_norm"], "choices", "questions, their answers and what was chosen"),
        (&["messages"], EXAMPLES, "examples to tokenize"),
        (&["text"], EXAMPLES, "examples to tokenize"),
        (&["prompt", "completion"], EXAMPLES, "examples to tokenize"),
    ];
    let found = kinds.into_iter().find(|(columns, ..)| facts.has(columns));
    found.map_or(("table", "a table of no kind that retune knows"), |(_, word, what)| (word, what))
}

/// Describes the table, or its rows that meet the conditions.
pub(crate) fn describe(path: &Path, conditions: &[Condition]) -> Result<View> {
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
    let is_finding = !["tokens", EXAMPLES, "table"].contains(&word);
    let overview = match is_finding || !conditions.is_empty() {
        true => Overview::read(path, conditions)?,
        false => Overview::default(),
    };
    if !conditions.is_empty() {
        view.sections[0].fact("meet --where", count(overview.rows.len() as u64));
        view.set("matching_rows", overview.rows.clone());
    } else if word == "tokens" {
        count_tokens(&mut view, path)?;
    }
    let columns = view.section("columns");
    for (name, kind) in &facts.columns {
        let content = overview.columns.iter().find(|(column, _)| column == name).map(|(_, content)| content);
        columns
            .fact(name, content.map_or_else(|| kind.clone(), |content| format!("{kind}  {}", in_words(kind, content))));
    }
    first_rows(&mut view, path, &overview.rows)?;
    view.set("rows", facts.rows);
    view.set(
        "columns",
        facts
            .columns
            .iter()
            .map(|(name, kind)| (name.clone(), Value::from(kind.as_str())))
            .collect::<serde_json::Map<_, _>>(),
    );
    if is_finding {
        let contents =
            overview.columns.iter().map(|(name, content)| Ok((name.clone(), serde_json::to_value(content)?)));
        view.set("contents", contents.collect::<Result<serde_json::Map<_, _>>>()?);
    }
    Ok(view)
}

/// What a column of this kind holds, for people.
fn in_words(kind: &str, content: &Content) -> String {
    let shown = |value: f64| if kind.contains("Int") && value >= 0.0 { count(value as u64) } else { decimal(value) };
    match content {
        Content::Numbers { least, greatest, .. } if least == greatest => shown(*least),
        Content::Numbers { least, mean, greatest } => {
            format!("{} … {}, mean {}", shown(*least), shown(*greatest), decimal(*mean))
        }
        Content::Values(values) => {
            let counted = values.iter().map(|(value, rows)| format!("{} {}", excerpt(value, 40), count(*rows)));
            counted.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The first rows in a line each.
fn first_rows(view: &mut View, path: &Path, rows: &[u64]) -> Result<()> {
    const SHOWN: usize = 5;
    if rows.is_empty() {
        return Ok(());
    }
    let section = view.section(if rows.len() > SHOWN { "first rows (--row N shows one whole)" } else { "rows" });
    for &number in rows.iter().take(SHOWN) {
        let row = read_row(path, number)?.unwrap_or_default();
        let texts = row.iter().filter_map(|(name, value)| match value {
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            Value::String(text) => Some(excerpt(text, 40)),
            Value::Number(number) if number.is_f64() => Some(format!("{name} {}", decimal(number.as_f64()?))),
            other => Some(format!("{name} {other}")),
        });
        section.fact(count(number), excerpt(&texts.collect::<Vec<_>>().join(" · "), 160));
    }
    Ok(())
}

/// The beginning of a text on one line.
fn excerpt(text: &str, longest: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(longest) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
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

/// Shows one row, counted from one among those that meet the conditions.
pub(crate) fn row(path: &Path, asked: u64, conditions: &[Condition], paint: Paint) -> Result<View> {
    let facts = TableFacts::read(path)?;
    let met = if conditions.is_empty() { Vec::new() } else { Overview::read(path, conditions)?.rows };
    let (all, number) = match conditions {
        [] => (facts.rows, asked),
        _ => (met.len() as u64, met.get(asked as usize - 1).copied().unwrap_or_default()),
    };
    let Some(row) = read_row(path, number)? else {
        let such = if conditions.is_empty() { "" } else { " that meets --where" };
        return Err(anyhow!("{} has no row {asked}{such}", path.display()))
            .hint(format!("it has {}, counted from 1", cli::format::plural(all, "row")));
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
