//! The command line as the library understands it, with a word for each option that cannot be understood.

use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Result;
use artifact::{EXAMPLE_COLUMNS, SPLIT_COLUMN};
use dataset::contamination::Unseen;
use dataset::duplicates::{Dedup, Near};
use dataset::ingest::{KeptColumn, OnBadRecord, Options};
use dataset::inputs::{Container, Encoding, Input, InputSet};
use dataset::mapping::Mapping;
use dataset::mixing::Mix;
use dataset::quality::{Cleaning, Languages, Rules};
use dataset::records::{ReadOptions, RecordsPath, TextSplit};
use dataset::shard::Shard;
use dataset::split::{self, SplitBy, SplitPlan};

use crate::args::{self, Args};

/// Makes options of arguments.
pub(crate) fn options(args: &Args, found: &InputSet) -> Result<Options> {
    let wrong = |option: &'static str, hint: &str| {
        let hint = hint.to_owned();
        move |detail: String| dataset::Error::Option { option, detail, hint }
    };
    let by_files = args.split(found) == args::FILES;
    let split_by = split_by(args, by_files)?;
    lengths(args)?;
    let records = args.records.as_deref().map(RecordsPath::parse).transpose();
    let split = match args.all_as {
        Some(part) => SplitPlan::All(part.into()),
        None if by_files => splits_of_files(found)?,
        None => {
            let hint = "for example --split train=0.9,validation=0.05,test=0.05";
            let shares = SplitPlan::parse_shares(args.split(found)).map_err(wrong("--split", hint))?;
            SplitPlan::Shares { shares, seed: args.output.seed }
        }
    };
    let threads = args.common.threads.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
    Ok(Options {
        read: ReadOptions {
            container: args.input_format.as_deref().and_then(Container::by_label),
            encoding: args.encoding.as_deref().and_then(Encoding::by_name),
            records: records.map_err(wrong("--records", "for example --records 'data[].paragraphs[].qas[]'"))?,
            text_split: text_split(args, found)?,
        },
        aligned: Vec::new(),
        shape: args.format.shape(),
        mapping: Mapping::parse(&args.map)?,
        keep: keep(args)?,
        on_bad_record: match args.on_bad_record {
            args::BadRecord::Fail => OnBadRecord::Fail,
            args::BadRecord::Reject => OnBadRecord::Reject,
        },
        min_chars: args.min_chars,
        max_chars: args.max_chars,
        cleaning: Cleaning::parse(&args.clean).map_err(wrong("--clean", "for example --clean nfc,control"))?,
        pii: args.pii.into(),
        languages: Languages::parse(&args.language).map_err(wrong("--language", "for example --language en,de"))?,
        check: Rules::parse(&args.check).map_err(wrong("--check", RULES))?,
        reject: Rules::parse(&args.reject).map_err(wrong("--reject", RULES))?,
        dedup: match args.dedup {
            args::Dedup::Off => Dedup::Off,
            args::Dedup::Exact => Dedup::Exact,
            args::Dedup::Near => Dedup::Near,
        },
        near: near(args)?,
        unseen: Unseen::default(),
        excluded: None,
        split,
        split_by,
        stratify: stratify(args, by_files)?,
        mix: mix(args, found)?,
        shard: shard(args)?,
        scratch: None,
        threads,
    })
}

const RULES: &str = "the groups are turns, unicode, gopher, c4 and fineweb; docs/quality.md lists their rules";

fn option(option: &'static str, detail: impl Into<String>, hint: &str) -> anyhow::Error {
    dataset::Error::Option { option, detail: detail.into(), hint: hint.to_owned() }.into()
}

/// The split of each file, from its name.
fn splits_of_files(found: &InputSet) -> Result<SplitPlan> {
    let named = |input: &dataset::inputs::Input| {
        let whole = input.path.as_ref().map_or_else(|| input.name.clone(), |path| path.to_string_lossy().into_owned());
        // The name in the run first, so that a folder far above does not decide.
        split::named(&input.name).or_else(|| split::named(&whole)).ok_or_else(|| {
            let detail = format!("expected train, validation or test in the name of each file, found {}", input.name);
            option("--split files", detail, "name the file or its folder so, or ingest it by itself with --as")
        })
    };
    Ok(SplitPlan::Files(found.inputs.iter().map(named).collect::<Result<_>>()?))
}

/// A kept column has a name of its own.
fn keep(args: &Args) -> Result<Vec<KeptColumn>> {
    const HINT: &str = "NAME=COLUMN keeps a column under another name, for example --keep topic,original_id=id";
    let mut kept: Vec<KeptColumn> = Vec::new();
    for text in &args.keep {
        let column = KeptColumn::parse(text).map_err(|detail| option("--keep", detail, HINT))?;
        let name = column.name.as_str();
        let in_stream = args.output.out.as_deref() == Some(Path::new("-")) && name == SPLIT_COLUMN;
        if in_stream || EXAMPLE_COLUMNS.contains(&name) {
            return Err(option("--keep", format!("every example has a column `{name}` already"), HINT));
        }
        if kept.iter().any(|other| other.name == name) {
            return Err(option("--keep", format!("`{name}` is named twice"), HINT));
        }
        kept.push(column);
    }
    Ok(kept)
}

/// Bounds that no row can meet.
fn lengths(args: &Args) -> Result<()> {
    match (args.min_chars, args.max_chars) {
        (_, Some(0)) => Err(option("--max-chars", "expected at least 1, found 0", "leave it out for no bound")),
        (Some(least), Some(most)) if least > most => {
            let detail = format!("{least} is more than --max-chars {most}: no row could stay");
            Err(option("--min-chars", detail, "exchange the two"))
        }
        _ => Ok(()),
    }
}

/// Only running text is split; what a file without a known ending holds is found out when it is read.
fn text_split(args: &Args, found: &InputSet) -> Result<TextSplit> {
    let Some(text) = &args.text_split else { return Ok(TextSplit::default()) };
    let split = TextSplit::parse(text).map_err(|detail| option("--text-split", detail, ""))?;
    let aligned = !args.aligned.is_empty();
    let may_be_text = match args.input_format.as_deref().and_then(Container::by_label) {
        Some(container) => container.is_text(),
        None => found.inputs.iter().any(Input::may_be_text),
    };
    match (aligned, may_be_text) {
        (true, _) => Err(option("--text-split", "it cannot be used with --aligned, which goes line by line", "")),
        (false, true) => Ok(split),
        (false, false) => {
            let names = found.inputs.iter().map(|input| input.name.as_str()).take(3).collect::<Vec<_>>().join(", ");
            let hint = "leave it out, or say --input-format text where the files are running text";
            Err(option("--text-split", format!("it splits running text, and no input is text, as {names}"), hint))
        }
    }
}

fn near(args: &Args) -> Result<Near> {
    let given = [
        (args.near_ngram.is_some(), "--near-ngram"),
        (args.near_similarity.is_some(), "--near-similarity"),
        (args.near_bands.is_some(), "--near-bands"),
        (args.near_rows.is_some(), "--near-rows"),
    ];
    if let Some((_, flag)) = given.iter().find(|(given, _)| *given && args.dedup != args::Dedup::Near) {
        return Err(option(flag, "it has no say without --dedup near", "add --dedup near, or leave it out"));
    }
    let usual = Near::default();
    let similarity = args.near_similarity.unwrap_or(usual.similarity);
    if !(similarity > 0.0 && similarity <= 1.0) {
        let detail = format!("expected a share above 0 and up to 1, found {similarity}");
        return Err(option("--near-similarity", detail, ""));
    }
    Ok(Near {
        ngram: args.near_ngram.map_or(usual.ngram, usize::from),
        bands: args.near_bands.map_or(usual.bands, usize::from),
        rows: args.near_rows.map_or(usual.rows, usize::from),
        similarity,
    })
}

fn mix(args: &Args, found: &InputSet) -> Result<Mix> {
    const HINT: &str = "for example --mix 'web/*=0.1,chats.jsonl=2'; patterns are of the names that the report shows";
    let mix = Mix::parse(&args.mix, args.output.seed).map_err(|detail| option("--mix", detail, HINT))?;
    let names: Vec<&str> = found.inputs.iter().map(|input| input.name.as_str()).collect();
    match mix.unused(&names) {
        Some(wrong) => Err(option("--mix", format!("{wrong}; found: {}", names.join(", ")), HINT)),
        None => Ok(mix),
    }
}

/// What keeps rows together has a say only where shares are given out.
fn split_by(args: &Args, by_files: bool) -> Result<SplitBy> {
    let by = match args.split_by.as_str() {
        "content" => return Ok(SplitBy::Content),
        "prompt" => SplitBy::Prompt,
        column => SplitBy::Column(column.to_owned()),
    };
    let others = [
        (args.all_as.is_some(), "--as", "leave one of them out: all rows go to one split"),
        (by_files, "--split files", "leave one of them out: the files say where their rows go"),
    ];
    match others.iter().find(|(given, ..)| *given) {
        Some((_, flag, hint)) => Err(option("--split-by", format!("it cannot be used with {flag}"), hint)),
        None => Ok(by),
    }
}

/// Strata share out row by row, so nothing else may say where a row goes.
fn stratify(args: &Args, by_files: bool) -> Result<Option<String>> {
    let others = [
        (
            args.split_by != "content",
            "--split-by",
            "leave one of them out: what is kept together cannot be shared out row by row",
        ),
        (args.all_as.is_some(), "--as", "leave one of them out: all rows go to one split"),
        (by_files, "--split files", "leave one of them out: the files say where their rows go"),
    ];
    match others.iter().find(|(given, ..)| *given && args.stratify.is_some()) {
        Some((_, flag, hint)) => Err(option("--stratify", format!("it cannot be used with {flag}"), hint)),
        None => Ok(args.stratify.clone()),
    }
}

/// What looks at rows of different content together cannot be done in parts.
fn shard(args: &Args) -> Result<Shard> {
    let Some(text) = &args.shard else { return Ok(Shard::default()) };
    let shard = Shard::parse(text).map_err(|detail| option("--shard", detail, ""))?;
    let whole = [(args.dedup == args::Dedup::Near, "--dedup near"), (args.stratify.is_some(), "--stratify")];
    match whole.iter().find(|(given, _)| *given && shard.is_one_of_many()) {
        Some((_, flag)) => Err(option(
            "--shard",
            format!("{flag} compares rows of different content, which may lie in different shards"),
            "ingest the shards first, then run it once over what they wrote",
        )),
        None => Ok(shard),
    }
}
