//! Attention of new tokens to a key-value cache, for generation: no gradient, and a sequence's result does not depend, to
//! the bit, on the other sequences or on how many of its tokens come at a time.

use super::AttentionOptions;
use crate::{
    numeric::{exp, tanh},
    simd::{Kernel, LANES, dispatch, dot, mul_add, sum_lanes},
    tensors::Floats,
};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

/// The cache of one sequence in one layer, the new tokens included.
#[derive(Clone, Copy, Debug)]
pub struct CachedSequence<'a> {
    /// Keys of all its positions, `[T, G, D]` flat.
    pub keys: &'a [f32],
    /// Values, likewise.
    pub values: &'a [f32],
    /// How many of the `T` positions are new: the rows of `q` that belong to this sequence.
    pub new_tokens: usize,
}

/// `q` `[M, H, D]` holds the new tokens of each sequence, one sequence after the other; each attends to its own cache, whose
/// last `new_tokens` positions are the new tokens themselves (append them first, see [`crate::append_rows`]).
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
        let whole = position > 0 && cache.keys.len().is_multiple_of(position);
        if !whole || cache.keys.len() != cache.values.len() || cache.keys.len() < cache.new_tokens * position {
            bail!(
                "attention_decode: expected for sequence {index} keys and values of at least {} positions of {position} \
                 elements, found {} and {} elements",
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
            let length = cache.keys.len() / position;
            (length - cache.new_tokens..length).map(move |position| (cache, position))
        })
        .collect();
    let group = heads / key_value_heads;
    let mut y = vec![0.0; rows * heads * dim];
    let task = |(index, y): (usize, &mut [f32])| {
        let (cache, last) = tokens[index / key_value_heads];
        let first = options.window.map_or(0, |window| (last + 1).saturating_sub(window));
        dispatch(Attend {
            queries: &queries[index * group * dim..][..group * dim],
            keys: &cache.keys[first * position..(last + 1) * position],
            values: &cache.values[first * position..(last + 1) * position],
            y,
            head: index % key_value_heads,
            key_value_heads,
            dim,
            options,
        });
    };
    if group * dim > 0 {
        y.par_chunks_mut(group * dim).enumerate().for_each(task);
    }
    Tensor::from_vec(y, (rows, heads, dim), &Device::Cpu)?.to_dtype(q.dtype())?.to_device(q.device())
}

/// One new token, the query heads of one key-value head.
struct Attend<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    y: &'a mut [f32],
    head: usize,
    key_value_heads: usize,
    dim: usize,
    options: &'a AttentionOptions,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (dim, position) = (self.dim, self.key_value_heads * self.dim);
        let of_head = |position: &'_ [f32]| -> std::ops::Range<usize> {
            debug_assert!(position.len() >= (self.head + 1) * dim);
            self.head * dim..(self.head + 1) * dim
        };
        let mut weights = vec![0.0f32; self.keys.len() / position];
        for (query, y) in self.queries.chunks_exact(dim).zip(self.y.chunks_exact_mut(dim)) {
            let mut largest = f32::NEG_INFINITY;
            for (weight, key) in weights.iter_mut().zip(self.keys.chunks_exact(position)) {
                let mut score = dot::<FMA>(query, &key[of_head(key)]) * self.options.scale;
                if let Some(cap) = self.options.softcap {
                    score = cap * tanh::<FMA>(score / cap);
                }
                *weight = score;
                largest = largest.max(score);
            }
            let total = exponentials::<FMA>(&mut weights, largest);
            y.fill(0.0);
            for (weight, value) in weights.iter().zip(self.values.chunks_exact(position)) {
                y.iter_mut().zip(&value[of_head(value)]).for_each(|(y, v)| *y = mul_add::<FMA>(*weight, *v, *y));
            }
            for y in y.iter_mut() {
                *y /= total;
            }
        }
    }
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
        Segments, append_rows, attention,
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
        append_rows(&mut keys, &k, 0..length).unwrap();
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
                let cache = CachedSequence { keys: &sequence.k[..end], values: &sequence.v[..end], new_tokens: 1 };
                let one = attention_decode(&sequence.q.narrow(0, position, 1).unwrap(), &[cache], 2, &options).unwrap();
                let expected = at_once.narrow(0, position, 1).unwrap();
                assert_eq!(one.to_vec3::<f32>().unwrap(), expected.to_vec3::<f32>().unwrap());
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
        let short = CachedSequence { keys: &s.k[..24], values: &s.v[..24], new_tokens: 4 };
        assert!(attention_decode(&s.q, &[short], 2, &OPTIONS).is_err());
        assert!(attention_decode(&s.q, &[], 2, &OPTIONS).is_err());
    }
}
