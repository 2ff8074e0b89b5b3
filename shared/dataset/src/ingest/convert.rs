//! What a worker does: one chunk of raw records into examples and refusals, looking at no other chunk.

use std::sync::Arc;

use artifact::{Code, Example};

use super::plan::{FilePlan, asked};
use super::{KeptColumn, Options, SplitBy};
use crate::duplicates::{Dedup, Signature, signature};
use crate::identity::{hexadecimal, identity, prompt_identity, text_identity};
use crate::leaks::sketch;
use crate::normal::texts;
use crate::quality::{self, Finding, Pii};
use crate::records::{Item, Payload, Place, Record, RecordsPath, Unreadable, as_text};
use crate::shape::{TurnKeys, Unread, advise, advise_prompt, describe};

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
    /// What turns hold that no example takes.
    pub(super) unread: Unread,
    /// Columns that the first records did not have and nobody asked for.
    pub(super) late: Vec<String>,
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
    /// An example that another shard answers for.
    Elsewhere,
    /// Cannot be parsed.
    Unreadable(Unreadable),
    /// Parsed, and not of use. `unfit` where the shape is the reason.
    Rejected {
        code: &'static str,
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
    /// What decides its split.
    pub(super) key: u128,
    pub(super) stratum: Option<u128>,
    pub(super) signature: Option<Signature>,
    pub(super) sketch: Vec<u64>,
    pub(super) findings: Vec<Finding>,
    pub(super) chars: u64,
}

/// Converts one chunk.
pub(super) fn convert(job: Job, options: &Options) -> Converted {
    let Job { plan, nested, payload } = job;
    let paths = asked(&plan.mapping, options);
    let mut found = vec![false; paths.len()];
    let (role, content) = (plan.mapping.role_key.clone(), plan.mapping.content_key.clone());
    let keys = TurnKeys { role, content, ..TurnKeys::default() };
    let mut late: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    let span = payload.visit(nested.as_deref(), &mut |Item { row, place, content }| {
        let outcome = match content {
            Err(unreadable) => Outcome::Unreadable(unreadable),
            Ok(record) => {
                for (found, (_, path)) in found.iter_mut().zip(&paths).filter(|(found, _)| !**found) {
                    *found = path.find(&record).is_some();
                }
                for (index, name) in record.names().enumerate() {
                    // Most records have the columns of the first in their order.
                    let same = plan.columns.get(index).is_some_and(|known| known == name);
                    if !same && !plan.columns.iter().chain(&late).any(|known| known == name) {
                        late.push(name.to_owned());
                    }
                }
                shape(record, &plan, &keys, options)
            }
        };
        rows.push(Row { number: row, place, outcome });
    });
    drop(paths);
    late.retain(|column| !plan.uses(column, options));
    Converted { plan, payload, rows, span, found, unread: keys.unread.into_inner(), late }
}

fn shape(mut record: Record, plan: &FilePlan, keys: &TurnKeys, options: &Options) -> Outcome {
    let kept =
        |kept: &KeptColumn| kept.path.find(&record).filter(|found| !found.is_null()).map(|found| found.text("\n"));
    let extra: Vec<Option<String>> = options.keep.iter().map(kept).collect();
    let group = match &options.split_by {
        SplitBy::Column(column) => record.get(column).map(as_text),
        _ => None,
    };
    let reject = |code: &'static str, detail: String| Outcome::Rejected { code, detail, advice: None, unfit: false };
    let stratum = options.stratify.as_ref().map(|column| record.get(column).map(as_text));
    let needed = [(&options.stratify, "--stratify"), (&options.split_by.column(), "--split-by")];
    for (column, option) in needed.iter().filter_map(|(column, option)| Some((column.as_ref()?, option))) {
        if record.get(column).is_none() {
            let detail = format!("expected the column `{column}` of {option}, found: {}", describe(&record));
            let code = Code::BadRecord.as_str();
            return Outcome::Rejected { code, detail, advice: None, unfit: true };
        }
    }
    if let Err(detail) = plan.mapping.apply(&mut record) {
        let advice = if plan.mapping.is_empty() { advise(&record) } else { String::new() };
        return unfit(&record, &detail, advice);
    }
    let mapped = plan.mapping.has("prompt");
    // Looked at before the conversion takes fields out, so that advice is about the record as it was.
    if let Some(misfit) = plan.shape.lacks(&record) {
        let detail = format!("{} ({})", misfit.detail, plan.shape.as_str());
        return unfit(&record, &detail, if mapped { String::new() } else { advise(&record) });
    }
    let mut example = match plan.shape.convert(&mut record, keys) {
        Ok(example) => example,
        Err(misfit) if misfit.missing => {
            let detail = format!("{} ({})", misfit.detail, plan.shape.as_str());
            return unfit(&record, &detail, if mapped { String::new() } else { advise_prompt(&record) });
        }
        Err(misfit) => {
            let unfit = misfit.code == Code::BadRecord;
            let code = misfit.code.as_str();
            return Outcome::Rejected { code, detail: misfit.detail, advice: None, unfit };
        }
    };
    options.cleaning.apply(&mut example);
    let mut findings = quality::check(&example, options.check.with(options.reject));
    if let Some(code) = findings.iter().position(|finding| options.reject.has_code(finding.code)) {
        let Finding { code, detail } = findings.swap_remove(code);
        return reject(code, detail);
    }
    findings.extend(personal_data(&mut example, options.pii));
    if let (Pii::Reject, Some(Finding { code, detail })) =
        (options.pii, findings.iter().find(|found| is_personal(found)))
    {
        return reject(code, detail.clone());
    }
    if let Some(Finding { code, detail }) = options.languages.check(&example) {
        return reject(code, detail);
    }
    let chars = texts(&example).map(characters).sum();
    if let Some(least) = options.min_chars.filter(|least| chars < *least) {
        return reject(Code::TooShort.as_str(), format!("{chars} characters, at least {least} asked"));
    }
    if let Some(most) = options.max_chars.filter(|most| chars > *most) {
        return reject(Code::TooLong.as_str(), format!("{chars} characters, at most {most} asked"));
    }
    if let Some(words) = options.unseen.overlap(&example) {
        let detail = format!("shares a run of {words} words with a text of --decontaminate");
        return reject(Code::Contaminated.as_str(), detail);
    }
    let identity = identity(&example);
    if let Some(excluded) = &options.excluded
        && let Some(reason) = excluded.reason(&hexadecimal(identity))
    {
        return reject(Code::Excluded.as_str(), reason.to_owned());
    }
    if !options.shard.has(identity) {
        return Outcome::Elsewhere;
    }
    let prompt = prompt_identity(&example);
    let key = match (&options.split_by, group) {
        (SplitBy::Prompt, _) => prompt.unwrap_or(identity),
        (SplitBy::Column(_), Some(group)) => text_identity(&group),
        _ => identity,
    };
    let signature = if options.dedup == Dedup::Near { signature(&example, &options.near) } else { None };
    let sketch = if options.split.splits().len() > 1 { sketch(&example) } else { Vec::new() };
    example.id = hexadecimal(identity);
    example.source_file.clone_from(&plan.name);
    example.extra = extra;
    let stratum = stratum.flatten().map(|value| text_identity(&value));
    Outcome::Example(Box::new(Candidate {
        example,
        identity,
        prompt,
        key,
        stratum,
        signature,
        sketch,
        findings,
        chars,
    }))
}

/// Characters of a text; of ASCII, its bytes.
fn characters(text: &str) -> u64 {
    if text.is_ascii() { text.len() as u64 } else { text.chars().count() as u64 }
}

fn personal_data(example: &mut Example, pii: Pii) -> Vec<Finding> {
    match pii {
        Pii::Off => Vec::new(),
        Pii::Flag | Pii::Reject => quality::pii_findings(&quality::count_pii(example)),
        Pii::Mask => quality::pii_findings(&quality::mask_pii(example)),
    }
}

fn is_personal(finding: &Finding) -> bool {
    finding.code.starts_with("pii_")
}

/// A record without a field that is needed: tells the keys that it has and the way to a shape that fits.
fn unfit(record: &Record, detail: &str, advice: String) -> Outcome {
    let detail = format!("{detail}; found: {}", describe(record));
    let advice = Some(advice).filter(|advice| !advice.is_empty());
    Outcome::Rejected { code: Code::BadRecord.as_str(), detail, advice, unfit: true }
}
