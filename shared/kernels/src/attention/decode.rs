//! Attention of new tokens to a key-value cache, for generation: no gradient, and a sequence's result does not depend, to
//! the bit, on the other sequences or on how many of its tokens come at a time.

use std::ops::Range;

use super::AttentionOptions;
use crate::{
    append_rows,
    numeric::{exp, tanh},
    parallel::CHUNK,
    simd::{Kernel, LANES, dispatch, mul_add, sum_lanes},
    tensors::Floats,
};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

/// The cache of one sequence in one layer, the new tokens included.
#[derive(Clone, Copy, Debug)]
pub struct CachedSequence<'a> {
    /// Keys of all its positions, in blocks as [`append_keys`] lays them out.
    pub keys: &'a [f32],
    /// Values of all its positions, `[T, G, D]` flat.
    pub values: &'a [f32],
    /// How many of the `T` positions are new: the rows of `q` that belong to this sequence.
    pub new_tokens: usize,
}

/// Appends rows of new keys `[N, G, D]` to a cache of `length` positions, as `[⌈T / 16⌉, G, D, 16]`: the same element of sixteen
/// positions lies side by side, so that sixteen scores are computed at once, whatever D is. What no position fills is zero.
///
/// # Errors
/// As [`append_rows`].
pub fn append_keys(buffer: &mut Vec<f32>, length: usize, keys: &Tensor, rows: Range<usize>) -> Result<()> {
    let (_, key_value_heads, dim) = keys.dims3()?;
    let (elements, mut plain) = (key_value_heads * dim, Vec::new());
    append_rows(&mut plain, keys, rows)?;
    buffer.resize((length + plain.len() / elements.max(1)).div_ceil(LANES) * LANES * elements, 0.0);
    for (new, key) in plain.chunks_exact(elements.max(1)).enumerate() {
        let (block, lane) = ((length + new) / LANES, (length + new) % LANES);
        let block = &mut buffer[block * LANES * elements..][..LANES * elements];
        for (place, value) in block.iter_mut().skip(lane).step_by(LANES).zip(key) {
            *place = *value;
        }
    }
    Ok(())
}

/// `q` `[M, H, D]` holds the new tokens of each sequence, one sequence after the other; each attends to its own cache, whose
/// last `new_tokens` positions are the new tokens themselves (append them first, see [`append_keys`] and [`append_rows`]).
/// Returns `[M, H, D]`.
///
/// # Errors
/// Where the sizes do not fit.
pub fn attention_decode(
    q: &Tensor,
    caches: &[CachedSequence<'_>],
    key_value_heads: usize,
    options: &AttentionOptions,
) -> Result<Tensor> {
    let (rows, heads, dim) = q.dims3()?;
    let position = key_value_heads * dim;
    let new: usize = caches.iter().map(|cache| cache.new_tokens).sum();
    if new != rows || key_value_heads == 0 || !heads.is_multiple_of(key_value_heads) || options.window == Some(0) {
        bail!(
            "attention_decode: expected {rows} new tokens and {heads} query heads a multiple of the key-value heads, \
             found {new} and {key_value_heads} (window {:?})",
            options.window
        );
    }
    for (index, cache) in caches.iter().enumerate() {
        let whole = position > 0 && cache.values.len().is_multiple_of(position);
        let blocks = |values: usize| (values / position.max(1)).div_ceil(LANES) * LANES * position;
        let fits = cache.keys.len() == blocks(cache.values.len());
        if !whole || !fits || cache.values.len() < cache.new_tokens * position {
            bail!(
                "attention_decode: expected for sequence {index} keys (in blocks of {LANES} positions) and values of at least {} \
                 positions of {position} elements, found {} and {} elements",
                cache.new_tokens,
                cache.keys.len(),
                cache.values.len()
            );
        }
    }
    let host = q.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    let queries = Floats::of(&host)?;
    let group = heads / key_value_heads;
    let mut y = vec![0.0; rows * heads * dim];
    // Some tokens of a sequence with all their heads, or, where a token alone is work enough, one with some of its heads:
    // a head of a token is computed alike in any task.
    let (mut tasks, mut queries, mut left, mut work) = (Vec::new(), &queries[..], &mut y[..], 0);
    for cache in caches {
        let length = cache.values.len() / position.max(1);
        let enough = TASK / (length * group * dim).max(1);
        let heads_together = (1..=key_value_heads)
            .rev()
            .find(|n| key_value_heads.is_multiple_of(*n) && *n <= enough.max(1))
            .unwrap_or(1);
        let tokens_together = (SCORES / (length * heads).max(1)).clamp(1, TOKENS).min(cache.new_tokens.max(1));
        let heads_together = if tokens_together > 1 { key_value_heads } else { heads_together };
        for first in (length - cache.new_tokens..length).step_by(tokens_together) {
            for first_head in (0..key_value_heads).step_by(heads_together) {
                let tokens = first..length.min(first + tokens_together);
                let part = tokens.len() * heads_together * group * dim;
                let (q, y);
                (q, queries) = queries.split_at(part);
                (y, left) = left.split_at_mut(part);
                work += part * tokens.end;
                let heads = first_head..first_head + heads_together;
                tasks.push(Attend { queries: q, cache, tokens, y, heads, key_value_heads, dim, options });
            }
        }
    }
    if rows * heads * dim > 0 {
        let together = (TASK * tasks.len() / work.max(1)).max(1);
        tasks.into_par_iter().with_min_len(together).for_each(dispatch);
    }
    Tensor::from_vec(y, (rows, heads, dim), &Device::Cpu)?.to_dtype(q.dtype())?.to_device(q.device())
}

/// Multiply-adds of a task: some microseconds of work.
const TASK: usize = 2 * CHUNK;
/// Most tokens of a task: keys and values that are read serve all of them.
const TOKENS: usize = 8;
/// Scores of a task that stay in the second cache: 1 MiB.
const SCORES: usize = 1 << 18;
/// Positions whose keys, and whose values, serve all queries of a task before the next come.
const STRETCH: usize = 2 * LANES;

/// Some new tokens of one sequence, the query heads of some key-value heads.
struct Attend<'a> {
    /// `[tokens, heads · group, D]`, as `y`.
    queries: &'a [f32],
    cache: &'a CachedSequence<'a>,
    /// Their positions.
    tokens: Range<usize>,
    y: &'a mut [f32],
    /// The key-value heads.
    heads: Range<usize>,
    key_value_heads: usize,
    dim: usize,
    options: &'a AttentionOptions,
}

impl Kernel for Attend<'_> {
    type Output = ();

    /// A stretch of positions at a time, all heads of it: the cache is read from its begin to its end, once.
    ///
    /// What a query sees is added up by places in the cache, whatever the other queries see: a position outside has weight zero.
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let dim = self.dim;
        let seen = |position: usize| {
            self.options.window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
        };
        let offset = seen(self.tokens.start).start / STRETCH * STRETCH;
        let width = (self.tokens.end - offset).next_multiple_of(STRETCH);
        let queries = self.queries.len() / dim;
        let by_token = queries / self.tokens.len();
        let group = by_token / self.heads.len();
        let mut scores = vec![0.0f32; queries * width];
        // The queries of a key-value head, of all tokens.
        let of_head = |head: usize| {
            let tokens = self.tokens.len();
            (0..tokens * group).map(move |of| of / group * by_token + head * group + of % group)
        };
        let order: Vec<usize> = (0..self.heads.len()).flat_map(of_head).collect();
        let by_head = self.tokens.len() * group;
        for start in (offset..offset + width).step_by(STRETCH) {
            for (head, of) in (self.heads.clone()).zip(order.chunks_exact(by_head)) {
                self.score::<FMA>(head, start, of, &mut scores, (offset, width));
            }
        }
        let mut totals = vec![0.0f32; queries];
        for (query, (total, scores)) in totals.iter_mut().zip(scores.chunks_exact_mut(width)).enumerate() {
            let seen = seen(self.tokens.start + query / by_token);
            let (before, rest) = scores.split_at_mut(seen.start - offset);
            let (inside, after) = rest.split_at_mut(seen.len());
            *total = exponentials::<FMA>(inside, largest(inside));
            before.fill(0.0);
            after.fill(0.0);
        }
        for start in (offset..self.tokens.end).step_by(STRETCH) {
            for (head, of) in (self.heads.clone()).zip(order.chunks_exact(by_head)) {
                self.add_values::<FMA>(head, start, of, &scores, (offset, width));
            }
        }
        for (y, total) in self.y.chunks_exact_mut(dim).zip(totals) {
            y.iter_mut().for_each(|y| *y /= total);
        }
    }
}

impl Attend<'_> {
    /// Scores of the queries `of` at a stretch of positions.
    #[inline(always)]
    fn score<const FMA: bool>(
        &self,
        head: usize,
        start: usize,
        of: &[usize],
        scores: &mut [f32],
        sizes: (usize, usize),
    ) {
        let mut fours = of.chunks_exact(4);
        for of in &mut fours {
            self.score_tile::<FMA, 4>(head, start, of, scores, sizes);
        }
        for of in fours.remainder() {
            self.score_tile::<FMA, 1>(head, start, std::slice::from_ref(of), scores, sizes);
        }
    }

    #[inline(always)]
    fn score_tile<const FMA: bool, const Q: usize>(
        &self,
        head: usize,
        start: usize,
        of: &[usize],
        scores: &mut [f32],
        (offset, width): (usize, usize),
    ) {
        let dim = self.dim;
        let queries: [&[f32]; Q] = std::array::from_fn(|q| &self.queries[of[q] * dim..][..dim]);
        let keys = |block: usize| {
            let place = ((start / LANES + block) * self.key_value_heads + head) * dim * LANES;
            self.cache.keys.get(place..place + dim * LANES)
        };
        let Some(left) = keys(0) else { return };
        let right = keys(1).unwrap_or(left);
        let (mut s0, mut s1) = ([[0.0f32; LANES]; Q], [[0.0f32; LANES]; Q]);
        for (d, (left, right)) in left.chunks_exact(LANES).zip(right.chunks_exact(LANES)).enumerate() {
            let left: [f32; LANES] = left.try_into().expect("a chunk of that length");
            let right: [f32; LANES] = right.try_into().expect("a chunk of that length");
            for q in 0..Q {
                // SAFETY: `d` is below `dim`, the length of each query.
                let query = unsafe { *queries[q].get_unchecked(d) };
                for lane in 0..LANES {
                    s0[q][lane] = mul_add::<FMA>(query, left[lane], s0[q][lane]);
                }
                for lane in 0..LANES {
                    s1[q][lane] = mul_add::<FMA>(query, right[lane], s1[q][lane]);
                }
            }
        }
        for q in 0..Q {
            let scores = &mut scores[of[q] * width + start - offset..][..STRETCH];
            for (scores, sums) in scores.chunks_exact_mut(LANES).zip([s0[q], s1[q]]) {
                for lane in 0..LANES {
                    scores[lane] = sums[lane] * self.options.scale;
                }
                if let Some(cap) = self.options.softcap {
                    scores.iter_mut().for_each(|score| *score = cap * tanh::<FMA>(*score / cap));
                }
            }
        }
    }

    /// Adds the values of a stretch of positions, each times its weight, to the queries `of`.
    #[inline(always)]
    fn add_values<const FMA: bool>(
        &mut self,
        head: usize,
        start: usize,
        of: &[usize],
        weights: &[f32],
        sizes: (usize, usize),
    ) {
        match self.dim {
            8 => self.add_means::<FMA, 8, 4, 1>(head, start, of, weights, sizes),
            16 => self.add_means::<FMA, 16, 4, 1>(head, start, of, weights, sizes),
            32 => self.add_means::<FMA, 32, 4, 1>(head, start, of, weights, sizes),
            64 => self.add_means::<FMA, 64, 2, 2>(head, start, of, weights, sizes),
            128 => self.add_means::<FMA, 128, 2, 1>(head, start, of, weights, sizes),
            dim => {
                let (offset, width) = sizes;
                let position = self.key_value_heads * dim;
                let values = &self.cache.values[start * position..self.tokens.end.min(start + STRETCH) * position];
                for &of in of {
                    let weights = &weights[of * width + start - offset..][..STRETCH];
                    let y = &mut self.y[of * dim..][..dim];
                    for (weight, value) in weights.iter().zip(values.chunks_exact(position)) {
                        let value = &value[head * dim..][..dim];
                        y.iter_mut().zip(value).for_each(|(y, v)| *y = mul_add::<FMA>(*weight, *v, *y));
                    }
                }
            }
        }
    }

    /// For heads of D elements: Q queries at a time, over N sums that take the positions in turn.
    #[inline(always)]
    fn add_means<const FMA: bool, const D: usize, const N: usize, const Q: usize>(
        &mut self,
        head: usize,
        start: usize,
        of: &[usize],
        weights: &[f32],
        sizes: (usize, usize),
    ) {
        let mut some = of.chunks_exact(Q);
        for of in &mut some {
            self.add_tile::<FMA, D, N, Q>(head, start, of, weights, sizes);
        }
        for of in some.remainder() {
            self.add_tile::<FMA, D, N, 1>(head, start, std::slice::from_ref(of), weights, sizes);
        }
    }

    #[inline(always)]
    fn add_tile<const FMA: bool, const D: usize, const N: usize, const Q: usize>(
        &mut self,
        head: usize,
        start: usize,
        of: &[usize],
        weights: &[f32],
        (offset, width): (usize, usize),
    ) {
        let position = self.key_value_heads * D;
        let end = self.tokens.end.min(start + STRETCH);
        let values = &self.cache.values[start * position + head * D..end * position];
        let weights: [&[f32; STRETCH]; Q] = std::array::from_fn(|q| {
            weights[of[q] * width + start - offset..][..STRETCH].try_into().expect("a slice of that length")
        });
        let mut sums = [[[0.0f32; D]; N]; Q];
        let count = (end - start).min(STRETCH);
        let mut place = 0;
        while place + N <= count {
            for n in 0..N {
                let value: [f32; D] = values[(place + n) * position..][..D].try_into().expect("a slice of that length");
                for q in 0..Q {
                    let weight = weights[q][place + n];
                    for d in 0..D {
                        sums[q][n][d] = mul_add::<FMA>(weight, value[d], sums[q][n][d]);
                    }
                }
            }
            place += N;
        }
        for n in 0..N - 1 {
            if place + n < count {
                let value: [f32; D] = values[(place + n) * position..][..D].try_into().expect("a slice of that length");
                for q in 0..Q {
                    let weight = weights[q][place + n];
                    for d in 0..D {
                        sums[q][n][d] = mul_add::<FMA>(weight, value[d], sums[q][n][d]);
                    }
                }
            }
        }
        for q in 0..Q {
            let y = &mut self.y[of[q] * D..][..D];
            for d in 0..D {
                let mut total = sums[q][0][d];
                for sum in &sums[q][1..] {
                    total += sum[d];
                }
                y[d] += total;
            }
        }
    }
}

/// The largest score, by lanes.
#[inline(always)]
fn largest(scores: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = scores.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes.iter().chain(tail).copied().fold(f32::NEG_INFINITY, larger)
}

/// Turns scores into exponentials relative to the largest; returns their sum.
#[inline(always)]
fn exponentials<const FMA: bool>(scores: &mut [f32], largest: f32) -> f32 {
    for score in scores.iter_mut() {
        *score = exp::<FMA>(*score - largest);
    }
    let mut lanes = [0.0f32; LANES];
    let chunks = scores.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    tail.iter().fold(sum_lanes(lanes), |total, value| total + value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Segments, attention,
        testing::{close, random},
    };

    const OPTIONS: AttentionOptions = AttentionOptions { scale: 0.3, window: None, softcap: None };

    struct Sequence {
        q: Tensor,
        k: Vec<f32>,
        v: Vec<f32>,
    }

    fn sequence(length: usize, seed: u64) -> (Sequence, Tensor, Tensor) {
        let (k, v) = (random(&[length, 2, 12], seed + 1), random(&[length, 2, 12], seed + 2));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        // In two goes, as a prompt and its answer come.
        append_keys(&mut keys, 0, &k, 0..length / 3).unwrap();
        append_keys(&mut keys, length / 3, &k, length / 3..length).unwrap();
        append_rows(&mut values, &v, 0..length).unwrap();
        (Sequence { q: random(&[length, 4, 12], seed), k: keys, v: values }, k, v)
    }

    #[test]
    fn equals_training_attention_at_once_and_token_by_token() {
        let capped = AttentionOptions { softcap: Some(2.0), ..OPTIONS };
        for options in [OPTIONS, AttentionOptions { window: Some(5), ..OPTIONS }, capped] {
            let (sequence, k, v) = sequence(70, 1);
            let segments = Segments::new(vec![0, 70]).unwrap();
            let expected = attention(&sequence.q, &k, &v, &segments, &options).unwrap();
            let cache = CachedSequence { keys: &sequence.k, values: &sequence.v, new_tokens: 70 };
            let at_once = attention_decode(&sequence.q, &[cache], 2, &options).unwrap();
            close(&at_once, &expected, 1e-5);
            for position in [0, 1, 33, 69] {
                let end = (position + 1) * 24;
                let mut keys = Vec::new();
                append_keys(&mut keys, 0, &k, 0..position + 1).unwrap();
                let cache = CachedSequence { keys: &keys, values: &sequence.v[..end], new_tokens: 1 };
                let one = attention_decode(&sequence.q.narrow(0, position, 1).unwrap(), &[cache], 2, &options).unwrap();
                let expected = at_once.narrow(0, position, 1).unwrap();
                assert_eq!(one.to_vec3::<f32>().unwrap(), expected.to_vec3::<f32>().unwrap());
            }
        }
    }

    #[test]
    fn heads_of_each_size_equal_training_attention() {
        for dim in [1, 8, 16, 20, 32, 64, 128] {
            for (length, window) in [(1, None), (37, None), (64, Some(19))] {
                let options = AttentionOptions { window, ..OPTIONS };
                let tensors = [1, 2, 3].map(|seed| random(&[length, 3, dim], seed));
                let segments = Segments::new(vec![0, length]).unwrap();
                let expected = attention(&tensors[0], &tensors[1], &tensors[2], &segments, &options).unwrap();
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                append_keys(&mut keys, 0, &tensors[1], 0..length).unwrap();
                append_rows(&mut values, &tensors[2], 0..length).unwrap();
                let cache = CachedSequence { keys: &keys, values: &values, new_tokens: length };
                close(&attention_decode(&tensors[0], &[cache], 3, &options).unwrap(), &expected, 2e-5);
            }
        }
    }

    #[test]
    fn other_sequences_change_no_bit() {
        let sequences: Vec<Sequence> = (0..5).map(|i| sequence(10 + 9 * i, 10 * i as u64).0).collect();
        let new = [1, 3, 1, 10, 2];
        let caches: Vec<CachedSequence> = sequences
            .iter()
            .zip(new)
            .map(|(s, new_tokens)| CachedSequence { keys: &s.k, values: &s.v, new_tokens })
            .collect();
        let last = |s: &Sequence, new: usize| s.q.narrow(0, s.q.dim(0).unwrap() - new, new).unwrap();
        let queries: Vec<Tensor> = sequences.iter().zip(new).map(|(s, new)| last(s, new)).collect();
        let together = attention_decode(&Tensor::cat(&queries, 0).unwrap(), &caches, 2, &OPTIONS).unwrap();
        let mut row = 0;
        for ((query, cache), new) in queries.iter().zip(&caches).zip(new) {
            let alone = attention_decode(query, &[*cache], 2, &OPTIONS).unwrap();
            let expected = together.narrow(0, row, new).unwrap();
            assert_eq!(alone.to_vec3::<f32>().unwrap(), expected.to_vec3::<f32>().unwrap());
            row += new;
        }
    }

    #[test]
    fn sizes_are_checked() {
        let (s, _, _) = sequence(4, 1);
        let short = CachedSequence { keys: &s.k, values: &s.v[..24], new_tokens: 4 };
        assert!(attention_decode(&s.q, &[short], 2, &OPTIONS).is_err());
        assert!(attention_decode(&s.q, &[], 2, &OPTIONS).is_err());
    }
}
