//! Predictions that another tool wrote, in any format that ingest reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use artifact::Predictions;
use cli::Hint;
use dataset::inputs::{Progress, discover};
use dataset::records::{ReadOptions, Record, as_text, open};

const EXPECTED: &str = "each row needs the fields prediction and reference";

/// Reads a file of predictions; `id`, `prompt` and `baseline_prediction` are taken where they are there.
///
/// What a row lacks is refused by row; what may be meant, such as an empty answer, is scored and told by [`oddities`].
pub(crate) fn read(path: &Path) -> Result<Predictions> {
    let set = with_hint(discover(&[path.to_string_lossy().into_owned()]))?;
    let mut all = Predictions::default();
    let mut baselines = Vec::new();
    for input in &set.inputs {
        let source = with_hint(open(input, &ReadOptions::default(), &Arc::new(Progress::default())))?;
        for chunk in source.chunks {
            let mut failure = None;
            let first = all.id.len() as u64;
            with_hint(chunk)?.visit(source.nested.as_ref(), &mut |item| {
                let number = first + item.row;
                let added = match item.content {
                    Ok(record) => add(&record, &mut all, &mut baselines),
                    Err(unreadable) => Err(anyhow!("{}", unreadable.detail)),
                };
                if let Err(error) = added {
                    failure.get_or_insert(error.context(format!("{} row {number}", path.display())));
                }
            });
            if let Some(error) = failure {
                return Err(error).hint(EXPECTED);
            }
        }
    }
    if all.id.is_empty() {
        return Err(anyhow!("{} has no rows: there is nothing to score", path.display())).hint(EXPECTED);
    }
    match baselines.iter().flatten().count() {
        0 => {}
        count if count == all.id.len() => all.baseline_prediction = Some(baselines.into_iter().flatten().collect()),
        count => {
            let lacking = baselines.iter().position(Option::is_none).unwrap_or_default() + 1;
            let (rows, path) = (all.id.len(), path.display());
            return Err(anyhow!("{count} of {rows} rows of {path} have a baseline_prediction, row {lacking} has none"))
                .hint("give it in every row or in none");
        }
    }
    name_the_nameless(&mut all.id);
    Ok(all)
}

/// Rows without an id get the number of the row.
fn name_the_nameless(ids: &mut [String]) {
    let nameless: Vec<usize> = (0..ids.len()).filter(|&row| ids[row].is_empty()).collect();
    if let (Some(first), true) = (nameless.first(), nameless.len() < ids.len()) {
        let rows = cli::format::plural(nameless.len() as u64, "row");
        cli::warn(&format!("{rows} without an id, the first is row {}: named by the number of the row", first + 1));
    }
    for row in nameless {
        ids[row] = format!("row-{}", row + 1);
    }
}

/// What may be meant and is scored as it stands, but a reader should know: each with its count and first rows.
pub(crate) fn oddities(predictions: &Predictions) -> Vec<String> {
    let empty = |texts: &[String]| rows_where(texts.len(), |row| texts[row].trim().is_empty());
    let mut found = vec![("an empty prediction", empty(&predictions.prediction))];
    if let Some(baseline) = &predictions.baseline_prediction {
        found.push(("an empty baseline_prediction", empty(baseline)));
    }
    let references = &predictions.reference;
    let nothing = |row: usize| references[row].iter().all(|text| text.trim().is_empty());
    found.push(("an empty reference", rows_where(references.len(), nothing)));
    let mut told: Vec<String> = found
        .into_iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(what, rows)| {
            let verb = if rows.len() == 1 { "has" } else { "have" };
            let count = cli::format::plural(rows.len() as u64, "row");
            format!("{count} {verb} {what} ({}): scored as it stands.", named(&rows))
        })
        .collect();
    told.extend(repeated_ids(&predictions.id));
    told
}

fn rows_where(rows: usize, holds: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..rows).filter(|&row| holds(row)).collect()
}

fn named(rows: &[usize]) -> String {
    let first: Vec<String> = rows.iter().take(3).map(|row| (row + 1).to_string()).collect();
    let more = if rows.len() > first.len() { ", …" } else { "" };
    format!("{} {}{more}", if rows.len() == 1 { "row" } else { "rows" }, first.join(", "))
}

/// An id that stands twice: an answer counts twice, or two files were joined by mistake.
fn repeated_ids(ids: &[String]) -> Option<String> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, id) in ids.iter().enumerate() {
        places.entry(id).or_default().push(row);
    }
    let repeated = || places.iter().filter(|(_, rows)| rows.len() > 1);
    let (id, rows) = repeated().min_by_key(|(_, rows)| rows[0])?;
    let (all, example) = (repeated().count(), format!("{id} in {}", named(rows)));
    Some(match all {
        1 => format!("1 id stands more than once: {example}; each row is scored."),
        several => format!("{several} ids stand more than once, the first is {example}; each row is scored."),
    })
}

fn add(record: &Record, all: &mut Predictions, baselines: &mut Vec<Option<String>>) -> Result<()> {
    let text = |name: &str| record.get(name).filter(|value| !value.is_null()).map(as_text);
    let required = |name: &str| {
        text(name).ok_or_else(|| {
            let names: Vec<&str> = record.names().collect();
            match record.get(name) {
                Some(_) => anyhow!("expected a text in the field {name}, found null"),
                None => anyhow!("expected a field {name}, found {}", names.join(", ")),
            }
        })
    };
    all.prediction.push(required("prediction")?);
    all.reference.push(references(record, &required)?);
    all.id.push(text("id").unwrap_or_default());
    all.prompt.push(text("prompt").unwrap_or_default());
    baselines.push(text("baseline_prediction"));
    Ok(())
}

/// One text, or a list of texts of which any would do; `references` is read too.
fn references(record: &Record, required: &dyn Fn(&str) -> Result<String>) -> Result<Vec<String>> {
    let list = ["reference", "references"].into_iter().find_map(|name| record.get(name)?.as_array());
    let Some(list) = list else { return Ok(vec![required("reference")?]) };
    let texts: Vec<String> = list.iter().filter(|value| !value.is_null()).map(as_text).collect();
    if texts.is_empty() { Err(anyhow!("expected at least one reference, found an empty list")) } else { Ok(texts) }
}

fn with_hint<T>(result: dataset::Result<T>) -> Result<T> {
    result.hint_from(|error| error.downcast_ref::<dataset::Error>()?.hint())
}
