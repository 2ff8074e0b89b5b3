//! The stage's flow: one thread reads examples, all encode them, one writes rows. Each hands over in order, so the rows
//! come out as if one thread did it all, and only a few batches are in memory.

use crate::split::{Outcome, Rules, SplitWork};
use anyhow::{Result, anyhow};
use artifact::{Example, ExampleReader, Reject, Split, TokenRow, TokenStream, TokenWriter};
use cli::{Hint, Progress, Unit};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The column that tells the split in a stream.
const SPLIT: &str = "split";

/// Where rows go.
pub(crate) trait RowSink: Send {
    /// Takes rows of one split.
    fn write(&mut self, split: Split, rows: &[TokenRow]) -> Result<()>;
}

impl RowSink for BTreeMap<Split, TokenWriter> {
    fn write(&mut self, split: Split, rows: &[TokenRow]) -> Result<()> {
        match self.get_mut(&split) {
            Some(writer) => Ok(writer.write(rows)?),
            None => Err(anyhow!("there is no table for the {} split", split.as_str())),
        }
    }
}

impl<W: Write + Send> RowSink for TokenStream<W> {
    fn write(&mut self, split: Split, rows: &[TokenRow]) -> Result<()> {
        Ok(TokenStream::write(self, split, rows)?)
    }
}

/// A table of examples: of one split, or of those that its column `split` names.
pub(crate) struct Source {
    pub(crate) split: Option<Split>,
    pub(crate) reader: ExampleReader,
}

type Batch = (Split, Vec<Example>);

/// Encodes all sources into the sink; rejects are handed to `reject` as they come.
pub(crate) fn run<S: RowSink>(
    rules: &Rules<'_>,
    sources: Vec<Source>,
    sink: S,
    mut reject: impl FnMut(Vec<Reject>) -> Result<()>,
) -> Result<(BTreeMap<Split, Outcome>, S)> {
    let total: u64 = sources.iter().map(|source| source.reader.rows()).sum();
    let progress = Progress::new("encoding", (total > 0).then_some(total), Unit::Rows);
    let mut work: BTreeMap<Split, SplitWork<'_>> = BTreeMap::new();
    for source in &sources {
        if let Some(split) = source.split {
            work.insert(split, SplitWork::new(rules));
        }
    }
    std::thread::scope(|scope| {
        let (batches, received) = sync_channel(1);
        let (rows, written) = sync_channel(1);
        scope.spawn(move || read(sources, &batches));
        let writer = scope.spawn(move || write(sink, &written));
        let outcome = encode(rules, work, &received, &rows, &mut reject, &progress);
        drop((received, rows));
        // The writer's own error tells more than the closed channel that it leaves.
        let sink = writer.join().expect("the writer does not panic")?;
        Ok((outcome?, sink))
    })
}

fn read(sources: Vec<Source>, batches: &SyncSender<Result<Batch>>) {
    for mut source in sources {
        loop {
            let read = match source.reader.next_batch() {
                Ok(Some(examples)) => parts(&source, examples),
                Ok(None) => break,
                Err(error) => Err(error.into()),
            };
            // Nobody listens after an error.
            let sent = match read {
                Ok(parts) => parts.into_iter().all(|part| batches.send(Ok(part)).is_ok()),
                Err(error) => {
                    let _ = batches.send(Err(error));
                    false
                }
            };
            if !sent {
                return;
            }
        }
    }
}

/// The examples of a batch by split.
fn parts(source: &Source, examples: Vec<Example>) -> Result<Vec<Batch>> {
    if let Some(split) = source.split {
        return Ok(vec![(split, examples)]);
    }
    let Some(column) = source.reader.extra().iter().position(|name| name == SPLIT) else {
        return Ok(vec![(Split::Train, examples)]);
    };
    let mut parts: BTreeMap<Split, Vec<Example>> = BTreeMap::new();
    for example in examples {
        let word = example.extra[column].as_deref().unwrap_or("train");
        let split = Split::ALL
            .into_iter()
            .find(|split| split.as_str() == word)
            .ok_or_else(|| anyhow!("{}:{}: the split is {word:?}", example.source_file, example.source_row));
        parts
            .entry(split.hint("a stream names train, validation or test in its column split")?)
            .or_default()
            .push(example);
    }
    Ok(parts.into_iter().collect())
}

fn encode<'run>(
    rules: &'run Rules<'run>,
    mut work: BTreeMap<Split, SplitWork<'run>>,
    received: &Receiver<Result<Batch>>,
    rows: &SyncSender<(Split, Vec<TokenRow>)>,
    reject: &mut impl FnMut(Vec<Reject>) -> Result<()>,
    progress: &Progress,
) -> Result<BTreeMap<Split, Outcome>> {
    let send = |split, ready: Vec<TokenRow>| {
        if ready.is_empty() {
            return Ok(());
        }
        rows.send((split, ready)).map_err(|_| anyhow!("the rows cannot be written"))
    };
    for batch in received {
        let (split, examples) = batch?;
        progress.advance(examples.len() as u64);
        let (ready, rejects) = work.entry(split).or_insert_with(|| SplitWork::new(rules)).take(examples)?;
        if !rejects.is_empty() {
            reject(rejects)?;
        }
        send(split, ready)?;
    }
    let mut outcomes = BTreeMap::new();
    for (split, work) in work {
        let (ready, outcome) = work.finish();
        send(split, ready)?;
        outcomes.insert(split, outcome);
    }
    Ok(outcomes)
}

/// Rows handed to the sink at once.
const WRITE_BATCH: usize = 256;

fn write<S: RowSink>(mut sink: S, received: &Receiver<(Split, Vec<TokenRow>)>) -> Result<S> {
    for (split, rows) in received {
        for part in rows.chunks(WRITE_BATCH) {
            sink.write(split, part)?;
        }
    }
    Ok(sink)
}
