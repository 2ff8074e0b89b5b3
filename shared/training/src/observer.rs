//! Who is told about a run, and who may stop it.

use crate::{Progress, SegmentLoss, Snapshot, StepRecord};

/// What an observer fails with.
pub type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// Listens to a run: progress bars, checkpoints and stop requests live behind this, outside of the crate.
///
/// Every method has a default that does nothing.
pub trait Observer {
    /// A validation pass begins over this many rows.
    fn validating(&mut self, _rows: usize) {}

    /// The loss before the first step is known.
    fn initial_validation(&mut self, _validation_loss: f64) {}

    /// Losses of the examples that a step learnt from, before its update. Told before [`Observer::step`].
    fn learnt(&mut self, _step: usize, _examples: &[SegmentLoss]) {}

    /// Losses of the validation examples after so many steps. Told before [`Observer::step`].
    fn validated(&mut self, _step: usize, _examples: &[SegmentLoss]) {}

    /// The work of a step begins: from here to [`Observer::validating`] or [`Observer::step`] is its time.
    fn step_begins(&mut self, _step: usize) {}

    /// A step is done and, where it was due, validated.
    fn step(&mut self, _record: &StepRecord, _progress: &Progress) {}

    /// The step just done has the lowest validation loss so far: its tensors may become the result.
    ///
    /// # Errors
    /// Whatever keeps the observer from keeping them; the run ends with it.
    fn improved(&mut self, _snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        Ok(())
    }

    /// A checkpoint is due: every `save_every` steps, at the last step, and when a stop was requested.
    ///
    /// # Errors
    /// Whatever keeps the observer from keeping it; the run ends with it.
    fn checkpoint(&mut self, _snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        Ok(())
    }

    /// Whether the run should end after the current step, to be resumed later. Asked after every step.
    fn stop_requested(&mut self) -> bool {
        false
    }
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
