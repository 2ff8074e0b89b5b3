//! Attention of new tokens to a key-value cache, for generation: no gradient, and a sequence's result does not depend, to
//! the bit, on the other sequences or on how many of its tokens come at a time.

use std::ops::Range;

use super::AttentionOptions;
use crate::{
    append_rows,
    numeric::{exp, tanh},
    parallel::{CHUNK, for_each_chunk},
    simd::{Kernel, LANES, dispatch, mul_add, sum_lanes},
    tensors::Floats,
};
use candle_core::{DType, Device, Result, Tensor, bail};

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
    let queries = &queries[..];
    // One task for each new token and key-value head.
    let tokens: Vec<(&CachedSequence, usize)> = caches
        .iter()
        .flat_map(|cache| {
            let length = cache.values.len() / position;
            (length - cache.new_tokens..length).map(move |position| (cache, position))
        })
        .collect();
    let group = heads / key_value_heads;
    let mut y = vec![0.0; rows * heads * dim];
    // As many heads of a token to a task as make work enough for the way to another thread, and no more than all: a head is
    // computed alike in any task.
    let longest = tokens.iter().map(|(_, last)| last + 1).max().unwrap_or(1);
    let enough = TASK / (longest * group * dim).max(1);
    let heads_together =
        (1..=key_value_heads).rev().find(|n| key_value_heads.is_multiple_of(*n) && *n <= enough.max(1)).unwrap_or(1);
    let tokens_together = (enough / key_value_heads).max(1);
    let part = heads_together * group * dim;
    let task = |index: usize, y: &mut [f32]| {
        let first_head = index * heads_together;
        let (cache, last) = tokens[first_head / key_value_heads];
        let first = options.window.map_or(0, |window| (last + 1).saturating_sub(window));
        let first_head = first_head % key_value_heads;
        dispatch(Attend {
            queries: &queries[index * part..][..part],
            keys: cache.keys,
            values: cache.values,
            seen: first..last + 1,
            y,
            heads: first_head..first_head + heads_together,
            key_value_heads,
            dim,
            options,
        });
    };
    if part > 0 {
        let together = if heads_together == key_value_heads { tokens_together } else { 1 };
        for_each_chunk(&mut y, together * part, |chunk, several| {
            several.chunks_exact_mut(part).enumerate().for_each(|(place, y)| task(chunk * together + place, y));
        });
    }
    Tensor::from_vec(y, (rows, heads, dim), &Device::Cpu)?.to_dtype(q.dtype())?.to_device(q.device())
}

/// Multiply-adds of a task: some microseconds of work.
const TASK: usize = 2 * CHUNK;

/// One new token, the query heads of some key-value heads.
struct Attend<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// The positions that it sees.
    seen: Range<usize>,
    y: &'a mut [f32],
    /// The key-value heads.
    heads: Range<usize>,
    key_value_heads: usize,
    dim: usize,
    options: &'a AttentionOptions,
}

impl Kernel for Attend<'_> {
    type Output = ();

    /// Sixteen positions at a time, all heads of them: the cache is read from its begin to its end, once.
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (dim, position) = (self.dim, self.key_value_heads * self.dim);
        let blocks = self.seen.start / LANES..self.seen.end.div_ceil(LANES);
        let (queries, width) = (self.queries.len() / dim, blocks.len() * LANES);
        let group = queries / self.heads.len();
        let mut scores = vec![0.0f32; queries * width];
        for (place, block) in blocks.clone().enumerate() {
            for (of, query) in self.queries.chunks_exact(dim).enumerate() {
                let head = self.heads.start + of / group;
                let keys = &self.keys[(block * self.key_value_heads + head) * dim * LANES..][..dim * LANES];
                let mut sixteen = scores_of::<FMA>(query, keys);
                for score in &mut sixteen {
                    *score *= self.options.scale;
                    if let Some(cap) = self.options.softcap {
                        *score = cap * tanh::<FMA>(*score / cap);
                    }
                }
                scores[of * width + place * LANES..][..LANES].copy_from_slice(&sixteen);
            }
        }
        let offset = blocks.start * LANES;
        let seen = self.seen.start - offset..self.seen.end - offset;
        let mut totals = vec![0.0f32; queries];
        for (total, scores) in totals.iter_mut().zip(scores.chunks_exact_mut(width)) {
            let scores = &mut scores[seen.clone()];
            *total = exponentials::<FMA>(scores, largest(scores));
        }
        self.y.fill(0.0);
        for block in blocks {
            let from = (block * LANES).max(self.seen.start);
            let to = ((block + 1) * LANES).min(self.seen.end);
            let values = &self.values[from * position..to * position];
            for (of, y) in self.y.chunks_exact_mut(dim).enumerate() {
                let weights = &scores[of * width + from - offset..][..to - from];
                add_values::<FMA>(weights, values, position, (self.heads.start + of / group) * dim, y);
            }
        }
        for (y, total) in self.y.chunks_exact_mut(dim).zip(totals) {
            y.iter_mut().for_each(|y| *y /= total);
        }
    }
}

/// Adds the values of up to sixteen positions, each times its weight.
#[inline(always)]
fn add_values<const FMA: bool>(weights: &[f32], values: &[f32], position: usize, offset: usize, y: &mut [f32]) {
    match y.len() {
        8 => add_mean::<FMA, 8, 4>(weights, values, position, offset, y),
        16 => add_mean::<FMA, 16, 4>(weights, values, position, offset, y),
        32 => add_mean::<FMA, 32, 4>(weights, values, position, offset, y),
        64 => add_mean::<FMA, 64, 2>(weights, values, position, offset, y),
        128 => add_mean::<FMA, 128, 2>(weights, values, position, offset, y),
        dim => {
            for (weight, value) in weights.iter().zip(values.chunks_exact(position)) {
                let value = &value[offset..offset + dim];
                y.iter_mut().zip(value).for_each(|(y, v)| *y = mul_add::<FMA>(*weight, *v, *y));
            }
        }
    }
}

/// The scalar products of a query with the keys of sixteen positions, `[D, 16]`.
#[inline(always)]
fn scores_of<const FMA: bool>(query: &[f32], keys: &[f32]) -> [f32; LANES] {
    // Four sums, because each addition waits for the one before it.
    let mut sums = [[0.0f32; LANES]; 4];
    for (query, keys) in query.chunks(4).zip(keys.chunks(4 * LANES)) {
        for ((q, k), sum) in query.iter().zip(keys.chunks_exact(LANES)).zip(&mut sums) {
            let k: [f32; LANES] = k.try_into().expect("a chunk of that length");
            for lane in 0..LANES {
                sum[lane] = mul_add::<FMA>(*q, k[lane], sum[lane]);
            }
        }
    }
    std::array::from_fn(|lane| (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]))
}

/// [`add_values`] for heads of D elements, over N sums that take the positions in turn.
#[inline(always)]
fn add_mean<const FMA: bool, const D: usize, const N: usize>(
    weights: &[f32],
    values: &[f32],
    position: usize,
    offset: usize,
    y: &mut [f32],
) {
    let mut sums = [[0.0f32; D]; N];
    let at = |place: usize| -> [f32; D] {
        values[place * position + offset..][..D].try_into().expect("a slice of that length")
    };
    let whole = weights.len() - weights.len() % N;
    for start in (0..whole).step_by(N) {
        for n in 0..N {
            let (weight, value) = (weights[start + n], at(start + n));
            for d in 0..D {
                sums[n][d] = mul_add::<FMA>(weight, value[d], sums[n][d]);
            }
        }
    }
    for (place, &weight) in weights.iter().enumerate().skip(whole) {
        let value = at(place);
        for d in 0..D {
            sums[0][d] = mul_add::<FMA>(weight, value[d], sums[0][d]);
        }
    }
    for d in 0..D {
        let mut total = sums[0][d];
        for sum in &sums[1..] {
            total += sum[d];
        }
        y[d] += total;
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
