//! Causal attention inside each segment of a flat batch (Vaswani et al. 2017), with grouped key-value heads (Ainslie et
//! al. 2023), sliding window and soft cap. Scores exist for one block of queries at a time, and the backward pass
//! recomputes them from each query's largest and sum (Dao et al. 2022).

mod backward;
mod blocks;
mod decode;
mod forward;

pub use decode::{CachedSequence, append_keys, attention_decode};

use crate::{
    Segments,
    profile::timed,
    tape::apply3,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use std::sync::OnceLock;

/// How scores are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// What a query's product with a key is multiplied by, mostly `1 / √D`.
    pub scale: f32,
    /// A query sees so many positions, its own included; all earlier ones where absent.
    pub window: Option<usize>,
    /// Gemma's cap: `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// Number of heads and sizes, checked once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) query: usize,
    pub(crate) key_value: usize,
    pub(crate) dim: usize,
}

impl Heads {
    /// Query heads that share a key-value head.
    pub(crate) fn group(self) -> usize {
        self.query / self.key_value
    }
}

/// `q` `[N, H, D]` attends to `k` and `v` `[N, G, D]` of its own segment at its own and earlier positions; query head `h`
/// uses key-value head `h / (H / G)`. Returns `[N, H, D]`.
///
/// # Errors
/// Where the shapes do not fit, `H` is not a multiple of `G`, or the segments do not cover the `N` rows.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
    options: &AttentionOptions,
) -> Result<Tensor> {
    let ((n, query, dim), (_, key_value, _)) = (q.dims3()?, k.dims3()?);
    if k.dims() != [n, key_value, dim] || v.dims() != k.dims() || key_value == 0 || !query.is_multiple_of(key_value) {
        bail!(
            "attention: expected keys and values of shape [{n}, G, {dim}] with {query} a multiple of G, found {:?} and {:?}",
            k.dims(),
            v.dims()
        );
    }
    if segments.total() != n || options.window == Some(0) {
        bail!(
            "attention: expected segments that cover {n} rows and a window of at least 1, found {} rows and {:?}",
            segments.total(),
            options.window
        );
    }
    if !fused(&[q, k, v]) {
        return portable(q, k, v, segments, options);
    }
    let op = Attention {
        segments: segments.clone(),
        heads: Heads { query, key_value, dim },
        options: *options,
        statistics: OnceLock::new(),
    };
    apply3(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, op)
}

/// All scores of a segment at once: the oracle of the tests, and what other devices run.
fn portable(q: &Tensor, k: &Tensor, v: &Tensor, segments: &Segments, options: &AttentionOptions) -> Result<Tensor> {
    let ((_, heads, dim), groups) = (q.dims3()?, k.dim(1)?);
    let mut parts = Vec::with_capacity(segments.count());
    for segment in segments.iter() {
        let t = segment.len();
        let of_heads = |x: &Tensor| -> Result<Tensor> {
            let x = x.narrow(0, segment.start, t)?;
            let (x, repeats) = (x.unsqueeze(2)?, heads / x.dim(1)?);
            let x = x.broadcast_as((t, heads / repeats, repeats, dim))?.reshape((t, heads, dim))?;
            x.transpose(0, 1)?.contiguous()
        };
        let mut scores = (of_heads(q)?.matmul(&of_heads(k)?.t()?)? * f64::from(options.scale))?;
        if let Some(cap) = options.softcap {
            scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
        }
        let window = options.window.unwrap_or(t);
        let mask = (0..t * t).map(|at| {
            let (query, key) = (at / t, at % t);
            if key <= query && query < key + window { 0f32 } else { f32::NEG_INFINITY }
        });
        let mask = Tensor::from_iter(mask, q.device())?.reshape((1, t, t))?.to_dtype(q.dtype())?;
        let scores = scores.broadcast_add(&mask)?;
        let powers = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
        let weights = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
        parts.push(weights.matmul(&of_heads(v)?)?.transpose(0, 1)?.contiguous()?);
    }
    debug_assert!(heads.is_multiple_of(groups));
    if parts.is_empty() { Ok(q.clone()) } else { Tensor::cat(&parts, 0) }
}

struct Attention {
    segments: Segments,
    heads: Heads,
    options: AttentionOptions,
    /// Each query's largest score and the inverse of its sum of exponentials, `[N, H, 2]`, from the forward pass for the
    /// backward pass.
    statistics: OnceLock<Vec<f32>>,
}

impl Attention {
    fn arguments<'a>(&'a self, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> forward::Arguments<'a> {
        forward::Arguments { q, k, v, segments: &self.segments, heads: self.heads, options: &self.options }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("attention", false);
        let (q, k, v) = (floats(q, lq)?, floats(k, lk)?, floats(v, lv)?);
        let (y, statistics) = forward::forward(&self.arguments(q, k, v));
        self.statistics.get_or_init(|| statistics);
        Ok(storage(y, lq.shape()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("attention", true);
        let grad = grad.contiguous()?;
        let (qs, ks, vs, ys, gs) = (Floats::of(q)?, Floats::of(k)?, Floats::of(v)?, Floats::of(y)?, Floats::of(&grad)?);
        let statistics = self.statistics.get().expect("the forward pass ran before the backward pass");
        let saved = backward::Saved { arguments: self.arguments(&qs, &ks, &vs), y: &ys, statistics, grad: &gs };
        let [grad_q, grad_k, grad_v] = backward::backward(&saved);
        Ok((Some(tensor(grad_q, q)?), Some(tensor(grad_k, k)?), Some(tensor(grad_v, v)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};
    use proptest::prelude::*;

    fn check(boundaries: Vec<usize>, heads: (usize, usize, usize), options: AttentionOptions) {
        let segments = Segments::new(boundaries).unwrap();
        let (n, (query, key_value, dim)) = (segments.total(), heads);
        Check::new(|t| attention(&t[0], &t[1], &t[2], &segments, &options))
            .with_plain(|t| portable(&t[0], &t[1], &t[2], &segments, &options))
            .run(&[
                (random(&[n, query, dim], 1) * 2.0).unwrap(),
                (random(&[n, key_value, dim], 2) * 2.0).unwrap(),
                random(&[n, key_value, dim], 3),
            ]);
    }

    fn plain(dim: usize) -> AttentionOptions {
        AttentionOptions { scale: 1.0 / (dim as f32).sqrt(), window: None, softcap: None }
    }

    #[test]
    fn agrees_with_the_plain_formula() {
        check(vec![0, 1], (1, 1, 1), plain(1));
        check(vec![0, 5, 6, 29], (4, 2, 8), plain(8));
        check(vec![0, 64, 130, 400], (3, 1, 20), plain(20));
        check(vec![0, 1100], (2, 1, 16), plain(16));
        check((0..100).map(|i| i * 7).collect(), (4, 4, 32), plain(32));
        check(vec![0], (2, 1, 4), plain(4));
    }

    #[test]
    fn window_and_soft_cap() {
        for window in [1, 2, 31, 64, 65, 200] {
            check(vec![0, 3, 170], (2, 1, 8), AttentionOptions { window: Some(window), ..plain(8) });
        }
        check(vec![0, 3, 170], (2, 2, 8), AttentionOptions { softcap: Some(1.5), ..plain(8) });
        check(vec![0, 700], (2, 2, 8), AttentionOptions { window: Some(100), softcap: Some(1.5), ..plain(8) });
    }

    proptest! {
            #![proptest_config(ProptestConfig::with_cases(25))]
            #[test]
            fn any_shape(
                lengths in prop::collection::vec(1usize..90, 1..6),
                group in 1usize..4, key_value in 1usize..3, dim in 1usize..40,
                window in prop::option::of(1usize..100), softcap in prop::option::of(1f32..9.0),
            ) {
                let mut boundaries = vec![0];
                for length in lengths {
     boundaries.push(boundaries[boundaries.len() - 1] + length);
    }
                check(boundaries, (group * key_value, key_value, dim), AttentionOptions { window, softcap, ..plain(dim) });
            }
        }

    #[test]
    fn other_segments_change_no_bit() {
        let (q, k, v) = (random(&[1500, 4, 16], 1), random(&[1500, 2, 16], 2), random(&[1500, 2, 16], 3));
        let boundaries = [0usize, 1, 40, 700, 730, 1500];
        let together = attention(&q, &k, &v, &Segments::new(boundaries.to_vec()).unwrap(), &plain(16)).unwrap();
        for pair in boundaries.windows(2) {
            let of = |x: &Tensor| x.narrow(0, pair[0], pair[1] - pair[0]).unwrap();
            let segment = Segments::new(vec![0, pair[1] - pair[0]]).unwrap();
            let alone = attention(&of(&q), &of(&k), &of(&v), &segment, &plain(16)).unwrap();
            assert_eq!(alone.to_vec3::<f32>().unwrap(), of(&together).to_vec3::<f32>().unwrap());
        }
    }

    #[test]
    fn shapes_are_checked() {
        let segments = Segments::new(vec![0, 4]).unwrap();
        let (q, k) = (random(&[4, 3, 8], 1), random(&[4, 2, 8], 2));
        assert!(attention(&q, &k, &k, &segments, &plain(8)).is_err());
        assert!(attention(&k, &k, &k, &Segments::new(vec![0, 3]).unwrap(), &plain(8)).is_err());
    }
}
