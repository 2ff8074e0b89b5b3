//! What the training loop tells, turned into a progress bar, step times and checkpoints.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use artifact::{Identity, Split, ThroughputRow};
use cli::{Interrupt, Progress as Bar};
use training::{Observer, ObserverError, Progress, SegmentLoss, Snapshot, StepRecord};

use super::checkpoint::Checkpoints;
use super::history::History;

/// Puts the trained tensors into a folder.
pub(crate) type WriteModel<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// The observer of a run at the command line.
pub(crate) struct Watch<'a> {
    checkpoints: &'a Checkpoints,
    identity: &'a Identity,
    write_model: WriteModel<'a>,
    keep_best: bool,
    bar: Bar,
    interrupt: &'a Interrupt,
    tokens_before: u64,
    began: Instant,
    seconds: Option<f64>,
    times: Vec<ThroughputRow>,
    history: History,
    saved_at: Option<usize>,
}

impl<'a> Watch<'a> {
    /// `times` are those of the steps before a resumption.
    pub(crate) fn new(
        checkpoints: &'a Checkpoints,
        identity: &'a Identity,
        write_model: WriteModel<'a>,
        keep_best: bool,
        bar: Bar,
        interrupt: &'a Interrupt,
        times: Vec<ThroughputRow>,
        history: History,
        tokens_before: u64,
    ) -> Self {
        let (began, seconds, saved_at) = (Instant::now(), None, None);
        Self {
            checkpoints,
            identity,
            write_model,
            keep_best,
            bar,
            interrupt,
            tokens_before,
            began,
            seconds,
            times,
            history,
            saved_at,
        }
    }

    /// Wall time of every step so far.
    pub(crate) fn times(&self) -> &[ThroughputRow] {
        &self.times
    }

    /// Loss of each example so far.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Tokens per second of the steps themselves.
    pub(crate) fn tokens_per_second(&self, tokens: u64) -> f64 {
        let seconds: f64 = self.times.iter().map(|row| row.seconds).sum();
        tokens as f64 / seconds.max(1e-9)
    }

    /// The step of the last checkpoint written by this process.
    pub(crate) fn saved_at(&self) -> Option<usize> {
        self.saved_at
    }

    /// The step's own time ends with the first thing that follows it.
    fn stop_clock(&mut self) {
        self.seconds.get_or_insert(self.began.elapsed().as_secs_f64());
    }
}

impl Observer for Watch<'_> {
    fn validating(&mut self, _rows: usize) {
        self.stop_clock();
    }

    fn learnt(&mut self, step: usize, examples: &[SegmentLoss]) {
        self.stop_clock();
        self.history.add(step, Split::Train, examples);
    }

    fn validated(&mut self, step: usize, examples: &[SegmentLoss]) {
        self.history.add(step, Split::Validation, examples);
    }

    fn step_begins(&mut self, _step: usize) {
        self.began = Instant::now();
        self.seconds = None;
    }

    fn step(&mut self, record: &StepRecord, progress: &Progress) {
        self.stop_clock();
        let seconds = self.seconds.expect("the clock was just stopped");
        let tokens = record.tokens - self.tokens_before;
        self.tokens_before = record.tokens;
        let tokens_per_second = tokens as f64 / seconds.max(1e-9);
        self.times.push(ThroughputRow { step: record.step as u64, seconds, tokens_per_second });
        self.bar.set(record.step as u64);
        self.bar.message(line(record, progress, tokens_per_second));
    }

    fn improved(&mut self, snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        if self.keep_best {
            self.checkpoints.write_best(snapshot.progress.step, self.write_model)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        self.checkpoints.write(snapshot, self.identity, &self.times, &self.history, self.write_model)?;
        self.saved_at = Some(snapshot.progress.step);
        Ok(())
    }

    fn stop_requested(&mut self) -> bool {
        self.interrupt.requested()
    }
}

/// What stands behind the bar: the newest loss, the newest validation, the speed.
fn line(record: &StepRecord, progress: &Progress, tokens_per_second: f64) -> String {
    let validation = progress.records.iter().rev().find_map(|record| record.validation_loss);
    let validation = validation.map_or_else(String::new, |loss| format!(" · validation {loss:.4}"));
    format!("loss {:.4}{validation} · {tokens_per_second:.0} tokens/s", record.loss)
}
