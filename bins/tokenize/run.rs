//! `retune-tokenize` from start to end: find the inputs, make the encoder, work through the splits, seal the folder.

use crate::args::{Args, Shard};
use crate::inputs::{Inputs, STREAM};
use crate::making;
use crate::pipeline::{self, Source};
use crate::report::Summary;
use crate::split::{Outcome, Rules};
use anyhow::{Result, anyhow};
use artifact::{
    Committed, ExampleReader, Identity, Kind, OutputFolder, Reject, RejectWriter, Rows, Split, TokenStream, TokenWriter,
};
use cli::format::plural;
use cli::{Hint, Report};
use encoding::{ExampleEncoder, Overflow, Packing, Render, RewrittenTurns, TemplateOrigin, TrainOn, tokenizer_files};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const STAGE: &str = "retune-tokenize";

/// The options that decide the result.
#[derive(Serialize)]
struct Options {
    max_length: Option<u32>,
    new_tokenizer: Option<String>,
    overflow: Overflow,
    pack: Packing,
    render: Render,
    rewritten_turns: RewrittenTurns,
    shard: String,
    special_tokens: Vec<String>,
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
            rewritten_turns: args.rewritten_turns,
            shard: args.shard.to_string(),
            special_tokens: args.special_token.clone(),
            template_date: args.template_date.map(|day| day.to_string()),
            template_variables: args.template_variable.iter().cloned().collect(),
            train_on: args.train_on,
        }
    }
}

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<cli::Outcome> {
    let out = args.output.folder()?;
    for (flag, folder) in std::iter::once(("--out", out)).chain(args.rejects.as_deref().map(|dir| ("--rejects", dir))) {
        let named = [&args.validation, &args.test, &args.chat_template].into_iter().flatten().chain([&args.data]);
        let inputs = named.map(PathBuf::as_path).chain(args.model.as_deref().map(Path::new));
        cli::refuse_to_replace((flag, folder), STAGE, inputs, args.output.force)?;
    }
    let inputs = Inputs::find(args)?;
    let identity = cli::identity(STAGE, &Options::new(args), inputs.records.clone())
        .with_origin("model", inputs.origin.as_deref())
        .after(&args.data);
    if out.as_os_str() == STREAM {
        return to_stream(args, &inputs, identity);
    }
    if args.rejects.is_some() {
        return Err(cli::Usage("--rejects goes with --out -; a folder holds its rejects itself".into()).into());
    }
    if !inputs.are_streamed()
        && let Some(outcome) = cli::up_to_date(out, &identity, args.output.force)?
    {
        return Ok(outcome);
    }
    let encoder = making::encoder(args, &inputs)?;
    let rules = rules(args, &inputs, &encoder)?;
    let folder = OutputFolder::open(out)?;
    let mut rejects = RejectWriter::new(folder.stage("rejects.parquet")?)?;
    let splits =
        if inputs.are_streamed() { Split::ALL.to_vec() } else { inputs.splits.iter().map(|(s, _)| *s).collect() };
    let mut tables = BTreeMap::new();
    for split in splits {
        let file = folder.stage(&split.file_name())?;
        tables.insert(split, if rules.pairs { TokenWriter::of_pairs(file)? } else { TokenWriter::new(file)? });
    }
    let note = |found: Vec<Reject>| Ok(rejects.write(&found)?);
    let (outcomes, tables) = pipeline::run(&rules, sources(&inputs)?, tables, note)?;
    if !inputs.are_streamed() && outcomes.values().all(|outcome| outcome.windows == 0) {
        return Err(anyhow!("{} holds no example: its tables have no rows", args.data.display()))
            .hint("look at what was ingested: retune-inspect shows it");
    }
    check(&outcomes, rules.max_length)?;
    let mut outputs = Vec::new();
    for (split, table) in tables {
        // Of a stream nobody knows beforehand which splits it has.
        if outcomes.contains_key(&split) {
            outputs.push(table.finish()?);
        }
    }
    outputs.push(rejects.finish()?);
    // Our own template beside rows that it did not render would have their readers ask otherwise than was trained.
    let rendered = outcomes.values().any(|outcome| outcome.rendered > 0);
    let template = Some(encoder.template()).filter(|found| rendered || *found.origin() != TemplateOrigin::Default);
    for (name, bytes) in tokenizer_files(encoder.tokenizer(), template) {
        outputs.push(folder.stage_bytes(name, &bytes)?);
    }
    let rows = rows(&outcomes);
    warn(&outcomes, args.shard);
    let summary = Summary::new(&rules, outcomes);
    let report = Report::new(summary.text(&out.display().to_string()), &summary);
    folder.commit(Committed { outputs, identity, seed: None, rows: Some(rows), summary: report.json.clone() })?;
    Ok(cli::Outcome::Done(report))
}

/// The stage with an Arrow IPC stream on standard output in place of a folder.
fn to_stream(args: &Args, inputs: &Inputs, identity: Identity) -> Result<cli::Outcome> {
    if args.common.json {
        return Err(cli::Usage("--json and --out - both want standard output".into()).into());
    }
    let encoder = making::encoder(args, inputs)?;
    let rules = rules(args, inputs, &encoder)?;
    let folder = args.rejects.as_deref().map(OutputFolder::open).transpose()?;
    let mut rejects = folder.as_ref().map(|folder| RejectWriter::new(folder.stage("rejects.parquet")?)).transpose()?;
    let note = |found: Vec<Reject>| match &mut rejects {
        Some(rejects) => Ok(rejects.write(&found)?),
        None => {
            let Reject { source_file, source_row, detail, .. } = &found[0];
            Err(anyhow!("{source_file}:{source_row}: {detail}"))
                .hint("a stream has no place for rejected rows: name a folder for them with --rejects DIR")
        }
    };
    let stream = TokenStream::new(std::io::BufWriter::with_capacity(1 << 20, std::io::stdout()))?;
    let (outcomes, stream) = pipeline::run(&rules, sources(inputs)?, stream, note)?;
    check(&outcomes, rules.max_length)?;
    let rows = rows(&outcomes);
    warn(&outcomes, args.shard);
    let summary = Summary::new(&rules, outcomes);
    let report = Report::new(summary.text("to standard output"), &summary);
    if let (Some(folder), Some(rejects)) = (folder, rejects) {
        let outputs = vec![rejects.finish()?];
        folder.commit(Committed { outputs, identity, seed: None, rows: Some(rows), summary: report.json.clone() })?;
    }
    // Last: whoever reads knows by the end of the stream that all is well.
    stream.finish()?;
    Ok(cli::Outcome::Done(report))
}

fn rules<'run>(args: &Args, inputs: &Inputs, encoder: &'run ExampleEncoder) -> Result<Rules<'run>> {
    let max_length = inputs.limits.row_length(args.max_length, encoder.tokenizer().facts().model_max_length)?;
    let vocabulary = inputs.limits.vocabulary;
    let pairs = holds_pairs(inputs)?;
    if pairs && args.overflow == Overflow::Split {
        return Err(anyhow!(
            "--overflow split cuts an example into pieces, and a preference pair is compared as a whole"
        ))
        .hint("choose --overflow truncate or drop");
    }
    Ok(Rules {
        encoder,
        max_length,
        overflow: args.overflow,
        packing: args.pack,
        shard: args.shard,
        vocabulary,
        pairs,
        render: args.render,
    })
}

fn sources(inputs: &Inputs) -> Result<Vec<Source>> {
    let streamed = inputs.are_streamed();
    let source = |(split, path): &(Split, PathBuf)| {
        Ok(Source { split: (!streamed).then_some(*split), reader: ExampleReader::open(path)? })
    };
    inputs.splits.iter().map(source).collect()
}

type Outcomes = BTreeMap<Split, Outcome>;

/// Whether the examples are preference pairs, by the first one; that all are alike is checked as they are read. Pairs
/// are not taken from a stream, which is read once.
fn holds_pairs(inputs: &Inputs) -> Result<bool> {
    if inputs.are_streamed() {
        return Ok(false);
    }
    for (_, path) in &inputs.splits {
        if let Some(first) = ExampleReader::open(path)?.next_batch()?.and_then(|batch| batch.into_iter().next()) {
            return Ok(first.kind == Kind::Preference);
        }
    }
    Ok(false)
}

/// Refuses a result that would surprise: examples too long without a policy, or nothing left to train on.
fn check(outcomes: &Outcomes, max_length: usize) -> Result<()> {
    let too_long: u64 = outcomes.values().map(|outcome| outcome.too_long_count).sum();
    if too_long > 0 {
        let longest = outcomes.values().map(|outcome| outcome.longest).max().unwrap_or(0);
        let mut lines: Vec<String> = outcomes.values().flat_map(|outcome| outcome.too_long.clone()).take(10).collect();
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

fn rows(outcomes: &Outcomes) -> Rows {
    let sum = |count: fn(&Outcome) -> u64| outcomes.values().map(&count).sum();
    Rows {
        read: sum(|outcome| outcome.read),
        written: sum(|outcome| outcome.written),
        rejected: sum(|outcome| outcome.rejected),
        ..Rows::default()
    }
}

fn warn(outcomes: &Outcomes, shard: Shard) {
    let sum = |count: fn(&Outcome) -> u64| outcomes.values().map(&count).sum::<u64>();
    for (split, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.windows < shard.count()) {
        cli::note(&format!(
            "{}: {} for {} shards: a shard takes whole windows of examples, which are packed together, so that some \
             shards get none",
            split.as_str(),
            plural(outcome.windows, "window"),
            shard.count(),
        ));
    }
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
