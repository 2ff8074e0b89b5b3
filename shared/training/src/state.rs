//! What a checkpoint holds, on its way out of and back into the crate.

use model::Decoder;

use crate::{Moments, Progress};

/// A run at the end of a step, lent to the observer.
///
/// With the same rows and options it is everything that the rest of the run depends on.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// Step, counts, best validation, and every step's record.
    pub progress: &'a Progress,
    /// The model with its current tensors.
    pub decoder: &'a Decoder,
    /// State of the optimizer, in the model's order.
    pub moments: &'a [Moments],
}

/// A snapshot read back. The model's tensors are loaded by whoever loads the model.
#[derive(Debug, Clone)]
pub struct SavedState {
    /// Step, counts, best validation, and every step's record.
    pub progress: Progress,
    /// State of the optimizer.
    pub moments: Vec<Moments>,
}
