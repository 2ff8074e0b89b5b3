//! How ingest strings the libraries together: find the files, see whether they are done already, read and write,
//! seal the folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::Result;
use artifact::files::REPORT_HTML;
use artifact::{Committed, FileRecord, Identity, Manifest, OutputFolder, Rows, hash_file};
use cli::{Hint, Outcome, Progress, Report, Unit, Usage};
use dataset::contamination::Unseen;
use dataset::exclusion::Excluded;
use dataset::ingest::{Options, Summary, kept_labels};
use dataset::inputs::{Input, InputSet, discover};
use serde::Serialize;

use crate::args::Args;
use crate::output::{self, Tables, Watched, Written};
use crate::{options, page, report};

const STAGE: &str = "retune-ingest";

/// Runs the stage.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    ingest(args).map_err(usage).hint_from(|error| error.downcast_ref::<dataset::Error>().and_then(dataset::Error::hint))
}

/// An option that cannot be understood is wrong usage, whoever found out.
fn usage(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<dataset::Error>() {
        Some(option @ dataset::Error::Option { hint, .. }) if hint.is_empty() => Usage(option.to_string()).into(),
        Some(option @ dataset::Error::Option { hint, .. }) => Usage(format!("{option}\nhint: {hint}")).into(),
        _ => error,
    }
}

fn ingest(args: &Args) -> Result<Outcome> {
    let found = discover(&args.inputs)?;
    let mut options = options::options(args, &found)?;
    options.aligned = aligned(args, &found)?;
    options.keep.extend(kept_labels(&found.inputs, &options)?);
    if args.dry_run {
        options.unseen = unseen(args)?;
        options.excluded = excluded(args)?;
        let (summary, _) = read(&found, &options, None)?;
        if args.report {
            cli::note("--report: a dry run writes no report.html either");
        }
        return Ok(Outcome::Done(report::report(&summary, &found, None)));
    }
    let folder = args.output.folder()?;
    if folder == Path::new("-") {
        return stream(args, &found, options);
    }
    if args.rejects.is_some() {
        return Err(Usage("--rejects is for `--out -`: a folder has its own rejects.parquet".into()).into());
    }
    let inputs = input_paths(args, &found, &options);
    cli::refuse_to_replace(("--out", folder), STAGE, inputs.iter().map(PathBuf::as_path), args.output.force)?;
    let from_stdin = found.inputs.iter().any(|input| input.path.is_none());
    let mut known = None;
    if Manifest::read(folder).is_ok_and(|manifest| manifest.is_some()) {
        let identity = identity(args, &found, &options)?;
        if let Some(outcome) = cli::up_to_date(folder, &identity, args.output.force || from_stdin)? {
            return Ok(outcome);
        }
        known = Some(identity);
    }
    options.unseen = unseen(args)?;
    options.excluded = excluded(args)?;
    let output = OutputFolder::open(folder)?;
    options.scratch = Some(folder.to_path_buf());
    let kept: Vec<String> = options.keep.iter().map(|kept| kept.name.clone()).collect();
    let tables = Tables::folder(&output, &options.split.splits(), &kept)?;
    // Where nothing could be up to date, the inputs are hashed while they are read.
    let (read, identity) = std::thread::scope(|scope| {
        let hashing = known.is_none().then(|| scope.spawn(|| identity(args, &found, &options)));
        let read = read(&found, &options, Some(tables));
        let hashed = hashing.and_then(|hashing| hashing.join().ok());
        (read, hashed)
    });
    let (summary, written) = match read {
        Err(error) if is_interrupt(&error) => return Ok(interrupted()),
        read => read?,
    };
    let identity = match (known, identity) {
        (Some(identity), _) => identity,
        (None, Some(identity)) => identity?,
        (None, None) => self::identity(args, &found, &options)?,
    };
    let mut outputs = match written {
        Some(Written::Folder(files)) => files,
        Some(Written::Stream(tables)) => tables.finish()?,
        None => Vec::new(),
    };
    if args.report {
        outputs.push(output.stage_bytes(REPORT_HTML, page::page(&summary, args)?.as_bytes())?);
    }
    let report = report::report(&summary, &found, Some(folder));
    output.commit(Committed {
        outputs,
        identity,
        seed: Some(args.output.seed),
        rows: Some(rows(&summary)),
        summary: report.json.clone(),
    })?;
    Ok(Outcome::Done(report))
}

/// Every file that is read.
fn input_paths(args: &Args, found: &InputSet, options: &Options) -> Vec<PathBuf> {
    let inputs = found.inputs.iter().chain(&options.aligned).filter_map(|input| input.path.clone());
    inputs.chain(args.other_files()).collect()
}

fn rows(summary: &Summary) -> Rows {
    let Summary { read, written, rejected, repeated, .. } = *summary;
    Rows { read, written, rejected, repeated }
}

fn is_interrupt(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(dataset::Error::Interrupted))
}

fn interrupted() -> Outcome {
    Outcome::Interrupted(Report { text: "interrupted: nothing was written".to_owned(), ..Report::default() })
}

/// `--out -`: examples of all splits in one Arrow IPC stream.
fn stream(args: &Args, found: &InputSet, mut options: Options) -> Result<Outcome> {
    for (given, flag) in [(args.common.json, "--json"), (args.report, "--report")] {
        if given {
            return Err(Usage(format!("{flag} cannot be used with `--out -`: standard output is the stream")).into());
        }
    }
    if let Some(rejects) = &args.rejects {
        let inputs = input_paths(args, found, &options);
        cli::refuse_own_input("--rejects", rejects, inputs.iter().map(PathBuf::as_path))?;
    }
    options.unseen = unseen(args)?;
    options.excluded = excluded(args)?;
    let kept: Vec<String> = options.keep.iter().map(|kept| kept.name.clone()).collect();
    let tables = Tables::stream(args.rejects.as_deref(), &kept)?;
    let (summary, written) = match read(found, &options, Some(tables)) {
        Err(error) if is_interrupt(&error) => return Ok(interrupted()),
        read => read?,
    };
    if let Some(Written::Stream(tables)) = written {
        tables.finish()?;
    }
    let mut report = report::report(&summary, found, Some(Path::new("standard output")));
    if summary.rejected > 0 && args.rejects.is_none() {
        report.text.push_str("\nnote: the rejected rows were not kept: --rejects FILE.parquet keeps them");
    }
    Ok(Outcome::Done(report))
}

/// Reads all inputs; the tables are written, and completed where they are files, by a thread of their own.
fn read(found: &InputSet, options: &Options, tables: Option<Tables>) -> Result<(Summary, Option<Written>)> {
    /// Chunks that may wait for the writer.
    const WAITING: usize = 4;
    let sizes = found.inputs.iter().chain(&options.aligned).map(|input| input.size);
    let progress = Progress::new("reading", sizes.sum(), Unit::Bytes);
    let interrupt = cli::watch_interrupts("stopping: nothing will be written")?;
    let bytes = Arc::new(dataset::inputs::Progress::default());
    let (summary, written) = std::thread::scope(|scope| {
        let (sender, parcels) = sync_channel(WAITING);
        let writer = tables.map(|tables| scope.spawn(move || output::write(tables, &parcels)));
        let mut sink = Watched { writer: writer.as_ref().map(|_| sender), progress: &progress, interrupt: &interrupt };
        let summary = dataset::ingest::run(&found.inputs, options, &bytes, &mut sink);
        drop(sink);
        let written = writer.map(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (summary, written)
    });
    // Where writing failed, that is the reason.
    let written = written.transpose()?.flatten();
    let summary = Summary { excluded: options.excluded.as_ref().map(Excluded::counts), ..summary? };
    let Some((written, (examples, rejected))) = written else { return Ok((summary, None)) };
    if (examples, rejected) != (summary.written, summary.rejected) {
        return Err(dataset::Error::RowsDoNotAddUp { read: summary.read, written: examples, rejected }.into());
    }
    Ok((summary, Some(written)))
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
        split: &'a str,
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
    let split = args.split(found);
    Ok(cli::identity(STAGE, &Resolved { args, split, seed: args.output.seed }, records))
}

fn unseen(args: &Args) -> Result<Unseen> {
    if args.decontaminate.is_empty() {
        return Ok(Unseen::default());
    }
    let files = discover(&args.decontaminate)?;
    Ok(dataset::contamination::read(&files.inputs)?)
}

fn excluded(args: &Args) -> Result<Option<Excluded>> {
    if args.exclude.is_empty() {
        return Ok(None);
    }
    let files = discover(&args.exclude)?;
    Ok(Some(dataset::exclusion::read(&files.inputs)?))
}
