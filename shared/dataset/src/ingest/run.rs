//! The run: files to chunks, chunks to workers, rows to the sink in file order.

use std::collections::BTreeMap;
use std::sync::Arc;

use artifact::{Code, Example, Reject, Split};

use super::convert::{Candidate, Converted, Job, Outcome, Row, convert};
use super::ordered::map_in_order;
use super::plan::{FilePlan, asked, no_such_column};
use super::summary::{PromptSplits, Summary};
use super::{OnBadRecord, Options, Sink};
use crate::duplicates::{Dedup, Origin, Seen};
use crate::error::{Error, Result};
use crate::inputs::{Input, Progress};
use crate::records::{self, Chunks, RecordsPath, Unreadable};

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
    })?;
    collector.finish()
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
    prompts: PromptSplits,
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
        Self {
            options,
            progress,
            sink,
            names: inputs.iter().map(|input| input.name.clone()).collect(),
            seen: Seen::default(),
            prompts: PromptSplits::default(),
            summary: Summary::begin(&options.split.splits()),
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
        self.found.resize(converted.found.len(), false);
        self.found.iter_mut().zip(&converted.found).for_each(|(all, here)| *all |= here);
        let mut batch = Batch::default();
        let (payload, span) = (converted.payload, converted.span);
        let base = self.file.as_ref().map_or(0, |file| file.base);
        for row in converted.rows {
            let place = row.place.clone();
            if let Some((code, detail)) = self.judge(row, base, &mut batch)? {
                let (file, number) = (self.names[converted.plan.number as usize].clone(), batch.row);
                let record = payload.raw(&place);
                let reject = Reject {
                    record,
                    source_file: file,
                    source_row: number,
                    code: code.as_str().into(),
                    detail,
                    cluster: None,
                };
                self.summary.count_rejected(code, &reject);
                batch.rejects.push(reject);
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
    fn judge(&mut self, row: Row, base: u64, batch: &mut Batch) -> Result<Option<(Code, String)>> {
        batch.row = base + row.number;
        self.summary.read += 1;
        if let Some(counts) = self.summary.files.last_mut() {
            counts.rows += 1;
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        file.rows += 1;
        match row.outcome {
            Outcome::Unreadable(unreadable) => self.unreadable(unreadable, batch.row).map(Some),
            Outcome::Rejected { code, detail, advice, unfit } => {
                let whole = advice.as_ref().map_or_else(|| detail.clone(), |advice| format!("{detail}; {advice}"));
                if unfit {
                    file.unfit += 1;
                    file.first_unfit.get_or_insert((detail, advice.unwrap_or_default()));
                }
                Ok(Some((code, whole)))
            }
            Outcome::Example(candidate) => Ok(self.deduplicate(*candidate, batch)),
        }
    }

    fn unreadable(&self, unreadable: Unreadable, row: u64) -> Result<(Code, String)> {
        let Unreadable { encoding, detail, line } = unreadable;
        if encoding {
            return Ok((Code::BadEncoding, detail));
        }
        match self.options.on_bad_record {
            OnBadRecord::Reject => Ok((Code::BadRecord, detail)),
            OnBadRecord::Fail => {
                let file = self.file.as_ref().map_or_else(String::new, |file| file.plan.name.clone());
                Err(Error::Broken { file, row: line.unwrap_or(row), detail, skippable: true })
            }
        }
    }

    fn deduplicate(&mut self, candidate: Candidate, batch: &mut Batch) -> Option<(Code, String)> {
        let Candidate { mut example, identity, prompt, split, signature, chars } = candidate;
        let origin = Origin { file: self.file.as_ref().map_or(0, |file| file.plan.number), row: batch.row };
        if self.options.dedup != Dedup::Off
            && let Some(kept) = self.seen.exact(identity, origin)
        {
            return Some((Code::Duplicate, format!("the same as {}", self.place(kept))));
        }
        if let Some(signature) = signature
            && let Some((kept, near)) = self.seen.near(signature, origin)
        {
            let detail =
                format!("nearly the same as {} (about {:.0} % of its runs of words)", self.place(kept), near * 100.0);
            return Some((Code::NearDuplicate, detail));
        }
        if let Some(prompt) = prompt {
            self.prompts.add(prompt, split);
        }
        self.summary.count_written(split, chars);
        example.source_row = batch.row;
        batch.examples.entry(split).or_default().push(example);
        None
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
        let Summary { read, written, rejected, .. } = self.summary;
        if read != written + rejected {
            return Err(Error::RowsDoNotAddUp { read, written, rejected });
        }
        if written == 0 {
            return Err(Error::NothingLeft {
                rows: read,
                reasons: self.summary.reasons(),
                first: self.summary.first_reject(),
            });
        }
        self.summary.shared_prompts = self.prompts.leaks();
        Ok(self.summary)
    }
}

/// The rows of one chunk on their way to the sink.
#[derive(Default)]
struct Batch {
    row: u64,
    examples: BTreeMap<Split, Vec<Example>>,
    rejects: Vec<Reject>,
}
