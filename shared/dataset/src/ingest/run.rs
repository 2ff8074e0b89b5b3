//! The run: files to chunks, chunks to workers, rows to the sink in file order.

use std::collections::BTreeMap;
use std::sync::Arc;

use artifact::{Code, Example, Reject, Split};

use super::convert::{Candidate, Converted, Job, Outcome, Row, convert};
use super::ordered::map_in_order;
use super::plan::{FilePlan, asked, no_such_column};
use super::summary::Summary;
use super::{OnBadRecord, Options, Sink};
use crate::duplicates::{Dedup, Kept, Origin, Seen};
use crate::error::{Error, Result};
use crate::identity::hexadecimal;
use crate::inputs::{Input, Progress, damage};
use crate::leaks::Watch;
use crate::records::{self, Chunks, RecordsPath, Unreadable};
use crate::split::{SplitPlan, Strata};
use crate::store::Scratch;

/// Reads all inputs and hands their rows to `sink`.
///
/// # Errors
/// A file that cannot be read or of which no row can be used, a record that cannot be parsed (unless those are to be
/// rejected), a column that no record has, whatever the sink fails with, [`Error::NothingLeft`],
/// [`Error::Interrupted`].
pub fn run(inputs: &[Input], options: &Options, progress: &Arc<Progress>, sink: &mut dyn Sink) -> Result<Summary> {
    let mut collector = Collector::new(inputs, options, Arc::clone(progress), sink);
    let jobs = Jobs { inputs, options, progress, next: 0, current: None, failed: false };
    let work = |job: Result<Begun>| job.map(|begun| (begun.container, convert(begun.job, options)));
    map_in_order(options.threads, jobs, work, |converted| {
        let (container, converted) = converted?;
        collector.take(container, converted)
    })
    .map_err(|error| damage_first(error, inputs))?;
    collector.finish()
}

/// A record that cannot be parsed may be the first sign of damage to the compressed file around it, which then is what
/// to tell.
fn damage_first(error: Error, inputs: &[Input]) -> Error {
    let Error::Broken { file, row, .. } = &error else { return error };
    let input = inputs.iter().find(|input| input.name == *file);
    input.and_then(|input| damage(input, row.saturating_sub(1))).unwrap_or(error)
}

/// A chunk with what its file is.
struct Begun {
    container: &'static str,
    job: Job,
}

/// The chunks of all files.
struct Jobs<'a> {
    inputs: &'a [Input],
    options: &'a Options,
    progress: &'a Arc<Progress>,
    next: usize,
    current: Option<Current>,
    failed: bool,
}

struct Current {
    plan: Arc<FilePlan>,
    nested: Option<Arc<RecordsPath>>,
    container: &'static str,
    chunks: Chunks,
}

impl Jobs<'_> {
    fn open(&mut self) -> Result<Begun> {
        let (number, input) = (self.next, &self.inputs[self.next]);
        self.next += 1;
        let mut source = match self.options.aligned.get(number) {
            Some(target) => records::open_aligned(input, target, self.options.read.encoding, self.progress)?,
            None => records::open(input, &self.options.read, self.progress)?,
        };
        let first = source.chunks.next().ok_or_else(|| records::empty(&input.name, "no record"))??;
        let plan = Arc::new(FilePlan::new(number as u32, &input.name, &source, &first, self.options)?);
        let nested = source.nested.map(Arc::new);
        let container = source.container.label();
        let job = Job { plan: Arc::clone(&plan), nested: nested.clone(), payload: first };
        self.current = Some(Current { plan, nested, container, chunks: source.chunks });
        Ok(Begun { container, job })
    }
}

impl Iterator for Jobs<'_> {
    type Item = Result<Begun>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if let Some(current) = &mut self.current {
            if let Some(chunk) = current.chunks.next() {
                self.failed = chunk.is_err();
                let (plan, nested) = (Arc::clone(&current.plan), current.nested.clone());
                let container = current.container;
                return Some(chunk.map(|payload| Begun { container, job: Job { plan, nested, payload } }));
            }
            self.current = None;
        }
        if self.next == self.inputs.len() {
            return None;
        }
        let opened = self.open();
        self.failed = opened.is_err();
        Some(opened)
    }
}

/// What looks across rows.
struct Collector<'a> {
    options: &'a Options,
    progress: Arc<Progress>,
    sink: &'a mut dyn Sink,
    names: Vec<String>,
    seen: Seen,
    strata: Strata,
    watch: Watch,
    summary: Summary,
    file: Option<FileState>,
    found: Vec<bool>,
    columns: Vec<String>,
}

/// What is known of the file being read.
struct FileState {
    plan: Arc<FilePlan>,
    /// Rows of the chunks before.
    base: u64,
    rows: u64,
    unfit: u64,
    first_unfit: Option<(String, String)>,
}

impl<'a> Collector<'a> {
    fn new(inputs: &[Input], options: &'a Options, progress: Arc<Progress>, sink: &'a mut dyn Sink) -> Self {
        let scratch = Scratch(options.scratch.clone());
        let splits = options.split.splits();
        Self {
            options,
            progress,
            sink,
            names: inputs.iter().map(|input| input.name.clone()).collect(),
            seen: Seen::new(scratch.clone(), options.near),
            strata: Strata::default(),
            watch: Watch::new(&scratch, splits.len() > 1),
            summary: Summary {
                near: (options.dedup == Dedup::Near).then_some(options.near),
                ..Summary::begin(&splits)
            },
            file: None,
            found: Vec::new(),
            columns: Vec::new(),
        }
    }

    fn take(&mut self, container: &'static str, converted: Converted) -> Result<()> {
        if self.file.as_ref().is_none_or(|file| file.plan.number != converted.plan.number) {
            self.end_file()?;
            self.summary.begin_file(&converted.plan, container);
            for column in &converted.plan.columns {
                if !self.columns.contains(column) {
                    self.columns.push(column.clone());
                }
            }
            let plan = Arc::clone(&converted.plan);
            self.file = Some(FileState { plan, base: 0, rows: 0, unfit: 0, first_unfit: None });
        }
        self.summary.count_unread(&converted.unread, &converted.late);
        for column in &converted.late {
            if !self.columns.contains(column) {
                self.columns.push(column.clone());
            }
        }
        self.found.resize(converted.found.len(), false);
        self.found.iter_mut().zip(&converted.found).for_each(|(all, here)| *all |= here);
        let mut batch = Batch::default();
        let (payload, span) = (converted.payload, converted.span);
        let base = self.file.as_ref().map_or(0, |file| file.base);
        for row in converted.rows {
            let place = row.place.clone();
            if let Some(Refusal { code, detail, cluster }) = self.judge(row, base, &mut batch)? {
                let origin = Origin { file: converted.plan.number, row: batch.row };
                self.summary.count_rejected(code, &self.place(origin), &detail);
                batch.rejects.push(Reject {
                    record: payload.raw(&place),
                    source_file: self.names[origin.file as usize].clone(),
                    source_row: origin.row,
                    code: code.into(),
                    detail,
                    cluster,
                });
            }
        }
        if let Some(file) = &mut self.file {
            file.base += span;
        }
        for (split, examples) in batch.examples {
            self.sink.examples(split, examples)?;
        }
        if !batch.rejects.is_empty() {
            self.sink.rejects(batch.rejects)?;
        }
        if self.sink.proceed(self.progress.bytes(), self.summary.read) { Ok(()) } else { Err(Error::Interrupted) }
    }

    /// Keeps the row in the batch, or says why not.
    fn judge(&mut self, row: Row, base: u64, batch: &mut Batch) -> Result<Option<Refusal>> {
        batch.row = base + row.number;
        let Some(file) = &mut self.file else { return Ok(None) };
        file.rows += 1;
        let origin = Origin { file: file.plan.number, row: batch.row };
        let here = match &row.outcome {
            Outcome::Elsewhere => false,
            Outcome::Example(_) => true,
            Outcome::Unreadable(_) | Outcome::Rejected { .. } => self.options.shard.has_row(origin),
        };
        if let Outcome::Rejected { detail, advice, unfit: true, .. } = &row.outcome {
            file.unfit += 1;
            file.first_unfit.get_or_insert_with(|| (detail.clone(), advice.clone().unwrap_or_default()));
        }
        let refusal = match row.outcome {
            Outcome::Unreadable(unreadable) => self.unreadable(unreadable, batch.row)?,
            _ if !here => return Ok(None),
            Outcome::Elsewhere => return Ok(None),
            Outcome::Rejected { code, detail, advice, .. } => {
                let detail = advice.as_ref().map_or_else(|| detail.clone(), |advice| format!("{detail}; {advice}"));
                Refusal { code, detail, cluster: None }
            }
            Outcome::Example(candidate) => {
                self.count_read();
                return self.keep(*candidate, origin, batch);
            }
        };
        if here {
            self.count_read();
        }
        Ok(here.then_some(refusal))
    }

    fn count_read(&mut self) {
        self.summary.read += 1;
        if let Some(counts) = self.summary.files.last_mut() {
            counts.rows += 1;
        }
    }

    fn unreadable(&self, unreadable: Unreadable, row: u64) -> Result<Refusal> {
        let Unreadable { encoding, detail, line } = unreadable;
        if encoding {
            return Ok(Refusal { code: Code::BadEncoding.as_str(), detail, cluster: None });
        }
        match self.options.on_bad_record {
            OnBadRecord::Reject => Ok(Refusal { code: Code::BadRecord.as_str(), detail, cluster: None }),
            OnBadRecord::Fail => {
                let file = self.file.as_ref().map_or_else(String::new, |file| file.plan.name.clone());
                Err(Error::Broken { file, row: line.unwrap_or(row), detail, skippable: true })
            }
        }
    }

    /// Duplicates are refused, and so are rows that their source's weight leaves out; all others find their split.
    fn keep(&mut self, candidate: Candidate, origin: Origin, batch: &mut Batch) -> Result<Option<Refusal>> {
        let Candidate { mut example, identity, prompt, key, stratum, signature, sketch, findings, chars } = candidate;
        let kept = match self.options.dedup {
            Dedup::Off => None,
            Dedup::Exact | Dedup::Near => self.seen.exact(identity, origin)?,
        };
        if let Some(kept) = kept {
            return Ok(Some(self.duplicate(Code::Duplicate, kept)));
        }
        if let Some(kept) = signature.and_then(|signature| self.seen.near(signature, identity, origin)) {
            return Ok(Some(self.duplicate(Code::NearDuplicate, kept)));
        }
        let split = match (&self.options.split, stratum) {
            (SplitPlan::Shares { shares, seed }, Some(stratum)) => self.strata.assign(stratum, shares, *seed),
            (plan, _) => plan.assign(key, origin.file),
        };
        let weight = self.file.as_ref().map_or(1.0, |file| file.plan.weight);
        let copies = self.options.mix.copies(weight, identity, split);
        if copies == 0 {
            let detail = format!("left out by the weight {weight} of --mix");
            return Ok(Some(Refusal { code: "sampled_out", detail, cluster: None }));
        }
        self.watch.add(prompt, &sketch, split, origin)?;
        if !findings.is_empty() {
            let place = self.place(origin);
            for found in &findings {
                self.summary.count_found(found.code, &place, &found.detail);
            }
        }
        let names = &self.names;
        let place = || format!("{}:{}", names[origin.file as usize], origin.row);
        self.summary.gallery.look(place, &example, (identity, chars, split), &findings);
        self.summary.count_written(split, chars, u64::from(copies));
        example.source_row = batch.row;
        let rows = batch.examples.entry(split).or_default();
        rows.extend(std::iter::repeat_n(example, copies as usize));
        Ok(None)
    }

    fn duplicate(&self, code: Code, kept: Kept) -> Refusal {
        let place = self.place(kept.origin);
        let detail = match code {
            Code::NearDuplicate => {
                format!("nearly the same as {place} (about {:.0} % of its runs of words)", kept.similarity * 100.0)
            }
            _ => format!("the same as {place}"),
        };
        Refusal { code: code.as_str(), detail, cluster: Some(hexadecimal(kept.identity)) }
    }

    fn place(&self, origin: Origin) -> String {
        format!("{}:{}", self.names[origin.file as usize], origin.row)
    }

    /// A file of which no row fits is an error, even where others fit.
    fn end_file(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        if file.unfit == file.rows
            && let Some((detail, hint)) = file.first_unfit
        {
            self.missing_columns(&file.plan.name)?;
            return Err(Error::NoRowFits { file: file.plan.name.clone(), rows: file.rows, detail, hint });
        }
        Ok(())
    }

    /// A column that no record of any file has is a slip of the hand.
    fn missing_columns(&self, file: &str) -> Result<()> {
        let missing = self.named();
        missing.map_or(Ok(()), |(option, path)| Err(no_such_column(file, option, &path, &self.columns)))
    }

    fn named(&self) -> Option<(&'static str, String)> {
        let paths = asked(&self.options.mapping, self.options);
        let missing = paths.into_iter().zip(&self.found).find(|(_, found)| !**found);
        missing.map(|((option, path), _)| (option, path.as_str().to_owned()))
    }

    fn finish(mut self) -> Result<Summary> {
        self.end_file()?;
        self.missing_columns(if self.names.len() == 1 { &self.names[0] } else { "the inputs" })?;
        let Summary { read, written, rejected, repeated, .. } = self.summary;
        if read + repeated != written + rejected {
            return Err(Error::RowsDoNotAddUp { read, written, rejected });
        }
        // One shard of many may well be empty.
        if written == 0 && !self.options.shard.is_one_of_many() {
            return Err(Error::NothingLeft {
                rows: read,
                reasons: self.summary.reasons(),
                first: self.summary.first_reject(),
            });
        }
        self.sink.complete()?;
        let names = self.names;
        let place = |origin: Origin| format!("{}:{}", names[origin.file as usize], origin.row);
        self.summary.shared_prompts = self.watch.finish(place)?;
        Ok(self.summary)
    }
}

/// Why a row is set aside.
struct Refusal {
    code: &'static str,
    detail: String,
    cluster: Option<String>,
}

/// The rows of one chunk on their way to the sink.
#[derive(Default)]
struct Batch {
    row: u64,
    examples: BTreeMap<Split, Vec<Example>>,
    rejects: Vec<Reject>,
}
