//! Keys and values of the tokens that a model has already seen, for each layer and sequence.

use crate::ModelError;

/// The cache of several sequences of different lengths.
#[derive(Debug, Clone)]
pub struct KvCache {
    lengths: Vec<usize>,
    /// The tokens seen, by sequence: some are read again when a sequence outgrows its context.
    tokens: Vec<Vec<u32>>,
    layers: Vec<Vec<Rows>>,
}

/// Keys of one layer and one sequence, in blocks as [`kernels::append_keys`] lays them out, and values, `[T, G, D]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

impl KvCache {
    pub(crate) fn new(layers: usize, sequences: usize) -> Self {
        let layers = vec![vec![Rows::default(); sequences]; layers];
        Self { lengths: vec![0; sequences], tokens: vec![Vec::new(); sequences], layers }
    }

    /// Number of sequences, S.
    pub fn sequences(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens seen so far, by sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Keeps only these sequences, in this order; a sequence may be named several times, to share a prefix.
    ///
    /// # Errors
    /// Where an index is out of range.
    pub fn select(&mut self, sequences: &[usize]) -> Result<(), ModelError> {
        if let Some(wrong) = sequences.iter().find(|index| **index >= self.lengths.len()) {
            return Err(ModelError::Batch(format!("the cache holds {} sequences, not {wrong}", self.lengths.len())));
        }
        self.lengths = sequences.iter().map(|index| self.lengths[*index]).collect();
        self.tokens = sequences.iter().map(|index| self.tokens[*index].clone()).collect();
        for layer in &mut self.layers {
            let mut old: Vec<Option<Rows>> = std::mem::take(layer).into_iter().map(Some).collect();
            // The last use of a sequence takes its memory; earlier ones copy it.
            *layer = sequences
                .iter()
                .enumerate()
                .map(|(place, index)| {
                    let again = sequences[place + 1..].contains(index);
                    let rows = if again { old[*index].clone() } else { old[*index].take() };
                    rows.expect("only the last use takes the rows")
                })
                .collect();
        }
        Ok(())
    }

    /// Takes the sequences of another cache of the same model in, after its own: newcomers join a running batch.
    ///
    /// # Errors
    /// Where the other cache has another number of layers.
    pub fn append(&mut self, other: Self) -> Result<(), ModelError> {
        if self.layers.len() != other.layers.len() {
            let (own, found) = (self.layers.len(), other.layers.len());
            return Err(ModelError::Batch(format!("a cache of {found} layers cannot join one of {own}")));
        }
        self.lengths.extend(other.lengths);
        self.tokens.extend(other.tokens);
        for (layer, more) in self.layers.iter_mut().zip(other.layers) {
            layer.extend(more);
        }
        Ok(())
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut [Rows] {
        &mut self.layers[layer]
    }

    pub(crate) fn tokens(&self, sequence: usize) -> &[u32] {
        &self.tokens[sequence]
    }

    pub(crate) fn advance(&mut self, sequence: usize, tokens: &[u32]) {
        self.lengths[sequence] += tokens.len();
        self.tokens[sequence].extend_from_slice(tokens);
    }

    /// Forgets a sequence, which is about to be read again.
    pub(crate) fn clear(&mut self, sequence: usize) {
        self.lengths[sequence] = 0;
        self.tokens[sequence].clear();
        for layer in &mut self.layers {
            layer[sequence] = Rows::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> KvCache {
        let mut cache = KvCache::new(1, 3);
        for sequence in 0..3 {
            cache.advance(sequence, &vec![0; sequence + 1]);
            cache.layer_mut(0)[sequence].keys = vec![sequence as f32; sequence + 1];
        }
        cache
    }

    #[test]
    fn selecting_drops_reorders_and_repeats() {
        let mut cache = cache();
        cache.select(&[2, 0, 2]).unwrap();
        assert_eq!(cache.lengths(), [3, 1, 3]);
        let keys: Vec<_> = cache.layer_mut(0).iter().map(|rows| rows.keys.clone()).collect();
        assert_eq!(keys, [vec![2.0; 3], vec![0.0], vec![2.0; 3]]);
    }

    #[test]
    fn newcomers_come_last() {
        let mut running = cache();
        running.append(cache()).unwrap();
        assert_eq!(running.lengths(), [1, 2, 3, 1, 2, 3]);
        assert!(running.append(KvCache::new(2, 1)).is_err());
    }

    #[test]
    fn a_sequence_that_is_not_there_is_an_error() {
        assert!(cache().select(&[3]).is_err());
    }
}
