//! `retune-evaluate` from start to end: find, measure the model and its base, judge, seal the folder.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use artifact::{
    Committed, ExampleLossWriter, FileRecord, Identity, OutputFolder, Split, files, hash_file, resolve_split,
};
use cli::{Hint, Outcome, Report};
use encoding::Tokenizer;
use model::Decoder;
use report::{Verdict, sparkline};
use retune::subject::{Loaded, Subject};
use retune::tokens::{Limits, check_tokenizer};
use serde::Serialize;

use crate::args::{Args, SplitName};
use crate::choices::{self, Questions};
use crate::data_counts::DataCounts;
use crate::document::{self, Findings};
use crate::fit::{self, Run};
use crate::groups::{self, KeptColumns};
use crate::loss::{ExampleTotals, Tokens};
use crate::summary::{self, ChoicesSummary, GeneralSummary, Summary};
use crate::suspects::{self, Courses};
use crate::{compare, general, preference};

/// The options that decide the result.
#[derive(Serialize)]
struct Options {
    splits: Vec<String>,
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
    /// Each split with its file; a bare file stands for one.
    tokens: Vec<(String, PathBuf)>,
    subject: Subject,
    baseline: Baseline,
    metrics: Option<PathBuf>,
    history: Option<PathBuf>,
    data: Vec<PathBuf>,
    counts: DataCounts,
    inputs: Vec<FileRecord>,
}

/// The examples of one split under both models.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) split: String,
    pub(crate) tuned: Vec<ExampleTotals>,
    pub(crate) baseline: Option<Vec<ExampleTotals>>,
}

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    if !args.compare.is_empty() {
        return compare::run(args);
    }
    let out = args.output.folder()?;
    let named = [&args.tokens, &args.adapter, &args.data, &args.choices].into_iter().flatten().chain(&args.general);
    let models = [&args.model, &args.baseline].into_iter().flatten().map(Path::new);
    let inputs = named.map(PathBuf::as_path).chain(models);
    cli::refuse_to_replace(("--out", out), "retune-evaluate", inputs, args.output.force)?;
    let found = find(args)?;
    let splits = found.tokens.iter().map(|(split, _)| split.clone()).collect();
    let options = Options { splits, baseline: !matches!(found.baseline, Baseline::None) };
    let identity = found.subject.name_origins(cli::identity("retune-evaluate", &options, found.inputs.clone()));
    if let Some(outcome) = cli::up_to_date(out, &identity, args.output.force)? {
        return Ok(outcome);
    }
    let loaded = found.subject.load()?;
    let base = base_decoder(&found, &loaded)?;
    if preference::holds_pairs(&found.tokens)? {
        return pairs(args, &found, identity, (&loaded, base.as_ref()));
    }
    let tokenizer = tokenizer(args, &found);
    // Before the work, not after it: that it can be written, and by nobody else meanwhile.
    let folder = OutputFolder::open(out)?;
    let mut measured = Vec::new();
    for (split, path) in &found.tokens {
        let tokens = Tokens::read(path, Limits::of(&loaded.config), tokenizer.as_ref())?;
        let tuned = tokens.measure(&loaded.decoder, &format!("model, {split}"))?;
        let baseline = base.as_ref().map(|base| tokens.measure(base, &format!("base, {split}"))).transpose()?;
        tracing::info!("{} rows of {split} measured", tokens.rows());
        measured.push(Measured { split: split.clone(), tuned, baseline });
    }
    let more = More::measure(args, &loaded, base.as_ref(), tokenizer.as_ref())?;
    write(folder, &found, identity, &measured, more)
}

/// Measures preference pairs instead.
fn pairs(args: &Args, found: &Found, identity: Identity, models: (&Loaded, Option<&Decoder>)) -> Result<Outcome> {
    let [(split, path)] = &found.tokens[..] else {
        return Err(
            cli::Usage("preference pairs are measured one split at a time: name one with --split".into()).into()
        );
    };
    if !args.general.is_empty() || args.choices.is_some() {
        let what = "--general and --choices do not go with preference pairs";
        return Err(cli::Usage(what.into()).into());
    }
    let pairs = preference::Pairs::read(path, Limits::of(&models.0.config))?;
    let folder = OutputFolder::open(args.output.folder()?)?;
    let tuned = pairs.measure(&models.0.decoder)?;
    let baseline = models.1.map(|base| pairs.measure(base)).transpose()?;
    let validation = Some(pairs.len()).filter(|_| split == Split::Validation.as_str());
    let run =
        found.metrics.as_ref().map(|path| Run::read(path, found.subject.tuned_folder(), validation)).transpose()?;
    let place = (folder, split.clone(), found.subject.name());
    let known = (identity, found.inputs.as_slice(), &found.counts, run.as_ref());
    preference::write(place, known, pairs, (&tuned, baseline.as_deref()))
}

/// What is measured beside the tokens.
#[derive(Default)]
struct More {
    general: Option<GeneralSummary>,
    questions: Option<(Questions, choices::Answers, Option<choices::Answers>)>,
}

impl More {
    fn measure(args: &Args, loaded: &Loaded, base: Option<&Decoder>, tokenizer: Option<&Tokenizer>) -> Result<Self> {
        if args.general.is_empty() && args.choices.is_none() {
            return Ok(Self::default());
        }
        let tokenizer = tokenizer.ok_or_else(|| anyhow!("no tokenizer.json in the model's folder"))?;
        let context = loaded.config.context();
        let mut more = Self::default();
        if !args.general.is_empty() {
            let tokens = general::read(&args.general, tokenizer, context)?;
            let sum = |examples: Vec<ExampleTotals>| {
                let summary = summary::total(&examples).summary();
                summary.ok_or_else(|| anyhow!("--general has no text to predict")).hint("name a file with text in it")
            };
            more.general = Some(GeneralSummary {
                documents: tokens.documents(),
                tuned: sum(tokens.measure(&loaded.decoder, "model, general text")?)?,
                baseline: base.map(|base| sum(tokens.measure(base, "base, general text")?)).transpose()?,
            });
        }
        if let Some(path) = &args.choices {
            let questions = Questions::read(path, tokenizer, context)?;
            let tuned = questions.answers(&loaded.decoder, "model, choices")?;
            let baseline = base.map(|base| questions.answers(base, "base, choices")).transpose()?;
            more.questions = Some((questions, tuned, baseline));
        }
        Ok(more)
    }
}

fn find(args: &Args) -> Result<Found> {
    let (Some(tokens), Some(model)) = (args.tokens.as_deref(), args.model.as_deref()) else {
        return Err(cli::Usage("TOKENS and --model are needed, or --compare".to_owned()).into());
    };
    let splits = SplitName::splits(&args.split);
    let subject = Subject::find(model, args.adapter.as_deref())?;
    let files_of_splits = token_files(tokens, &splits, args.split.contains(&SplitName::All))?;
    let baseline = find_baseline(args, &subject)?;
    check_tokenizer(tokens, subject.tokenizer_folder())?;
    if let Baseline::Model(base) = &baseline {
        check_tokenizer(tokens, base.tokenizer_folder())?;
    }
    let beside = |name: &str| Some(subject.tuned_folder().join(name)).filter(|path| path.is_file());
    let (metrics, history) = (fit::metrics_file(subject.tuned_folder()), beside(files::EXAMPLE_LOSSES));
    let mut inputs = Vec::new();
    for (split, path) in &files_of_splits {
        let name = if tokens.is_dir() { format!("tokens/{split}.parquet") } else { "tokens.parquet".to_owned() };
        inputs.push(hash_file(path, name)?);
    }
    inputs.extend(subject.records()?);
    if let Baseline::Model(base) = &baseline {
        let records = base.records()?.into_iter();
        inputs.extend(records.map(|record| FileRecord { name: format!("baseline/{}", record.name), ..record }));
    }
    let data = args.data.as_deref().map(|data| groups::data_files(data, &splits)).transpose()?.unwrap_or_default();
    let numbered = |folder: &str, paths: &[PathBuf]| -> Result<Vec<FileRecord>> {
        let record = |(index, path): (usize, &PathBuf)| Ok(hash_file(path, format!("{folder}/{}", index + 1))?);
        paths.iter().enumerate().map(record).collect()
    };
    inputs.extend(numbered("data", &data)?);
    inputs.extend(numbered("general", &args.general)?);
    inputs.extend(numbered("choices", args.choices.as_slice())?);
    for (path, name) in [(&metrics, files::METRICS), (&history, files::EXAMPLE_LOSSES)] {
        inputs.extend(path.as_ref().map(|path| hash_file(path, name)).transpose()?);
    }
    let counts = DataCounts::find(args.data.as_deref(), tokens)?;
    inputs.extend(counts.records()?);
    Ok(Found { tokens: files_of_splits, subject, baseline, metrics, history, data, counts, inputs })
}

/// The file of each split; where all were asked for, of those that are there.
fn token_files(tokens: &Path, splits: &[Split], all: bool) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for &split in splits {
        match resolve_split(tokens, split, "retune-tokenize")? {
            Some(path) if tokens.is_dir() => found.push((split.as_str().to_owned(), path)),
            Some(path) => return Ok(vec![(summary::FILE.to_owned(), path)]),
            None if all => {}
            None => {
                return Err(anyhow!("{} has no {} split", tokens.display(), split.as_str()))
                    .hint("choose another one with --split, or ingest with a share for it");
            }
        }
    }
    Ok(found)
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

/// The tokenizer that made the tokens, where one lies beside them, or else the model's.
fn tokenizer(args: &Args, found: &Found) -> Option<Tokenizer> {
    let folders = [args.tokens.as_deref(), Some(found.subject.tuned_folder()), Some(found.subject.folder())];
    let mut with_one = folders.into_iter().flatten().filter(|folder| folder.join(files::TOKENIZER).is_file());
    Tokenizer::open(with_one.next()?).ok()
}

fn write(
    folder: OutputFolder,
    found: &Found,
    identity: Identity,
    measured: &[Measured],
    more: More,
) -> Result<Outcome> {
    let mut courses = Courses::read(found.history.as_deref())?;
    let validation = courses.examples(Split::Validation.as_str());
    let read = |path: &PathBuf| Run::read(path, found.subject.tuned_folder(), validation);
    let training = found.metrics.as_ref().map(read).transpose()?;
    measured.iter().for_each(|split| courses.add(split));
    let suspects = courses.suspects();
    let examples: Vec<_> = measured.iter().flat_map(summary::example_losses).collect();
    let summary = summarise(found, measured, &more, training.as_ref(), &suspects)?;
    let findings = Findings {
        model: found.subject.name(),
        summary: &summary,
        run: training.as_ref(),
        examples: &examples,
        suspects: &suspects,
        data: &found.counts,
        inputs: &found.inputs,
    };
    let document = findings.document();
    let mut table = ExampleLossWriter::new(folder.stage(files::EXAMPLES)?)?;
    table.write(&examples)?;
    let mut outputs = vec![
        folder.stage_bytes(files::METRICS_JSON, &files::to_json(&summary))?,
        table.finish()?,
        suspects::write(&folder, &suspects)?,
    ];
    if let Some((questions, tuned, baseline)) = &more.questions {
        outputs.push(questions.write(&folder, tuned, baseline.as_ref())?);
    }
    outputs.extend(retune::pages::stage(&folder, &document)?);
    let verdict = verdict_text(&document::verdict(&summary, training.as_ref()));
    let page = folder.path().join(files::REPORT_HTML);
    let curves = training.as_ref().map(curves).unwrap_or_default();
    let report = Report::new(summary.text(&verdict, &curves, &page.display().to_string()), &summary);
    folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: report.json.clone() })?;
    Ok(Outcome::Done(report))
}

fn summarise(
    found: &Found,
    measured: &[Measured],
    more: &More,
    training: Option<&Run>,
    suspects: &[suspects::SuspectRow],
) -> Result<Summary> {
    let first = &measured[0];
    let columns = KeptColumns::read(&found.data)?;
    let splits = measured
        .iter()
        .flat_map(|split| groups::by_value(&split.tuned, split.baseline.as_deref(), |_| split.split.clone()));
    Ok(Summary {
        split: first.split.clone(),
        examples: first.tuned.iter().filter(|example| example.totals.tokens > 0).count(),
        tuned: summary::total(&first.tuned).summary().expect("a file without trained tokens was refused"),
        baseline: first.baseline.as_ref().and_then(|examples| summary::total(examples).summary()),
        splits: if measured.len() > 1 { splits.collect() } else { Vec::new() },
        sources: summary::by_source(first),
        columns: columns.groups(&first.tuned, first.baseline.as_deref()),
        general: more.general.clone(),
        choices: more.questions.as_ref().map(|(questions, tuned, baseline)| ChoicesSummary {
            tuned: questions.summary(tuned),
            baseline: baseline.as_ref().map(|answers| questions.summary(answers)),
        }),
        suspects: suspects::counts(suspects),
        fit: training.map(|run| run.fit.clone()),
    })
}

/// The run's curves in a line each.
fn curves(run: &Run) -> String {
    let line = |name: &str, values: Vec<f64>| match values.len() {
        0 | 1 => String::new(),
        _ => format!("\n{name} {}", sparkline(&values, 40)),
    };
    let losses = |curve: Vec<metrics::CurvePoint>| curve.into_iter().map(|point| point.loss).collect();
    let training = line("training loss  ", losses(run.curve(|row| row.loss)));
    training + &line("validation loss", losses(run.curve(|row| row.validation_loss)))
}

fn verdict_text(verdict: &Verdict) -> String {
    let notes = verdict.notes.iter().map(|note| format!("\n  {note}"));
    format!("{}{}", verdict.sentence, notes.collect::<String>())
}
