//! Predictions that another tool wrote, in any format that ingest reads.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use artifact::Predictions;
use cli::Hint;
use dataset::inputs::{Progress, discover};
use dataset::records::{ReadOptions, Record, as_text, open};

const EXPECTED: &str = "each row needs the fields prediction and reference";

/// Reads a file of predictions; `id`, `prompt` and `baseline_prediction` are taken where they are there.
pub(crate) fn read(path: &Path) -> Result<Predictions> {
    if path.extension().is_some_and(|extension| extension == "parquet") {
        return Ok(artifact::read_predictions(path)?);
    }
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
                    Ok(record) => add(&record, number, &mut all, &mut baselines),
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
            return Err(anyhow!("{count} of {} rows of {} have a baseline_prediction", all.id.len(), path.display()))
                .hint("give it in every row or in none");
        }
    }
    Ok(all)
}

fn add(record: &Record, number: u64, all: &mut Predictions, baselines: &mut Vec<Option<String>>) -> Result<()> {
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
    all.id.push(text("id").unwrap_or_else(|| format!("row-{number}")));
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
