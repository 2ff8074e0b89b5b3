//! `retune-inspect` from start to end: recognise the path, describe it, verify it if asked, show it.

use crate::args::Args;
use crate::view::{Paint, View};
use crate::{artifact_folder, gguf, json_file, model_folder, table, tokenizer_file, verify, weights_file};
use anyhow::{Result, anyhow};
use artifact::{MANIFEST, Manifest};
use cli::{Hint, Outcome, Report};
use retune::locate::in_cache;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Runs the program.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let paint = Paint::for_stdout();
    let cached = if args.path.exists() { None } else { in_cache(&args.path.to_string_lossy()) };
    let path = artifact_path(cached.as_deref().unwrap_or(&args.path))?;
    let mut view = match args.row {
        Some(row) => table::row(&table::table_of(path)?, row.max(1), &args.conditions, paint)?,
        None if !args.conditions.is_empty() => table::describe(&table::table_of(path)?, &args.conditions)?,
        None if path.is_dir() => folder(path, paint)?,
        None => file(path)?,
    };
    if args.row == Some(0) {
        cli::note("rows are counted from 1; showing the first");
    }
    let damaged = if args.verify { verify::verify(path, &mut view, paint)? } else { 0 };
    let json = Value::Object(std::mem::take(&mut view.json));
    if damaged > 0 {
        let text = if args.common.json { serde_json::to_string_pretty(&json)? + "\n" } else { view.text(paint) };
        cli::print(&text)?;
        return Err(anyhow!("{damaged} of the recorded files differ or are missing"))
            .hint("run the stage again (make does), or copy the folder anew from where it was whole");
    }
    if !args.common.json {
        cli::print(&view.text(paint))?;
    }
    Ok(Outcome::Done(Report { text: String::new(), json }))
}

/// A manifest stands for its folder.
fn artifact_path(path: &Path) -> Result<&Path> {
    if !path.exists() {
        return Err(anyhow!("{} does not exist", path.display()))
            .hint("name a folder, a file, or a model of a hub that is in the cache");
    }
    if path.file_name().is_some_and(|name| name == MANIFEST) {
        let parent = path.parent().unwrap_or(path);
        return Ok(if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    }
    Ok(path)
}

fn folder(path: &Path, paint: Paint) -> Result<View> {
    let has = |name: &str| path.join(name).is_file();
    let holds_model = has("config.json") || has("adapter_config.json");
    if let Some(manifest) = Manifest::read(path)? {
        let mut view = artifact_folder::describe(path, &manifest, paint);
        if holds_model {
            view.attach("model", model_folder::describe(path)?);
        } else if has("tokenizer.json") {
            view.attach("tokenizer", tokenizer_file::describe(path)?);
        }
        return Ok(view);
    }
    if holds_model {
        model_folder::describe(path)
    } else if has("tokenizer.json") {
        tokenizer_file::describe(path)
    } else if has("train.parquet") || has("predictions.parquet") || has("metrics.parquet") {
        let mut view = View::new("unfinished", format!("{}: an unfinished folder", path.display()));
        view.section("").line(format!("no {MANIFEST}: the stage that filled it did not come to its end"));
        Ok(view)
    } else {
        Err(anyhow!("{}: neither a folder of a stage nor a model, adapter or tokenizer", path.display()))
            .hint(format!("such folders hold {MANIFEST}, config.json, adapter_config.json or tokenizer.json"))
    }
}

fn file(path: &Path) -> Result<View> {
    let mut head = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read(&mut head)).map_err(anyhow::Error::from)?;
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match (&head[..read.min(4)], extension.as_str()) {
        (b"PAR1", _) | (_, "parquet") => table::describe(path, &[]),
        (b"GGUF", _) | (_, "gguf") => gguf::describe(path),
        (_, "safetensors") => weights_file::describe(path),
        (_, "json") => json_file::describe(path),
        _ => Err(anyhow!("{}: not a kind of file that retune knows", path.display()))
            .hint("known are Parquet, safetensors, GGUF, tokenizer.json, config.json and the reports' JSON"),
    }
}
