//! One row of tokens: each token with its text, whether it is trained on, and the characters that it stands for.

use crate::view::{Paint, View};
use anyhow::{Context, Result};
use artifact::{IGNORED, PackedExample, TokenRow};
use cli::format::count;
use encoding::Tokenizer;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Describes the row.
pub(crate) fn describe(path: &Path, number: u64, rows: u64, record: Map<String, Value>, paint: Paint) -> Result<View> {
    let row = token_row(record).with_context(|| format!("{} row {number}", path.display()))?;
    let tokenizer = tokenizer_beside(path);
    let trained = row.labels.iter().filter(|label| **label != IGNORED).count();
    let mut view = View::new("tokens", format!("{}: row {number} of {}", path.display(), count(rows)));
    let facts = view.section("");
    facts.fact("tokens", format!("{}, {trained} trained", row.input_ids.len()));
    if tokenizer.is_none() {
        facts.fact("text", "unknown: no tokenizer.json lies beside the table");
    }
    let mut examples = row.examples.clone();
    if examples.is_empty() {
        examples = examples_by_position(&row);
    }
    let mut document = Vec::new();
    for example in &examples {
        document.push(write_example(&mut view, &row, example, tokenizer.as_ref(), paint));
    }
    view.set("row", number);
    view.set("tokens", row.input_ids.len());
    view.set("trained_tokens", trained);
    view.set("examples", document);
    Ok(view)
}

/// Tables of other tools lack our columns; positions then count from zero.
fn token_row(mut record: Map<String, Value>) -> Result<TokenRow> {
    let tokens = record.get("input_ids").and_then(Value::as_array).map_or(0, Vec::len);
    for name in ["char_start", "char_end", "examples"] {
        let entry = record.entry(name).or_insert_with(|| json!([]));
        if entry.is_null() {
            *entry = json!([]);
        }
    }
    record.entry("position_ids").or_insert_with(|| (0..tokens).collect());
    Ok(serde_json::from_value(Value::Object(record))?)
}

fn tokenizer_beside(path: &Path) -> Option<Tokenizer> {
    Tokenizer::open(path.parent().filter(|folder| folder.join("tokenizer.json").is_file())?).ok()
}

/// An example begins wherever the positions begin again.
fn examples_by_position(row: &TokenRow) -> Vec<PackedExample> {
    let starts: Vec<usize> =
        (0..row.input_ids.len()).filter(|index| *index == 0 || row.position_ids[*index] == 0).collect();
    let ends = starts.iter().skip(1).copied().chain([row.input_ids.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| PackedExample {
            id: String::new(),
            source_file: String::new(),
            source_row: 0,
            start: *start as u32,
            length: (end - start) as u32,
            spans: Vec::new(),
        })
        .collect()
}

fn write_example(
    view: &mut View,
    row: &TokenRow,
    example: &PackedExample,
    tokenizer: Option<&Tokenizer>,
    paint: Paint,
) -> Value {
    let range = example.start as usize..(example.start + example.length) as usize;
    let source = if example.source_file.is_empty() {
        format!("tokens {} to {}", range.start, range.end)
    } else {
        format!("{} row {} (example {})", example.source_file, example.source_row, example.id)
    };
    let section = view.section(source);
    let text = |id: i32| tokenizer.map_or_else(String::new, |tokenizer| tokenizer.spelling(id as u32));
    section.line(paint.dim(&format!(
        "{:>6} {:>4} {:>7} {:<7} {:>11} {:<22} {}",
        "token", "pos", "id", "label", "characters", "message", "text"
    )));
    let mut tokens = Vec::with_capacity(range.len());
    for index in range.clone().filter(|index| *index < row.input_ids.len()) {
        let (id, label, position) = (row.input_ids[index], row.labels[index], row.position_ids[index]);
        let characters = row.char_start.get(index).zip(row.char_end.get(index)).map(|(start, end)| (*start, *end));
        let place = characters.and_then(|characters| place_in_message(example, characters));
        let spelled = text(id);
        let is_trained = label != IGNORED;
        let line = format!(
            "{index:>6} {position:>4} {id:>7} {:<7} {:>11} {:<22} {}",
            if is_trained { "trained" } else { "-" },
            characters.map_or_else(String::new, |(start, end)| format!("{start}-{end}")),
            place.map_or_else(String::new, Place::describe),
            quoted(&spelled),
        );
        section.line(if is_trained { paint.green(&line) } else { line });
        tokens.push(json!({
            "index": index, "position": position, "id": id, "label": label, "trained": is_trained, "text": spelled,
            "char_start": characters.map(|characters| characters.0), "char_end": characters.map(|characters| characters.1),
            "message": place.map(|place| place.message),
            "content_start": place.map(|place| place.start), "content_end": place.map(|place| place.end),
        }));
    }
    json!({
        "id": example.id, "source_file": example.source_file, "source_row": example.source_row,
        "start": example.start, "length": example.length, "tokens": tokens,
    })
}

/// The part of a message's content that a token covers.
#[derive(Clone, Copy)]
struct Place {
    message: u32,
    start: u32,
    end: u32,
}

impl Place {
    fn describe(self) -> String {
        format!("{} characters {}-{}", self.message, self.start, self.end)
    }
}

fn place_in_message(example: &PackedExample, (start, end): (i32, i32)) -> Option<Place> {
    let (start, end) = (start as u32, end as u32);
    let span = example.spans.iter().find(|span| start < span.char_end && span.char_start < end)?;
    Some(Place {
        message: span.message,
        start: start.max(span.char_start) - span.char_start,
        end: end.min(span.char_end) - span.char_start,
    })
}

/// In quotes, white space visible; what the tokenizer escaped stays as it is.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}
