//! Decoding with a cache: new tokens in, logits of each sequence's last token out, no gradient.
//!
//! Invariant: a sequence's logits depend, to the bit, neither on the other sequences of the call nor on how many of its
//! tokens come at a time. So tokens of any sequences are read together, as many as make a quick matrix product.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;
use kernels::{AttentionOptions, CachedSequence, Segments, append_keys, append_rows};

use super::Decoder;
use crate::batch::segments;
use crate::cache::{KvCache, Rows};
use crate::parts::{Attend, Remade, RotaryTable};
use crate::{Batch, Mode, ModelError};

/// Tokens that are read together: what a layer computes of them stays in the caches.
const RUN: usize = 256;

/// Some new tokens of one sequence.
struct Piece {
    sequence: usize,
    tokens: Range<usize>,
}

impl Decoder {
    /// An empty cache for so many sequences.
    pub fn new_cache(&self, sequences: usize) -> KvCache {
        KvCache::new(self.layers.len(), sequences)
    }

    /// The longest sequence whose positions are turned alike whatever follows: up to there, what was computed of its
    /// beginning holds for any other that begins so.
    pub fn settled_context(&self) -> usize {
        self.rotary.iter().map(RotaryTable::settled_context).min().unwrap_or(usize::MAX)
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
        let seen = |sequence: usize| if anew.contains_key(&sequence) { 0 } else { cache.lengths()[sequence] };
        let whole: Vec<Piece> =
            (0..new_tokens.len()).map(|sequence| Piece { sequence, tokens: 0..new_tokens[sequence].len() }).collect();
        let learned = self.description.embedding.positions.is_some().then_some(self.description.context);
        batch_of(new_tokens, &seen, &whole)?.check(self.description.vocabulary, learned)?;
        for sequence in anew.keys() {
            cache.clear(*sequence);
        }
        let mut last: Vec<Option<Tensor>> = vec![None; new_tokens.len()];
        for run in runs(&whole) {
            let hidden = self.run(new_tokens, cache, &run)?;
            for (place, piece) in run.iter().enumerate() {
                if piece.tokens.end == new_tokens[piece.sequence].len() {
                    last[piece.sequence] = Some(hidden.narrow(0, place, 1)?);
                }
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

    /// Hidden states after the final norm of the last token of each piece, `[pieces, C]`.
    fn run(&self, new_tokens: &[&[u32]], cache: &mut KvCache, run: &[Piece]) -> Result<Tensor, ModelError> {
        let batch = batch_of(new_tokens, &|sequence| cache.lengths()[sequence], run)?;
        let ends =
            |piece: &Piece| cache.lengths()[piece.sequence] + new_tokens[piece.sequence].len() - piece.tokens.start;
        let tables = self.rotary_rows(&batch, &run.iter().map(ends).collect::<Vec<_>>())?;
        let mut x = self.embed(&batch)?.detach();
        for layer in &self.layers {
            let last_layer = self.layers.len() - 1;
            let mut attend = OverCache { cache, run, new: &batch.segments, last_layer };
            x = layer.forward(&x, &tables, &mut attend, Mode::Generate, &mut Remade::nothing())?.detach();
        }
        for Piece { sequence, tokens } in run {
            cache.advance(*sequence, &new_tokens[*sequence][tokens.clone()]);
        }
        Ok(self.finish(&x)?.detach())
    }
}

/// Cuts new tokens into runs of [`RUN`], each sequence in order.
fn runs(whole: &[Piece]) -> Vec<Vec<Piece>> {
    let (mut runs, mut room) = (vec![Vec::new()], RUN);
    for Piece { sequence, tokens } in whole {
        let mut begin = tokens.start;
        while begin < tokens.end {
            if room == 0 {
                runs.push(Vec::new());
                room = RUN;
            }
            let end = tokens.end.min(begin + room);
            runs.last_mut().expect("there is one").push(Piece { sequence: *sequence, tokens: begin..end });
            room -= end - begin;
            begin = end;
        }
    }
    runs
}

/// The new tokens of some sequences, with positions that continue what was seen of each.
fn batch_of(new_tokens: &[&[u32]], seen: &dyn Fn(usize) -> usize, pieces: &[Piece]) -> Result<Batch, ModelError> {
    let mut boundaries = vec![0];
    let mut input_ids = Vec::new();
    let mut position_ids = Vec::new();
    for Piece { sequence, tokens } in pieces {
        let (tokens, seen) = (&new_tokens[*sequence][tokens.clone()], seen(*sequence) as u32);
        input_ids.extend_from_slice(tokens);
        position_ids.extend(seen..seen + tokens.len() as u32);
        boundaries.push(input_ids.len());
    }
    Ok(Batch { input_ids, position_ids, segments: segments(boundaries)? })
}

/// Attention of new tokens over all that their sequences have seen.
struct OverCache<'a> {
    cache: &'a mut KvCache,
    /// In the order of the segments of `new`.
    run: &'a [Piece],
    new: &'a Segments,
    last_layer: usize,
}

impl OverCache<'_> {
    /// Whether each piece goes on with its last token alone.
    fn only_ends(&self, layer: usize) -> bool {
        layer == self.last_layer && self.new.total() > self.run.len()
    }
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
        let only_ends = self.only_ends(layer);
        let q = self.passed_on(layer, q)?;
        let rows = self.cache.layer_mut(layer);
        let elements = k.dim(1)? * k.dim(2)?;
        for (piece, new) in self.run.iter().zip(self.new.iter()) {
            let Rows { keys, values } = &mut rows[piece.sequence];
            append_keys(keys, values.len() / elements.max(1), k, new.clone())?;
            append_rows(values, v, new)?;
        }
        let cached: Vec<CachedSequence<'_>> = self
            .run
            .iter()
            .zip(self.new.iter())
            .map(|(piece, new)| {
                let Rows { keys, values } = &rows[piece.sequence];
                CachedSequence { keys, values, new_tokens: if only_ends { 1 } else { new.len() } }
            })
            .collect();
        Ok(kernels::attention_decode(&q, &cached, k.dim(1)?, options)?)
    }

    /// Of the last layer, only the last token of each piece is asked for: the others have left their keys and values.
    fn passed_on(&self, layer: usize, rows: &Tensor) -> Result<Tensor, ModelError> {
        if !self.only_ends(layer) {
            return Ok(rows.clone());
        }
        let ends: Vec<Tensor> =
            self.new.iter().map(|segment| rows.narrow(0, segment.end - 1, 1)).collect::<Result<_, _>>()?;
        Ok(Tensor::cat(&ends, 0)?)
    }
}
