//! What is decided once for each file, from its first records: its shape, and the columns that nobody asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{KeptColumn, Options};
use crate::error::{Error, Result, nearest};
use crate::inputs::{Input, Progress};
use crate::mapping::Mapping;
use crate::records::{self, Payload, Record, RecordsPath, Source};
use crate::shape::{Shape, advise, describe, warn_unused};
use crate::split::SplitBy;

/// Records that are looked at to find a file's shape.
const LOOKED_AT: usize = 64;

/// How the rows of one file are read.
#[derive(Clone, Debug)]
pub struct FilePlan {
    /// Its number in the run.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// The mapping, that of aligned texts included.
    pub mapping: Mapping,
    /// Columns found in the first records.
    pub columns: Vec<String>,
    /// Those of them that are not used.
    pub unused: Vec<String>,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
    /// How often its rows count.
    pub weight: f64,
}

impl FilePlan {
    /// Decides from the first chunk.
    pub(super) fn new(number: u32, name: &str, source: &Source, first: &Payload, options: &Options) -> Result<Self> {
        let mapping = mapping_for(source, options)?;
        let sample = sample(first, source.nested.as_ref());
        let mut columns: Vec<String> = source.columns.clone().unwrap_or_default();
        for name in sample.iter().flat_map(Record::names) {
            if !columns.iter().any(|known| known == name) {
                columns.push(name.to_owned());
            }
        }
        // A table's header says all: what it lacks is told before reading on.
        if source.columns.is_some() && source.nested.is_none() {
            for (option, path) in asked(&mapping, options) {
                if !columns.iter().any(|column| column == path.head() || column == path.as_str()) {
                    return Err(no_such_column(name, option, path.as_str(), &columns));
                }
            }
        }
        let shape = match options.shape.or_else(|| implied(&mapping)) {
            Some(shape) => shape,
            None => detect(name, &sample, &mapping)?,
        };
        let left = |column: &&String| !is_used(column, shape, &mapping, options);
        let unused: Vec<String> = columns.iter().filter(left).cloned().collect();
        let mut notes = source.notes.clone();
        notes.extend(mixed(&sample, &mapping));
        let kto = is_kto(&sample);
        if kto && options.keep.iter().any(|kept| kept.path.as_str() == LABEL) {
            notes.push(
                "labels as for KTO are kept as the column `label`; a supervised run would learn the bad answers too, \
                 so leave them out for it"
                    .into(),
            );
        } else if kto {
            return Err(Error::BadFile {
                file: name.to_owned(),
                detail: "`label` is true or false beside an answer, as for KTO: expected to be told what to do with it"
                    .into(),
                hint: "--keep label keeps it as a column, so that nobody takes bad answers for good ones".into(),
            });
        }
        notes.extend(warn_unused(shape, &unused));
        let weight = options.mix.weight(name);
        Ok(Self { number, name: name.to_owned(), shape, mapping, columns, unused, notes, weight })
    }

    /// Whether the column has a part in examples or in where they go.
    pub(super) fn uses(&self, column: &str, options: &Options) -> bool {
        is_used(column, self.shape, &self.mapping, options)
    }
}

/// Whether the column has a part in examples or in where they go.
fn is_used(column: &str, shape: Shape, mapping: &Mapping, options: &Options) -> bool {
    let group = if let SplitBy::Column(column) = &options.split_by { column.as_str() } else { "" };
    (shape.used().contains(&column) && !mapping.has(column))
        || [group, options.stratify.as_deref().unwrap_or_default()].contains(&column)
        || asked(mapping, options).iter().any(|(_, path)| path.head() == column)
}

/// Every path that the user named, with its flag.
pub(super) fn asked<'a>(
    mapping: &'a Mapping,
    options: &'a Options,
) -> Vec<(&'static str, &'a crate::mapping::FieldPath)> {
    let mapped = mapping.paths().into_iter().map(|path| ("--map", path));
    mapped.chain(options.keep.iter().map(|kept| ("--keep", &kept.path))).collect()
}

pub(super) fn no_such_column(file: &str, option: &'static str, column: &str, found: &[String]) -> Error {
    Error::NoSuchColumn {
        file: file.to_owned(),
        option,
        column: column.to_owned(),
        found: if found.is_empty() { "no column".into() } else { found.join(", ") },
        nearest: nearest(column, found.iter().map(String::as_str)),
    }
}

/// The column of KTO's labels.
const LABEL: &str = "label";

/// Whether the records have an answer each and whether it is a good one, as KTO learns from.
fn is_kto(sample: &[Record]) -> bool {
    let answers = |record: &Record| {
        matches!(
            Shape::detect(record),
            Some(Shape::Messages | Shape::Sharegpt | Shape::PromptCompletion | Shape::Alpaca)
        )
    };
    !sample.is_empty()
        && sample.iter().all(|record| answers(record) && matches!(record.get(LABEL), Some(serde_json::Value::Bool(_))))
}

/// The columns that some of the files need to keep, whether asked or not: the labels of KTO. Standard input is not
/// looked at: it can be read once.
///
/// # Errors
/// Whatever is wrong with a file before its first record.
pub fn kept_labels(inputs: &[Input], options: &Options) -> Result<Vec<KeptColumn>> {
    /// Files that are looked at: more of them are of one kind.
    const FILES: usize = 16;
    let silent = Arc::new(Progress::default());
    for input in inputs.iter().filter(|input| input.path.is_some()).take(FILES) {
        if options.keep.iter().any(|kept| [kept.path.as_str(), &kept.name].contains(&LABEL))
            || !options.aligned.is_empty()
        {
            break;
        }
        // What is wrong with a file is told when it is read.
        let Ok(mut source) = records::open(input, &options.read, &silent) else { continue };
        let Some(Ok(first)) = source.chunks.next() else { continue };
        let sample = sample(&first, source.nested.as_ref());
        let mapped: Vec<Record> = sample
            .into_iter()
            .filter_map(|mut record| options.mapping.apply(&mut record).is_ok().then_some(record))
            .collect();
        if is_kto(&mapped) {
            return Ok(vec![KeptColumn::parse(LABEL).map_err(|detail| Error::Option {
                option: "--keep",
                detail,
                hint: String::new(),
            })?]);
        }
    }
    Ok(Vec::new())
}

fn sample(first: &Payload, nested: Option<&RecordsPath>) -> Vec<Record> {
    let mut sample = Vec::new();
    first.visit(nested, &mut |item| {
        if let (true, Ok(record)) = (sample.len() < LOOKED_AT, item.content) {
            sample.push(record);
        }
    });
    sample
}

/// A word about a file whose first records are of several shapes.
fn mixed(sample: &[Record], mapping: &Mapping) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in sample.iter().filter(|_| mapping.is_empty()) {
        *counts.entry(Shape::detect(record).map_or("none", Shape::as_str)).or_default() += 1;
    }
    let told: Vec<String> = counts.iter().map(|(shape, count)| format!("{count} {shape}")).collect();
    (told.len() > 1)
        .then(|| format!("the first records are of several shapes: {}; rows of another are rejected", told.join(", ")))
}

/// Aligned texts are a prompt and its completion unless said otherwise.
fn mapping_for(source: &Source, options: &Options) -> Result<Mapping> {
    let aligned = source.columns.as_ref().is_some_and(|columns| columns[..] == ["source", "target"]);
    if aligned && options.mapping.is_empty() && !options.aligned.is_empty() {
        return Mapping::parse(&["prompt=source,completion=target".to_owned()]);
    }
    Ok(options.mapping.clone())
}

/// The shape that a mapping is meant for.
fn implied(mapping: &Mapping) -> Option<Shape> {
    let has = |names: &[&str]| names.iter().any(|name| mapping.has(name));
    [
        (Shape::Preference, &["chosen", "rejected"][..]),
        (Shape::Messages, &["messages"]),
        (Shape::Sharegpt, &["conversations"]),
        (Shape::Alpaca, &["instruction", "output"]),
        (Shape::PromptCompletion, &["prompt", "completion"]),
        (Shape::Text, &["text"]),
    ]
    .into_iter()
    .find(|(_, targets)| has(targets))
    .map(|(shape, _)| shape)
}

/// The shape that most of the first records have.
fn detect(name: &str, sample: &[Record], mapping: &Mapping) -> Result<Shape> {
    let mut votes: BTreeMap<Shape, usize> = BTreeMap::new();
    for record in sample {
        let mut mapped = record.clone();
        if mapping.apply(&mut mapped).is_ok()
            && let Some(shape) = Shape::detect(&mapped)
        {
            *votes.entry(shape).or_default() += 1;
        }
    }
    // The first of equals: shapes are ordered, the more telling first.
    let best = votes.iter().max_by(|left, right| left.1.cmp(right.1).then(right.0.cmp(left.0)));
    match (best, sample.first()) {
        (Some((shape, _)), _) => Ok(*shape),
        // Nothing could be parsed: any shape will do to tell so row by row.
        (None, None) => Ok(Shape::Messages),
        (None, Some(record)) => Err(Error::NoRowFits {
            file: name.to_owned(),
            rows: sample.len() as u64,
            detail: format!(
                "expected the fields of alpaca, sharegpt, messages, prompt-completion, text or preference, found: {}",
                describe(record)
            ),
            hint: advise(record),
        }),
    }
}
