//! `retune-evaluate` from start to end: find, measure the model and its base, judge, seal the folder.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use artifact::{
    Committed, ExampleLossWriter, FileRecord, Identity, OutputFolder, Split, files, hash_file, resolve_split,
};
use cli::{Hint, Outcome, Report};
use metrics::LossTotals;
use model::Decoder;
use report::Verdict;
use retune::subject::{Loaded, Subject};
use serde::Serialize;

use crate::args::Args;
use crate::document::{self, Findings};
use crate::fit::{self, Run};
use crate::loss::{ExampleTotals, Tokens};
use crate::summary::{self, Summary};

/// The options that decide the result.
#[derive(Serialize)]
struct Options {
    split: String,
    baseline: bool,
}

/// The base to compare with.
enum Baseline {
    None,
    WithoutAdapter,
    Model(Subject),
}

/// Everything that was found before the work begins.
struct Found {
    tokens: PathBuf,
    split: String,
    subject: Subject,
    baseline: Baseline,
    metrics: Option<PathBuf>,
    inputs: Vec<FileRecord>,
}

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let out = args.output.folder()?;
    let found = find(args)?;
    let options = Options { split: found.split.clone(), baseline: !matches!(found.baseline, Baseline::None) };
    let identity = cli::identity("retune-evaluate", &options, found.inputs.clone());
    if let Some(outcome) = cli::up_to_date(out, &identity, args.output.force)? {
        return Ok(outcome);
    }
    let loaded = found.subject.load()?;
    let tokens = Tokens::read(&found.tokens, &loaded.config)?;
    let tuned = tokens.measure(&loaded.decoder, "model")?;
    let baseline = base_decoder(&found, &loaded)?.map(|base| tokens.measure(&base, "base")).transpose()?;
    tracing::info!("{} rows of tokens measured", tokens.rows());
    let training = found.metrics.as_deref().map(Run::read).transpose()?;
    write(out, &found, identity, &tuned, baseline.as_deref(), training.as_ref())
}

fn find(args: &Args) -> Result<Found> {
    let split = Split::from(args.split);
    let subject = Subject::find(&args.model, args.adapter.as_deref())?;
    let Some(tokens) = resolve_split(&args.tokens, split, "retune-tokenize")? else {
        let folder = args.tokens.display();
        return Err(anyhow!("{folder} has no {} split", split.as_str()))
            .hint("choose another one with --split, or ingest with a share for it");
    };
    let baseline = find_baseline(args, &subject)?;
    let metrics = fit::metrics_file(subject.tuned_folder());
    let mut inputs = vec![hash_file(&tokens, "tokens.parquet")?];
    inputs.extend(subject.records()?);
    if let Baseline::Model(base) = &baseline {
        let records = base.records()?.into_iter();
        inputs.extend(records.map(|record| FileRecord { name: format!("baseline/{}", record.name), ..record }));
    }
    if let Some(path) = &metrics {
        inputs.push(hash_file(path, files::METRICS)?);
    }
    let split = if args.tokens.is_dir() { split.as_str().to_owned() } else { summary::FILE.to_owned() };
    Ok(Found { tokens, split, subject, baseline, metrics, inputs })
}

fn find_baseline(args: &Args, subject: &Subject) -> Result<Baseline> {
    match args.baseline.as_deref() {
        None => Ok(Baseline::None),
        Some("") if subject.has_adapter() => Ok(Baseline::WithoutAdapter),
        Some("") => {
            cli::warn(
                "--baseline has nothing to compare with: there is no --adapter; name the base with --baseline=DIR",
            );
            Ok(Baseline::None)
        }
        Some(folder) => Ok(Baseline::Model(Subject::find(folder, None)?)),
    }
}

fn base_decoder(found: &Found, loaded: &Loaded) -> Result<Option<Decoder>> {
    Ok(match &found.baseline {
        Baseline::None => None,
        Baseline::WithoutAdapter => Some(loaded.decoder.without_adapter()),
        Baseline::Model(base) => {
            let base = base.load()?;
            if base.config.vocabulary() < loaded.config.vocabulary() {
                cli::warn("the base has a smaller vocabulary than the model: the tokens may not mean the same to it");
            }
            Some(base.decoder)
        }
    })
}

fn write(
    out: &std::path::Path,
    found: &Found,
    identity: Identity,
    tuned: &[ExampleTotals],
    baseline: Option<&[ExampleTotals]>,
    training: Option<&Run>,
) -> Result<Outcome> {
    let examples = summary::example_losses(tuned, baseline);
    let summary = Summary {
        split: found.split.clone(),
        examples: examples.len(),
        tuned: sum(tuned).summary().expect("a file without trained tokens was refused"),
        baseline: baseline.and_then(|examples| sum(examples).summary()),
        sources: summary::by_source(tuned, baseline),
        fit: training.map(|run| run.fit.clone()),
    };
    let model = found.subject.name();
    let findings = Findings { model, summary: &summary, run: training, examples: &examples, inputs: &found.inputs };
    let document = findings.document();
    let folder = OutputFolder::open(out)?;
    let mut table = ExampleLossWriter::new(folder.stage(files::EXAMPLES)?)?;
    table.write(&examples)?;
    let outputs = vec![
        folder.stage_bytes(files::METRICS_JSON, &files::to_json(&summary))?,
        table.finish()?,
        folder.stage_bytes(files::REPORT_HTML, document.to_html()?.as_bytes())?,
    ];
    let verdict = verdict_text(&document::verdict(&summary, training));
    let page = out.join(files::REPORT_HTML);
    let report = Report::new(summary.text(&verdict, &page.display().to_string()), &summary);
    folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: report.json.clone() })?;
    Ok(Outcome::Done(report))
}

fn sum(examples: &[ExampleTotals]) -> LossTotals {
    summary::total(examples)
}

fn verdict_text(verdict: &Verdict) -> String {
    let notes = verdict.notes.iter().map(|note| format!("\n  {note}"));
    format!("{}{}", verdict.sentence, notes.collect::<String>())
}
