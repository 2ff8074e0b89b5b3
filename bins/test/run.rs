//! `retune-test` from start to end: answers from a model or from a file, scores, gates, the sealed folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use artifact::{
    Committed, FileRecord, Identity, OutputFolder, Predictions, Rows, Split, files, hash_file, resolve_split,
    write_predictions,
};
use cli::{Hint, Interrupt, Outcome, Report};
use encoding::{ExampleEncoder, Render};
use generation::{Finish, Generated};
use metrics::Bootstrap;
use model::Decoder;
use report::Setting;
use retune::subject::{Loaded, Subject};
use serde::Serialize;
use serde_json::Value;

use crate::args::Args;
use crate::cost::{self, Costs};
use crate::document::Findings;
use crate::foreign;
use crate::leakage;
use crate::predict::{Plan, overlong, sampling, warn_of_cut};
use crate::rows::TestRows;
use crate::scorecard::{self, GenerationFacts, Scorecard};
use crate::scorer::Limits;
use crate::scoring::Wanted;

/// The options that decide the result. The batch size does not.
#[derive(Serialize)]
struct Options {
    metrics: Vec<String>,
    regex: Vec<String>,
    scorer: Vec<String>,
    gates: Vec<String>,
    resamples: usize,
    baseline: bool,
    sampling: Option<generation::Sampling>,
    max_new_tokens: Option<usize>,
    stop: Vec<String>,
    render: Option<Render>,
    seed: u64,
}

/// Answers with their questions, however they came about.
struct Answered {
    predictions: Predictions,
    facts: Option<GenerationFacts>,
    /// Of the tuned model and of the base, where a model answered.
    costs: (Option<Costs>, Option<Costs>),
    subject: String,
    /// Sentences on rows that a reader should know of.
    oddities: Vec<String>,
}

/// The base to compare with.
enum Baseline {
    None,
    WithoutAdapter,
    Model(Subject),
}

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let out = args.output.folder()?;
    let template = &args.generation.chat_template;
    let named = [&args.data, &args.predictions, &args.adapter, template].into_iter().flatten().chain(&args.train);
    let models = [&args.model, &args.baseline].into_iter().flatten().map(Path::new);
    let inputs = named.map(PathBuf::as_path).chain(models);
    cli::refuse_to_replace(("--out", out), "retune-test", inputs, args.output.force)?;
    let wanted = Wanted::parse(&args.metrics, &args.regex, &args.scorer, &args.gate)?;
    if let (0, Some(gate)) = (args.resamples, args.gate.iter().find(|gate| gate.contains('@'))) {
        return Err(cli::Usage(format!("the gate `{gate}` needs an interval: --resamples 0 makes none")).into());
    }
    sampling(&args.generation, args.output.seed).check().map_err(|error| cli::Usage(format!("--{error}")))?;
    let source = Source::find(args, &wanted)?;
    let options = options(args, &wanted, &source);
    let training = leakage::training_files(&args.train, args.data.as_deref())?;
    let mut inputs = source.inputs()?;
    inputs.extend(leakage::records(&training)?);
    if let Some(template) = &args.generation.chat_template {
        inputs.push(hash_file(template, "chat_template")?);
    }
    let identity = source.name_origins(cli::identity("retune-test", &options, inputs));
    if let Some(outcome) = cli::up_to_date(out, &identity, args.output.force)? {
        return Ok(again(outcome));
    }
    let interrupt = match (&source, args.scorer.is_empty()) {
        (Source::File(_), true) => Interrupt::default(),
        _ => cli::watch_interrupts("stopping; once more stops at once")?,
    };
    let questions = source.questions(args)?;
    let leakage = leakage::check(questions.rows(), &training, !args.train.is_empty())?;
    match &leakage {
        Some(found) => found.warning().iter().for_each(|text| cli::warn(text)),
        None => cli::note("not checked whether training has seen the test: name the training data with --train"),
    }
    // Before hours of answers, not after them: that it can be written, and by nobody else meanwhile.
    let folder = OutputFolder::open(out)?;
    let Some(answered) = questions.answers(args, &interrupt)? else { return Ok(interrupted()) };
    let predictions = &answered.predictions;
    answered.oddities.iter().for_each(|text| cli::warn(text.trim_end_matches('.')));
    if let (None, Some(gate)) = (&predictions.baseline_prediction, wanted.needs_baseline()) {
        return Err(anyhow!(
            "the gate `{gate}` compares with the base, and {} has no answers of one",
            source.data_name()
        ))
        .hint("give each row a field baseline_prediction");
    }
    let bootstrap = Bootstrap { resamples: args.resamples as usize, seed: args.output.seed, ..Bootstrap::default() };
    let summaries = (answered.costs.0.as_ref().map(|c| c.summary), answered.costs.1.as_ref().map(|c| c.summary));
    let limits = Limits { silence: Duration::from_secs(args.scorer_timeout), interrupt };
    let scores = wanted.score(predictions, bootstrap, summaries, &limits).inspect_err(|_| {
        if answered.facts.is_some() {
            keep(&folder, predictions);
        }
    });
    let Some(scores) = scores? else { return Ok(interrupted()) };
    if let (true, Some(gate)) =
        (predictions.id.len() < metrics::FEWEST_ROWS, args.gate.iter().find(|g| g.contains('@')))
    {
        let rows = scorecard::few_rows(predictions.id.len());
        cli::warn(&format!("the gate `{gate}` rests on an interval that is narrower than it should be: {rows}"));
    }
    let findings = Findings {
        subject: answered.subject,
        data: source.data_name(),
        scores: &scores,
        predictions,
        generation: answered.facts.as_ref(),
        leakage: leakage.as_ref(),
        oddities: answered.oddities,
        inputs: &identity.inputs,
        options: settings(&serde_json::to_value(&options)?),
    };
    let document = findings.document();
    let rows = predictions.id.len();
    let card = Scorecard::new(rows, &scores, answered.facts, leakage.as_ref().map(|found| found.summary.clone()));
    let mut outputs = vec![
        write_predictions(folder.stage(files::PREDICTIONS)?, predictions, &scores.columns())?,
        folder.stage_bytes(files::SCORECARD, &files::to_json(&card))?,
    ];
    outputs.extend(retune::pages::stage(&folder, &document)?);
    if let Some(found) = &leakage {
        outputs.push(found.write(&folder, &predictions.id)?);
    }
    let mut summary = serde_json::to_value(&card)?;
    let mut text = scorecard::text(&scores, rows);
    if let Some(tuned) = &answered.costs.0 {
        let base = answered.costs.1.as_ref();
        outputs.push(cost::write(&folder, &predictions.id, tuned, base)?);
        summary["cost"] = serde_json::json!({ "tuned": tuned.summary, "baseline": base.map(|costs| costs.summary) });
        text.push_str(&report::table_text(&cost::table(&tuned.summary, base.map(|costs| &costs.summary))));
    }
    let page = out.join(files::REPORT_HTML).display().to_string();
    let report = Report { text: format!("{text}report: {page}"), json: summary.clone() };
    let balance = Some(Rows { read: rows as u64, written: rows as u64, ..Rows::default() });
    let seed = Some(args.output.seed);
    folder.commit(Committed { outputs, identity, seed, rows: balance, summary })?;
    Ok(if scores.all_held() { Outcome::Done(report) } else { Outcome::GateMissed(report) })
}

/// Keeps answers that a command failed to score, and says where.
fn keep(folder: &OutputFolder, predictions: &Predictions) {
    let file = folder.stage_beside("unscored", "parquet");
    let kept = file.and_then(|file| folder.keep(write_predictions(file, predictions, &[])?));
    match kept {
        Ok(path) => cli::note(&format!("the answers are in {0}: --predictions {0} scores them", path.display())),
        Err(error) => cli::warn(&format!("the answers are lost: {error}")),
    }
}

fn interrupted() -> Outcome {
    Outcome::Interrupted(Report::new("interrupted: nothing was written", &serde_json::json!({ "interrupted": true })))
}

/// An up-to-date folder whose gates were missed stays a failure: asking again does not open a gate.
fn again(outcome: Outcome) -> Outcome {
    let missed: Vec<String> = outcome.report().json["gates"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|gate| gate["held"] == Value::Bool(false))
        .filter_map(|gate| Some(gate["gate"].as_str()?.to_owned()))
        .collect();
    if missed.is_empty() {
        return outcome;
    }
    let mut report = outcome.report().clone();
    report.text = format!("{}\nmissed: {}", report.text, missed.join(", "));
    Outcome::GateMissed(report)
}

fn options(args: &Args, wanted: &Wanted, source: &Source) -> Options {
    let generates = matches!(source, Source::Model { .. });
    Options {
        metrics: wanted.names(),
        regex: args.regex.clone(),
        scorer: args.scorer.clone(),
        gates: args.gate.clone(),
        resamples: args.resamples as usize,
        baseline: matches!(source, Source::Model { baseline: Baseline::WithoutAdapter | Baseline::Model(_), .. }),
        sampling: generates.then(|| sampling(&args.generation, args.output.seed)),
        max_new_tokens: generates.then_some(args.generation.max_new_tokens as usize),
        stop: args.generation.stop.clone(),
        render: generates.then_some(args.generation.render),
        seed: args.output.seed,
    }
}

/// Options as lines of the report.
fn settings(options: &Value) -> Vec<Setting> {
    let entries = options.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    entries.map(|(name, value)| retune::pages::setting(name, value)).collect()
}

/// Where answers come from.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Source<'a> {
    File(&'a Path),
    Model { data: std::path::PathBuf, subject: Subject, baseline: Baseline },
}

impl<'a> Source<'a> {
    fn find(args: &'a Args, wanted: &Wanted) -> Result<Self> {
        if let Some(path) = &args.predictions {
            if let Some(gate) = wanted.needs_model() {
                return Err(
                    cli::Usage(format!("the gate `{gate}` needs a model that answers, not --predictions")).into()
                );
            }
            if !path.is_file() {
                let what = match path {
                    folder if folder.is_dir() => "is a folder, not a file",
                    pipe if pipe.exists() || pipe.as_os_str() == "-" => "is a pipe, not a file",
                    _ => "does not exist",
                };
                return Err(anyhow!("{} {what}", path.display()))
                    .hint("--predictions takes a file with the columns prediction and reference; what comes through a pipe, save first");
            }
            return Ok(Self::File(path));
        }
        let (data, model) = (args.data.as_deref(), args.model.as_deref());
        let data = data.expect("clap requires DATA without --predictions");
        let subject =
            Subject::find(model.expect("clap requires --model without --predictions"), args.adapter.as_deref())?;
        let Some(data) = resolve_split(data, Split::Test, "retune-ingest")? else {
            return Err(anyhow!("{} has no test split", data.display()))
                .hint("ingest with a share for it: retune-ingest --split train=0.8,validation=0.1,test=0.1");
        };
        let baseline = match args.baseline.as_deref() {
            None => Baseline::None,
            Some("") if subject.has_adapter() => Baseline::WithoutAdapter,
            Some("") => {
                cli::warn(
                    "--baseline has nothing to compare with: there is no --adapter; name the base with --baseline=DIR",
                );
                Baseline::None
            }
            Some(folder) => Baseline::Model(Subject::find(folder, None)?),
        };
        if let (Baseline::None, Some(gate)) = (&baseline, wanted.needs_baseline()) {
            return Err(cli::Usage(format!(
                "the gate `{gate}` compares with the base: add --baseline, or without --adapter --baseline=DIR"
            ))
            .into());
        }
        Ok(Self::Model { data, subject, baseline })
    }

    fn name_origins(&self, identity: Identity) -> Identity {
        match self {
            Self::File(_) => identity,
            Self::Model { subject, .. } => subject.name_origins(identity),
        }
    }

    fn data_name(&self) -> String {
        let path = match self {
            Self::File(path) => path,
            Self::Model { data, .. } => data.as_path(),
        };
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn inputs(&self) -> Result<Vec<FileRecord>> {
        match self {
            Self::File(path) => Ok(vec![hash_file(path, "predictions")?]),
            Self::Model { data, subject, baseline } => {
                let mut inputs = vec![hash_file(data, "test.parquet")?];
                inputs.extend(subject.records()?);
                if let Baseline::Model(base) = baseline {
                    let records = base.records()?.into_iter();
                    inputs.extend(
                        records.map(|record| FileRecord { name: format!("baseline/{}", record.name), ..record }),
                    );
                }
                Ok(inputs)
            }
        }
    }

    /// What is asked.
    fn questions(&self, args: &Args) -> Result<Questions<'_>> {
        match self {
            Self::File(path) => Ok(Questions::Answered(foreign::read(path)?, self.data_name())),
            Self::Model { data, subject, baseline } => {
                let encoder = subject.encoder(args.generation.chat_template.as_deref(), args.generation.render)?;
                let rows = TestRows::read(data, &encoder)?;
                Ok(Questions::Asked { encoder, rows, subject, baseline })
            }
        }
    }
}

/// What is asked, known before any answer is generated.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Questions<'a> {
    /// In a file that has the answers too.
    Answered(Predictions, String),
    /// Of a model.
    Asked { encoder: ExampleEncoder, rows: TestRows, subject: &'a Subject, baseline: &'a Baseline },
}

impl Questions<'_> {
    /// Id, prompt and reference of each row.
    fn rows(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let (id, prompt, reference) = match self {
            Self::Answered(rows, _) => (&rows.id, &rows.prompt, &rows.reference),
            Self::Asked { rows, .. } => (&rows.id, &rows.prompt, &rows.reference),
        };
        (0..id.len())
            .map(move |row| (id[row].as_str(), prompt[row].as_str(), reference[row].first().map_or("", String::as_str)))
    }

    /// The answers; none where the user asked to stop.
    fn answers(self, args: &Args, interrupt: &Interrupt) -> Result<Option<Answered>> {
        match self {
            Self::Answered(predictions, subject) => {
                let oddities = foreign::oddities(&predictions);
                Ok(Some(Answered { predictions, facts: None, costs: (None, None), subject, oddities }))
            }
            Self::Asked { encoder, rows, subject, baseline } => {
                generated(args, (&encoder, rows), (subject, baseline), interrupt)
            }
        }
    }
}

fn generated(
    args: &Args,
    (encoder, rows): (&ExampleEncoder, TestRows),
    (subject, baseline): (&Subject, &Baseline),
    interrupt: &Interrupt,
) -> Result<Option<Answered>> {
    let loaded = subject.load()?;
    let context = loaded.config.context();
    let plan = Plan::new(&args.generation, args.output.seed, encoder, &loaded.end_tokens, context, interrupt.clone());
    let (tuned, cost) = plan.answers(&loaded.decoder, &rows, "model")?;
    let base = base_decoder(baseline, &loaded)?;
    let base = base.filter(|_| !interrupt.requested()).map(|base| plan.answers(&base, &rows, "base")).transpose()?;
    let (base, base_cost) = base.unzip();
    if tuned.iter().chain(base.iter().flatten()).any(|answer| answer.finish == Finish::Interrupted) {
        return Ok(None);
    }
    let oddities = overlong(&rows, &tuned, context).into_iter().collect();
    warn_of_cut(&tuned, args.generation.max_new_tokens);
    let facts = Some(GenerationFacts::new(&rows.tokens, &tuned, base.as_deref()));
    let texts = |answers: Vec<Generated>| answers.into_iter().map(|answer| answer.text).collect();
    let predictions = Predictions {
        id: rows.id,
        prompt: rows.prompt,
        reference: rows.reference,
        prediction: texts(tuned),
        baseline_prediction: base.map(texts),
    };
    Ok(Some(Answered { predictions, facts, costs: (Some(cost), base_cost), subject: subject.name(), oddities }))
}

fn base_decoder(baseline: &Baseline, loaded: &Loaded) -> Result<Option<Decoder>> {
    Ok(match baseline {
        Baseline::None => None,
        Baseline::WithoutAdapter => Some(loaded.decoder.without_adapter()),
        Baseline::Model(base) => Some(base.load()?.decoder),
    })
}
