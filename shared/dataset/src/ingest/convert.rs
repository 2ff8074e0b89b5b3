//! What a worker does: one chunk of raw records into examples and refusals, looking at no other chunk.

use std::sync::Arc;

use artifact::{Code, Example, Split};

use super::plan::{FilePlan, asked};
use super::{Options, SplitBy};
use crate::duplicates::{Dedup, Signature, signature};
use crate::identity::{hexadecimal, identity, prompt_identity, text_identity};
use crate::normal::texts;
use crate::records::{Item, Payload, Place, Record, RecordsPath, Unreadable, as_text};
use crate::shape::{TurnKeys, advise, describe};

/// A chunk on its way to a worker.
pub(super) struct Job {
    pub(super) plan: Arc<FilePlan>,
    pub(super) nested: Option<Arc<RecordsPath>>,
    pub(super) payload: Payload,
}

/// A chunk after the worker.
pub(super) struct Converted {
    pub(super) plan: Arc<FilePlan>,
    pub(super) payload: Payload,
    pub(super) rows: Vec<Row>,
    /// Rows that the chunk spans; the next chunk's count on from there.
    pub(super) span: u64,
    /// For each path that the user named: whether any record here has it.
    pub(super) found: Vec<bool>,
}

/// What became of one row so far.
pub(super) struct Row {
    /// Its number inside the chunk, from one.
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Example(Box<Candidate>),
    /// Cannot be parsed.
    Unreadable(Unreadable),
    /// Parsed, and not of use. `unfit` where the shape is the reason.
    Rejected {
        code: Code,
        detail: String,
        advice: Option<String>,
        unfit: bool,
    },
}

/// An example that may still turn out to be a duplicate.
pub(super) struct Candidate {
    pub(super) example: Example,
    pub(super) identity: u128,
    pub(super) prompt: Option<u128>,
    pub(super) split: Split,
    pub(super) signature: Option<Signature>,
    pub(super) chars: u64,
}

/// Converts one chunk.
pub(super) fn convert(job: Job, options: &Options) -> Converted {
    let Job { plan, nested, payload } = job;
    let paths = asked(&plan.mapping, options);
    let mut found = vec![false; paths.len()];
    let keys = TurnKeys { role: plan.mapping.role_key.clone(), content: plan.mapping.content_key.clone() };
    let mut rows = Vec::new();
    let span = payload.visit(nested.as_deref(), &mut |Item { row, place, content }| {
        let outcome = match content {
            Err(unreadable) => Outcome::Unreadable(unreadable),
            Ok(record) => {
                for (found, (_, path)) in found.iter_mut().zip(&paths).filter(|(found, _)| !**found) {
                    *found = path.find(&record).is_some();
                }
                shape(record, &plan, &keys, options)
            }
        };
        rows.push(Row { number: row, place, outcome });
    });
    drop(paths);
    Converted { plan, payload, rows, span, found }
}

fn shape(mut record: Record, plan: &FilePlan, keys: &TurnKeys, options: &Options) -> Outcome {
    let text_at = |path: &crate::mapping::FieldPath, record: &Record| path.find(record).map(|found| found.text("\n"));
    let extra: Vec<Option<String>> = options.keep.iter().map(|kept| text_at(&kept.path, &record)).collect();
    let group = match &options.split_by {
        SplitBy::Column(column) => record.get(column).map(as_text),
        _ => None,
    };
    let reject = |code, detail: String| Outcome::Rejected { code, detail, advice: None, unfit: false };
    if let (SplitBy::Column(column), None) = (&options.split_by, &group) {
        let detail = format!("expected the column `{column}` of --split-by, found: {}", describe(&record));
        return Outcome::Rejected { code: Code::BadRecord, detail, advice: None, unfit: true };
    }
    if let Err(detail) = plan.mapping.apply(&mut record) {
        return unfit(&record, &detail, !plan.mapping.is_empty());
    }
    let mut example = match plan.shape.convert(&mut record, keys) {
        Ok(example) => example,
        Err(misfit) if misfit.missing => {
            return unfit(&record, &format!("{} ({})", misfit.detail, plan.shape.as_str()), plan.mapping.has("prompt"));
        }
        Err(misfit) => {
            let unfit = misfit.code == Code::BadRecord;
            return Outcome::Rejected { code: misfit.code, detail: misfit.detail, advice: None, unfit };
        }
    };
    let chars = texts(&example).map(|text| text.chars().count() as u64).sum();
    if let Some(least) = options.min_chars.filter(|least| chars < *least) {
        return reject(Code::TooShort, format!("{chars} characters, at least {least} asked"));
    }
    if let Some(most) = options.max_chars.filter(|most| chars > *most) {
        return reject(Code::TooLong, format!("{chars} characters, at most {most} asked"));
    }
    if let Some(words) = options.unseen.overlap(&example) {
        return reject(Code::Contaminated, format!("shares a run of {words} words with a text of --decontaminate"));
    }
    let identity = identity(&example);
    let prompt = prompt_identity(&example);
    let key = match (&options.split_by, group) {
        (SplitBy::Prompt, _) => prompt.unwrap_or(identity),
        (SplitBy::Column(_), Some(group)) => text_identity(&group),
        _ => identity,
    };
    let signature = if options.dedup == Dedup::Near { signature(&example) } else { None };
    example.id = hexadecimal(identity);
    example.source_file.clone_from(&plan.name);
    example.extra = extra;
    Outcome::Example(Box::new(Candidate {
        example,
        identity,
        prompt,
        split: options.split.assign(key),
        signature,
        chars,
    }))
}

/// A record without a field that is needed: tells the keys that it has and the way to a shape that fits.
fn unfit(record: &Record, detail: &str, mapped: bool) -> Outcome {
    let detail = format!("{detail}; found: {}", describe(record));
    let advice = if mapped { None } else { Some(advise(record)).filter(|advice| !advice.is_empty()) };
    Outcome::Rejected { code: Code::BadRecord, detail, advice, unfit: true }
}
