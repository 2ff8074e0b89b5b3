//! Decoding with a cache: new tokens in, logits of each sequence's last token out, no gradient.
//!
//! Invariant: a sequence's logits do not depend, to the bit, on the other sequences of the call. Short steps run together
//! with linear layers whose rows are independent of each other; a longer prefix runs on its own, where the faster matrix
//! product may choose its blocking by the prefix's length.

use std::collections::BTreeMap;

use candle_core::Tensor;
use kernels::{AttentionOptions, CachedSequence, Segments, append_keys, append_rows};

use super::Decoder;
use crate::batch::segments;
use crate::cache::{KvCache, Rows};
use crate::parts::{Attend, Remade};
use crate::{Batch, Mode, ModelError};

/// Up to this many new tokens a sequence is computed together with others.
const TOGETHER: usize = 4;

impl Decoder {
    /// An empty cache for so many sequences.
    pub fn new_cache(&self, sequences: usize) -> KvCache {
        KvCache::new(self.layers.len(), sequences)
    }

    /// Feeds each sequence its new tokens (at least one; a whole prompt at first) and returns the logits `[S, V]` that
    /// follow each sequence's last one. The cache grows by the new tokens.
    ///
    /// # Errors
    /// A number of sequences that is not the cache's, a sequence without new tokens, or as [`Decoder::begin`]. The cache
    /// is as it was.
    pub fn decode(&self, new_tokens: &[&[u32]], cache: &mut KvCache) -> Result<Tensor, ModelError> {
        // Inside the pool from here on: a hop into it for each small operation would cost more than the operation.
        rayon::scope(|_| self.decode_in_pool(new_tokens, cache))
    }

    fn decode_in_pool(&self, new_tokens: &[&[u32]], cache: &mut KvCache) -> Result<Tensor, ModelError> {
        if new_tokens.len() != cache.sequences() || new_tokens.iter().any(|tokens| tokens.is_empty()) {
            return Err(ModelError::Batch(format!(
                "{} lists of new tokens for a cache of {} sequences; each needs at least one token",
                new_tokens.len(),
                cache.sequences()
            )));
        }
        let anew = self.anew(new_tokens, cache);
        let new_tokens: Vec<&[u32]> = (0..new_tokens.len())
            .map(|sequence| anew.get(&sequence).map_or(new_tokens[sequence], Vec::as_slice))
            .collect();
        let new_tokens = new_tokens.as_slice();
        let (short, long): (Vec<usize>, Vec<usize>) =
            (0..new_tokens.len()).partition(|sequence| new_tokens[*sequence].len() <= TOGETHER);
        let mut runs: Vec<Vec<usize>> = long.into_iter().map(|sequence| vec![sequence]).collect();
        if !short.is_empty() {
            runs.push(short);
        }
        let seen = |sequence: usize| if anew.contains_key(&sequence) { 0 } else { cache.lengths()[sequence] };
        for run in &runs {
            self.check_run(new_tokens, &seen, run)?;
        }
        for sequence in anew.keys() {
            cache.clear(*sequence);
        }
        let mut last: Vec<Option<Tensor>> = vec![None; new_tokens.len()];
        for run in &runs {
            let hidden = self.run(new_tokens, cache, run)?;
            for (place, sequence) in run.iter().enumerate() {
                last[*sequence] = Some(hidden.narrow(0, place, 1)?);
            }
        }
        let last: Vec<Tensor> = last.into_iter().flatten().collect();
        self.logits_of(&Tensor::cat(&last, 0)?, Mode::Generate)
    }

    /// The sequences whose positions are all turned anew once the new tokens are there, with all their tokens: they are
    /// read again from the start.
    fn anew(&self, new_tokens: &[&[u32]], cache: &KvCache) -> BTreeMap<usize, Vec<u32>> {
        let begins = |sequence: &usize| {
            let before = cache.lengths()[*sequence];
            self.rotary.iter().any(|table| table.begins_anew(before, before + new_tokens[*sequence].len()))
        };
        let all = |sequence: usize| [cache.tokens(sequence), new_tokens[sequence]].concat();
        (0..new_tokens.len()).filter(begins).map(|sequence| (sequence, all(sequence))).collect()
    }

    fn check_run(&self, new_tokens: &[&[u32]], seen: &dyn Fn(usize) -> usize, run: &[usize]) -> Result<(), ModelError> {
        let learned = self.description.embedding.positions.is_some().then_some(self.description.context);
        batch_of(new_tokens, seen, run)?.check(self.description.vocabulary, learned)
    }

    /// Hidden states after the final norm of the last token of each sequence of the run, `[sequences of the run, C]`.
    fn run(&self, new_tokens: &[&[u32]], cache: &mut KvCache, run: &[usize]) -> Result<Tensor, ModelError> {
        let batch = batch_of(new_tokens, &|sequence| cache.lengths()[sequence], run)?;
        let mode = match run {
            [only] if new_tokens[*only].len() > TOGETHER => Mode::Evaluate,
            _ => Mode::Generate,
        };
        let tables = self.rotary_rows(&batch)?;
        let mut x = self.embed(&batch)?.detach();
        for layer in &self.layers {
            let mut attend = OverCache { cache, run, new: &batch.segments };
            x = layer.forward(&x, &tables, &mut attend, mode, &mut Remade::nothing())?.detach();
        }
        for sequence in run {
            cache.advance(*sequence, new_tokens[*sequence]);
        }
        let ends: Vec<Tensor> =
            batch.segments.iter().map(|rows| x.narrow(0, rows.end - 1, 1)).collect::<Result<_, _>>()?;
        Ok(self.finish(&Tensor::cat(&ends, 0)?)?.detach())
    }
}

/// The new tokens of some sequences, with positions that continue what was seen of each.
fn batch_of(new_tokens: &[&[u32]], seen: &dyn Fn(usize) -> usize, run: &[usize]) -> Result<Batch, ModelError> {
    let mut boundaries = vec![0];
    let mut input_ids = Vec::new();
    let mut position_ids = Vec::new();
    for &sequence in run {
        let (tokens, seen) = (new_tokens[sequence], seen(sequence) as u32);
        input_ids.extend_from_slice(tokens);
        position_ids.extend(seen..seen + tokens.len() as u32);
        boundaries.push(input_ids.len());
    }
    Ok(Batch { input_ids, position_ids, segments: segments(boundaries)? })
}

/// Attention of new tokens over all that their sequences have seen.
struct OverCache<'a> {
    cache: &'a mut KvCache,
    /// Sequences of this run, in the order of the segments of `new`.
    run: &'a [usize],
    new: &'a Segments,
}

impl Attend for OverCache<'_> {
    fn attend(
        &mut self,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        options: &AttentionOptions,
    ) -> Result<Tensor, ModelError> {
        let rows = self.cache.layer_mut(layer);
        let elements = k.dim(1)? * k.dim(2)?;
        for (sequence, new) in self.run.iter().zip(self.new.iter()) {
            let Rows { keys, values } = &mut rows[*sequence];
            append_keys(keys, values.len() / elements.max(1), k, new.clone())?;
            append_rows(values, v, new)?;
        }
        let cached: Vec<CachedSequence<'_>> = self
            .run
            .iter()
            .zip(self.new.iter())
            .map(|(sequence, new)| {
                let Rows { keys, values } = &rows[*sequence];
                CachedSequence { keys, values, new_tokens: new.len() }
            })
            .collect();
        Ok(kernels::attention_decode(q, &cached, k.dim(1)?, options)?)
    }
}
