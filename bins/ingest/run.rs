//! How ingest strings the libraries together: find the files, see whether they are done already, read and write,
//! seal the folder.

use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Result;
use artifact::{Committed, FileRecord, Identity, OutputFolder, Rows, hash_file};
use cli::{Hint, Outcome, Progress, Report, Unit, Usage};
use dataset::contamination::Unseen;
use dataset::duplicates::Dedup;
use dataset::ingest::{KeptColumn, OnBadRecord, Options, Summary};
use dataset::inputs::{Container, Encoding, Input, InputSet, discover};
use dataset::mapping::Mapping;
use dataset::records::{ReadOptions, RecordsPath, TextSplit};
use dataset::split::{SplitBy, SplitPlan};
use serde::Serialize;

use crate::args::{self, Args};
use crate::output::{Tables, Watched};
use crate::report;

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    ingest(args).map_err(usage).hint_from(|error| error.downcast_ref::<dataset::Error>().and_then(dataset::Error::hint))
}

/// An option that cannot be understood is wrong usage, whoever found out.
fn usage(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<dataset::Error>() {
        Some(option @ dataset::Error::Option { hint, .. }) => Usage(format!("{option}\nhint: {hint}")).into(),
        _ => error,
    }
}

fn ingest(args: &Args) -> Result<Outcome> {
    let mut options = options(args)?;
    let found = discover(&args.inputs)?;
    options.aligned = aligned(args, &found)?;
    if args.dry_run {
        options.unseen = unseen(args)?;
        let (summary, _) = read(&found, &options, None)?;
        return Ok(Outcome::Done(report::report(&summary, &found, None)));
    }
    let folder = args.output.folder()?;
    let identity = identity(args, &found, &options)?;
    let from_stdin = found.inputs.iter().any(|input| input.path.is_none());
    if let Some(outcome) = cli::up_to_date(folder, &identity, args.output.force || from_stdin)? {
        return Ok(outcome);
    }
    options.unseen = unseen(args)?;
    let output = OutputFolder::open(folder)?;
    let kept: Vec<String> = options.keep.iter().map(|kept| kept.name.clone()).collect();
    let tables = Tables::begin(&output, &options.split.splits(), &kept)?;
    let read = read(&found, &options, Some(tables));
    let (summary, tables) = match read {
        Err(error) if matches!(error.downcast_ref(), Some(dataset::Error::Interrupted)) => {
            let text = "interrupted: nothing was written".to_owned();
            return Ok(Outcome::Interrupted(Report { text, ..Report::default() }));
        }
        read => read?,
    };
    let outputs = tables.map(Tables::finish).transpose()?.unwrap_or_default();
    let report = report::report(&summary, &found, Some(folder));
    let rows = Rows { read: summary.read, written: summary.written, rejected: summary.rejected, repeated: 0 };
    output.commit(Committed {
        outputs,
        identity,
        seed: Some(args.output.seed),
        rows: Some(rows),
        summary: report.json.clone(),
    })?;
    Ok(Outcome::Done(report))
}

fn read(found: &InputSet, options: &Options, tables: Option<Tables>) -> Result<(Summary, Option<Tables>)> {
    let sizes = found.inputs.iter().chain(&options.aligned).map(|input| input.size);
    let progress = Progress::new("reading", sizes.sum(), Unit::Bytes);
    let interrupt = cli::watch_interrupts("stopping: nothing will be written")?;
    let mut sink = Watched { tables, progress: &progress, interrupt: &interrupt };
    let bytes = Arc::new(dataset::inputs::Progress::default());
    let summary = dataset::ingest::run(&found.inputs, options, &bytes, &mut sink)?;
    let tables = sink.tables;
    if let Some((written, rejected)) = tables.as_ref().map(Tables::rows)
        && (written, rejected) != (summary.written, summary.rejected)
    {
        return Err(dataset::Error::RowsDoNotAddUp { read: summary.read, written, rejected }.into());
    }
    Ok((summary, tables))
}

fn options(args: &Args) -> Result<Options> {
    let wrong = |option: &'static str, hint: &str| {
        let hint = hint.to_owned();
        move |detail: String| dataset::Error::Option { option, detail, hint }
    };
    let records = args.records.as_deref().map(RecordsPath::parse).transpose();
    let keep: Result<Vec<KeptColumn>, String> = args.keep.iter().map(|column| KeptColumn::parse(column)).collect();
    let split = match args.all_as {
        Some(part) => SplitPlan::All(part.into()),
        None => {
            let hint = "for example --split train=0.9,validation=0.05,test=0.05";
            let shares = SplitPlan::parse_shares(&args.split).map_err(wrong("--split", hint))?;
            SplitPlan::Shares { shares, seed: args.output.seed }
        }
    };
    let threads = args.common.threads.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
    Ok(Options {
        read: ReadOptions {
            container: args.input_format.as_deref().and_then(Container::by_label),
            encoding: args.encoding.as_deref().and_then(Encoding::by_name),
            records: records.map_err(wrong("--records", "for example --records 'data[].paragraphs[].qas[]'"))?,
            text_split: TextSplit::parse(&args.text_split).map_err(wrong("--text-split", ""))?,
        },
        aligned: Vec::new(),
        shape: args.format.shape(),
        mapping: Mapping::parse(&args.map)?,
        keep: keep.map_err(wrong("--keep", "for example --keep topic,original_id=id"))?,
        on_bad_record: match args.on_bad_record {
            args::BadRecord::Fail => OnBadRecord::Fail,
            args::BadRecord::Reject => OnBadRecord::Reject,
        },
        min_chars: args.min_chars,
        max_chars: args.max_chars,
        dedup: match args.dedup {
            args::Dedup::Off => Dedup::Off,
            args::Dedup::Exact => Dedup::Exact,
            args::Dedup::Near => Dedup::Near,
        },
        unseen: Unseen::default(),
        split,
        split_by: match args.split_by.as_str() {
            "content" => SplitBy::Content,
            "prompt" => SplitBy::Prompt,
            column => SplitBy::Column(column.to_owned()),
        },
        threads,
    })
}

/// The partner of each input.
fn aligned(args: &Args, found: &InputSet) -> Result<Vec<Input>> {
    if args.aligned.is_empty() {
        return Ok(Vec::new());
    }
    let partners = discover(&args.aligned)?.inputs;
    if partners.len() != found.inputs.len() {
        let (left, right) = (found.inputs.len(), partners.len());
        return Err(dataset::Error::Option {
            option: "--aligned",
            detail: format!("expected a partner for each of {left} inputs, found {right}"),
            hint: "name both in the same order: a.en b.en --aligned a.de b.de".into(),
        }
        .into());
    }
    Ok(partners)
}

/// What decides whether the folder is up to date.
fn identity(args: &Args, found: &InputSet, options: &Options) -> Result<Identity> {
    #[derive(Serialize)]
    struct Resolved<'a> {
        #[serde(flatten)]
        args: &'a Args,
        seed: u64,
    }
    let mut records = Vec::new();
    for input in found.inputs.iter().chain(&options.aligned) {
        records.push(match &input.path {
            Some(path) => hash_file(path, input.name.clone())?,
            // Standard input can be read once: it is never up to date.
            None => FileRecord { name: "-".into(), bytes: 0, sha256: String::new() },
        });
    }
    for path in args.other_files() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        records.push(hash_file(&path, name)?);
    }
    Ok(cli::identity("retune-ingest", &Resolved { args, seed: args.output.seed }, records))
}

fn unseen(args: &Args) -> Result<Unseen> {
    if args.decontaminate.is_empty() {
        return Ok(Unseen::default());
    }
    let files = discover(&args.decontaminate)?;
    Ok(dataset::contamination::read(&files.inputs)?)
}
