//! `retune-tokenize` from start to end: find the inputs, make the encoder, work through the splits, seal the folder.

use crate::args::Args;
use crate::inputs::Inputs;
use crate::making;
use crate::report::Summary;
use crate::split::{Outcome, Rules, SplitWork};
use anyhow::{Result, anyhow};
use artifact::{Committed, FinishedFile, OutputFolder, RejectWriter, Rows, Split, TokenWriter};
use cli::{Hint, Report};
use encoding::{Overflow, Packing, Render, TrainOn, tokenizer_files};
use serde::Serialize;
use std::collections::BTreeMap;

/// The options that decide the result.
#[derive(Serialize)]
struct Options {
    max_length: Option<u32>,
    new_tokenizer: Option<String>,
    overflow: Overflow,
    pack: Packing,
    render: Render,
    template_date: Option<String>,
    template_variables: BTreeMap<String, serde_json::Value>,
    train_on: TrainOn,
}

impl Options {
    fn new(args: &Args) -> Self {
        Self {
            max_length: args.max_length,
            new_tokenizer: args.new_tokenizer.map(|asked| asked.to_string()),
            overflow: args.overflow,
            pack: args.pack,
            render: args.render,
            template_date: args.template_date.map(|day| day.to_string()),
            template_variables: args.template_variable.iter().cloned().collect(),
            train_on: args.train_on,
        }
    }
}

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<cli::Outcome> {
    let out = args.output.folder()?;
    let inputs = Inputs::find(args)?;
    let identity = cli::identity("retune-tokenize", &Options::new(args), inputs.records.clone());
    if let Some(outcome) = cli::up_to_date(out, &identity, args.output.force)? {
        return Ok(outcome);
    }
    let encoder = making::encoder(args, &inputs)?;
    let max_length = inputs.limits.row_length(args.max_length, encoder.tokenizer().facts().model_max_length)?;
    let folder = OutputFolder::open(out)?;
    let rules = Rules {
        encoder: &encoder,
        max_length,
        overflow: args.overflow,
        packing: args.pack,
        vocabulary: inputs.limits.vocabulary,
    };
    let (outcomes, mut outputs) = encode_splits(&rules, &inputs, &folder)?;
    check(&outcomes, max_length)?;
    for (name, bytes) in tokenizer_files(encoder.tokenizer(), encoder.template()) {
        outputs.push(folder.stage_bytes(name, &bytes)?);
    }
    let rows = rows(&outcomes);
    warn(&outcomes);
    let summary = Summary::new(&encoder, max_length, outcomes);
    let report = Report::new(summary.text(&out.display().to_string()), &summary);
    folder.commit(Committed { outputs, identity, seed: None, rows: Some(rows), summary: report.json.clone() })?;
    Ok(cli::Outcome::Done(report))
}

type Encoded = (Vec<(Split, Outcome)>, Vec<FinishedFile>);

fn encode_splits(rules: &Rules<'_>, inputs: &Inputs, folder: &OutputFolder) -> Result<Encoded> {
    let mut rejects = RejectWriter::new(folder.stage("rejects.parquet")?)?;
    let (mut outcomes, mut outputs) = (Vec::new(), Vec::new());
    for (split, path) in &inputs.splits {
        let writer = TokenWriter::new(folder.stage(&split.file_name())?)?;
        let (outcome, writer) = SplitWork::new(rules, writer, &mut rejects).run(path, split.as_str())?;
        outputs.push(writer.finish()?);
        outcomes.push((*split, outcome));
    }
    outputs.push(rejects.finish()?);
    Ok((outcomes, outputs))
}

/// Refuses a result that would surprise: examples too long without a policy, or nothing left to train on.
fn check(outcomes: &[(Split, Outcome)], max_length: usize) -> Result<()> {
    let too_long: u64 = outcomes.iter().map(|(_, outcome)| outcome.too_long_count).sum();
    if too_long > 0 {
        let longest = outcomes.iter().map(|(_, outcome)| outcome.longest).max().unwrap_or(0);
        let mut lines: Vec<String> =
            outcomes.iter().flat_map(|(_, outcome)| outcome.too_long.clone()).take(10).collect();
        if too_long > lines.len() as u64 {
            lines.push(format!("and {} more", too_long - lines.len() as u64));
        }
        return Err(anyhow!(
            "{} than --max-length {max_length}, up to {longest} tokens:\n  {}",
            if too_long == 1 { "1 example is longer".to_owned() } else { format!("{too_long} examples are longer") },
            lines.join("\n  ")
        ))
        .hint(format!(
            "choose --overflow truncate (cut the end), split (into pieces) or drop (leave out, listed in \
             rejects.parquet), or a --max-length of {longest} where the model and memory allow it"
        ));
    }
    for (split, outcome) in outcomes {
        if outcome.read > 0 && outcome.written == 0 {
            return Err(anyhow!(
                "no example of the {} split can be trained on: all {} were refused, the first because {}",
                split.as_str(),
                outcome.read,
                outcome.first_reason.as_deref().unwrap_or("of its length"),
            ))
            .hint("look at what was ingested, and at --train-on, --render and --overflow");
        }
    }
    Ok(())
}

fn rows(outcomes: &[(Split, Outcome)]) -> Rows {
    let sum = |count: fn(&Outcome) -> u64| outcomes.iter().map(|(_, outcome)| count(outcome)).sum();
    Rows {
        read: sum(|outcome| outcome.read),
        written: sum(|outcome| outcome.written),
        rejected: sum(|outcome| outcome.rejected),
    }
}

fn warn(outcomes: &[(Split, Outcome)]) {
    let sum = |count: fn(&Outcome) -> u64| outcomes.iter().map(|(_, outcome)| count(outcome)).sum::<u64>();
    let straddling = sum(|outcome| outcome.statistics.straddling_tokens);
    if straddling > 0 {
        cli::warn(&format!(
            "{straddling} answers begin inside a token that also covers the end of the prompt, as nothing separates the \
             two; such tokens are trained, but a prompt alone encodes otherwise: let the answer begin with the space or \
             line break between them (retune-ingest --map takes templates), or use --render chat"
        ));
    }
    let injected = sum(|outcome| outcome.statistics.injected_tokens);
    if injected > 0 {
        cli::warn(&format!(
            "the messages themselves spell {injected} special tokens, which the model takes for its own marks; \
             remove them from the data unless that is meant"
        ));
    }
}
