//! A batch without padding, and whether it is being trained on.

use kernels::Segments;

use crate::ModelError;

/// Tokens of several sequences, one after the other, N in total. A segment sees only itself.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Token ids, N.
    pub input_ids: Vec<u32>,
    /// Position of each token in its own sequence, N; starts at 0 in each segment.
    pub position_ids: Vec<u32>,
    /// Where the segments begin and end; their total is N.
    pub segments: Segments,
}

impl Batch {
    /// From whole sequences: positions count from 0 in each.
    ///
    /// # Errors
    /// Where a sequence is empty, or there is none.
    pub fn from_sequences<S: AsRef<[u32]>>(sequences: &[S]) -> Result<Self, ModelError> {
        let mut boundaries = vec![0];
        let mut input_ids = Vec::new();
        let mut position_ids = Vec::new();
        for sequence in sequences {
            let sequence = sequence.as_ref();
            input_ids.extend_from_slice(sequence);
            position_ids.extend(0..sequence.len() as u32);
            boundaries.push(input_ids.len());
        }
        Ok(Self { input_ids, position_ids, segments: segments(boundaries)? })
    }

    /// Number of tokens, N.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Checks the lengths against each other and the ids against the vocabulary.
    pub(crate) fn check(&self, vocabulary: usize, learned_positions: Option<usize>) -> Result<(), ModelError> {
        let count = self.len();
        if self.position_ids.len() != count || self.segments.total() != count {
            return Err(ModelError::Batch(format!(
                "{count} token ids, {} positions and segments over {} tokens do not fit each other",
                self.position_ids.len(),
                self.segments.total()
            )));
        }
        for (position, &found) in self.input_ids.iter().enumerate() {
            if found as usize >= vocabulary {
                return Err(ModelError::TokenOutOfRange { found, position, vocabulary });
            }
        }
        if let (Some(context), Some(&last)) = (learned_positions, self.position_ids.iter().max())
            && last as usize >= context
        {
            return Err(ModelError::PositionOutOfRange { found: last as usize, context });
        }
        Ok(())
    }
}

/// Segments from boundaries, with the model's error.
pub(crate) fn segments(boundaries: Vec<usize>) -> Result<Segments, ModelError> {
    Segments::new(boundaries).map_err(|error| ModelError::Batch(error.to_string()))
}

/// Whether dropout is on. Random numbers come from counters: the same seed gives the same masks, whatever came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No dropout.
    Evaluate,
    /// No dropout, no gradient; a row's result does not depend, to the bit, on the other rows of the batch.
    Generate,
    /// Dropout of the adapter's inputs, where its configuration asks for it.
    Train {
        /// A number that is different for each micro-batch of a run, and the same when the run is repeated.
        dropout_seed: u64,
    },
}
