//! Backward pass: the weights are recomputed, block by block, from each query's largest score and sum of exponentials:
//! their logarithm in one number would cost the weights the digits of the scores' size.
//!
//! With weights `P`, scores `S`, result `O` and its gradient `dO`:
//! `dV = Pᵀ dO`, `dP = dO Vᵀ`, `dS = P ∘ (dP − rowsum(dO ∘ O)) ∘ (1 − (S/cap)²)`, `dQ = dS K · scale`, `dK = dSᵀ Q · scale`.

use super::{
    AttentionOptions, Heads,
    blocks::{BLOCK, Block, Rows, Run, blocks, most_keys, runs, scores, transpose},
    forward::{Arguments, Scaled},
};
use crate::{
    numeric::exp,
    parallel::{Shared, build, for_each_chunk, rows_per_chunk},
    product::Product,
    simd::{Kernel, LANES, dispatch},
};
use rayon::prelude::*;
use std::ops::Range;

/// What the forward pass was given and made; `statistics` is `[N, H, 2]`, the others have the shapes of [`super::attention`].
#[derive(Clone, Copy)]
pub(crate) struct Saved<'a> {
    pub(crate) arguments: Arguments<'a>,
    pub(crate) y: &'a [f32],
    pub(crate) statistics: &'a [f32],
    pub(crate) grad: &'a [f32],
}

/// What a task adds to the gradients of its keys and values, `[keys of the run, dim]` each. Where a long segment is cut,
/// several tasks have a part of a key's gradient.
struct Piece {
    k: Vec<f32>,
    v: Vec<f32>,
}

/// The gradients of `q`, `k` and `v`.
pub(crate) fn backward(saved: &Saved) -> [Vec<f32>; 3] {
    let Arguments { segments, heads, options, .. } = saved.arguments;
    let runs = runs(segments, options.window);
    let grad_q = Shared::new(segments.total() * heads.query * heads.dim);
    let mut pieces: Vec<Piece> = (0..runs.len() * heads.key_value)
        .into_par_iter()
        .map(|task| {
            // SAFETY: runs are disjoint, and so are the query heads of different key-value heads.
            unsafe { piece(saved, &runs[task / heads.key_value], task % heads.key_value, &grad_q) }
        })
        .collect();
    // SAFETY: the runs cover all rows, and the tasks all heads.
    let grad_q = unsafe { grad_q.written() };
    add_to_earlier_runs(&mut pieces, &runs, heads);
    let rows: Vec<_> = runs.iter().map(|run| run.rows.clone()).collect();
    let (total, key_value, dim) = (segments.total(), heads.key_value, heads.dim);
    [
        grad_q,
        assemble(&pieces, |piece| &piece.k, &rows, total, key_value, dim),
        assemble(&pieces, |piece| &piece.v, &rows, total, key_value, dim),
    ]
}

/// Puts pieces `[rows of a run, width]` of each key-value head side by side: `[N, key-value heads, width]`.
fn assemble<P: Sync>(
    pieces: &[P],
    values: impl Fn(&P) -> &[f32] + Sync,
    rows: &[Range<usize>],
    total: usize,
    key_value: usize,
    width: usize,
) -> Vec<f32> {
    let chunk = rows_per_chunk(key_value * width);
    build(total * key_value * width, chunk * key_value * width, |index, part| {
        let first = index * chunk;
        let mut run = rows.partition_point(|rows| rows.end <= first);
        for (row, part) in (first..).zip(part.chunks_exact_mut(key_value * width)) {
            while rows[run].end <= row {
                run += 1;
            }
            for (head, part) in part.chunks_exact_mut(width).enumerate() {
                let piece = values(&pieces[run * key_value + head]);
                part.copy_from_slice(&piece[(row - rows[run].start) * width..][..width]);
            }
        }
    })
}

/// Adds `values` to `total`, in parallel by fixed chunks.
fn add(total: &mut [f32], values: &[f32]) {
    const CHUNK: usize = crate::parallel::CHUNK;
    for_each_chunk(total, CHUNK, |index, part| {
        part.iter_mut().zip(&values[index * CHUNK..]).for_each(|(total, value)| *total += value);
    });
}

/// Moves what a task found for keys before its own rows to the tasks that own those rows, last task first.
fn add_to_earlier_runs(pieces: &mut [Piece], runs: &[Run], heads: Heads) {
    let dim = heads.dim;
    for later in (0..runs.len()).rev() {
        let Run { rows, keys } = &runs[later];
        if keys.start == rows.start {
            continue;
        }
        for head in 0..heads.key_value {
            let (before, rest) = pieces.split_at_mut(later * heads.key_value);
            let piece = &mut rest[head];
            let own = (rows.start - keys.start) * dim;
            let (own_k, own_v) = (piece.k.split_off(own), piece.v.split_off(own));
            let (foreign_k, foreign_v) =
                (std::mem::replace(&mut piece.k, own_k), std::mem::replace(&mut piece.v, own_v));
            // Only the run just before: what lies further back travels on with that run's own foreign keys.
            let previous = &mut before[(later - 1) * heads.key_value + head];
            let reach = runs[later - 1].keys.start;
            debug_assert!(reach <= keys.start, "an earlier run of a segment sees at least as far back");
            let offset = (keys.start - reach) * dim;
            add(&mut previous.k[offset..offset + foreign_k.len()], &foreign_k);
            add(&mut previous.v[offset..offset + foreign_v.len()], &foreign_v);
        }
    }
}

/// Buffers that the blocks of a task use in turn.
#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    grad: Vec<f32>,
    transposed: Vec<f32>,
    weights: Vec<f32>,
    grad_weights: Vec<f32>,
    sums: Vec<f32>,
}

/// Writes the gradient of the run's queries, of the heads that share a key-value head, and returns that of its keys.
///
/// # Safety
/// No one else reads or writes those rows and heads of `grad_q` meanwhile.
unsafe fn piece(saved: &Saved, run: &Run, key_head: usize, grad_q: &Shared) -> Piece {
    let Arguments { q, k, v, segments, heads, options } = saved.arguments;
    let (group, dim) = (heads.group(), heads.dim);
    let blocks = blocks(run, segments, options.window);
    let Scratch { keys: key_copy, values: value_copy, queries, grad, transposed, weights, grad_weights, sums } =
        &mut Scratch::default();
    let (of_keys, together) = ((key_head, heads.key_value, dim), most_keys(&blocks));
    let keys = Rows::of(k, run.keys.clone(), of_keys, together, key_copy);
    let values = Rows::of(v, run.keys.clone(), of_keys, together, value_copy);
    let mut grad_keys = vec![0.0; run.keys.len() * keys.width];
    let mut grad_values = vec![0.0; run.keys.len() * keys.width];
    for block in blocks {
        let first = block.keys.start - run.keys.start;
        let (seen, count, width) = (block.keys.len(), block.queries.len(), block.width());
        grad_weights.resize(seen * width, 0.0);
        sums.resize(count * keys.width, 0.0);
        for head in key_head * group..(key_head + 1) * group {
            let of_head = (head, heads.query, dim);
            let queries = Rows::of(q, block.queries.clone(), of_head, count, queries);
            let grad = Rows::of(saved.grad, block.queries.clone(), of_head, count, grad);
            transpose(q, block.queries.clone(), of_head, width, transposed);
            let scale = scores(keys.from(first), keys.stride, transposed, &block, heads, options, weights);

            transpose(saved.grad, block.queries.clone(), of_head, width, transposed);
            Product {
                a: values.from(first),
                a_strides: (values.stride, 1),
                b: transposed,
                b_stride: width,
                c: grad_weights,
                m: seen,
                n: width,
                k: dim,
                add: false,
            }
            .compute();
            let statistics = statistics(saved, &block, head);
            for (column, statistics) in (0..width).step_by(LANES).zip(statistics) {
                dispatch(Slopes { weights, grad_weights, statistics, scale, options, column, width });
            }
            for (a, b, c) in [(&*weights, grad, &mut grad_values), (&*grad_weights, queries, &mut grad_keys)] {
                Product {
                    a,
                    a_strides: (width, 1),
                    b: b.from(0),
                    b_stride: b.stride,
                    c: &mut c[first * keys.width..],
                    m: seen,
                    n: keys.width,
                    k: count,
                    add: true,
                }
                .compute();
            }
            Product {
                a: grad_weights,
                a_strides: (1, width),
                b: keys.from(first),
                b_stride: keys.stride,
                m: count,
                n: keys.width,
                k: seen,
                c: sums,
                add: false,
            }
            .compute();
            for (query, sums) in sums.chunks_exact(keys.width).enumerate() {
                let row = (block.queries.start + query) * heads.query + head;
                // SAFETY: this task's own rows and heads, by the caller's word.
                let y = unsafe { grad_q.row(row * dim, dim) };
                dispatch(Scaled { y, sums, scale: 1.0 });
            }
        }
    }
    let width = keys.width;
    Piece { k: unpadded(grad_keys, width, dim), v: unpadded(grad_values, width, dim) }
}

/// The first `dim` of each `width` elements.
fn unpadded(rows: Vec<f32>, width: usize, dim: usize) -> Vec<f32> {
    if width == dim {
        return rows;
    }
    let mut values = Vec::with_capacity(rows.len() / width.max(1) * dim);
    rows.chunks_exact(width.max(1)).for_each(|row| values.extend_from_slice(&row[..dim]));
    values
}

/// What is known of sixteen queries.
#[derive(Clone, Copy)]
struct Statistics {
    largest: [f32; LANES],
    /// One over the sum of exponentials; 0 for padding.
    inverse: [f32; LANES],
    /// The sum of `dO ∘ O`.
    products: [f32; LANES],
}

/// For sixteen queries of the block at a time. Padding gets weight zero.
fn statistics(saved: &Saved, block: &Block, head: usize) -> [Statistics; BLOCK / LANES] {
    let Heads { query: heads, dim, .. } = saved.arguments.heads;
    let padding = Statistics { largest: [f32::INFINITY; LANES], inverse: [0.0; LANES], products: [0.0; LANES] };
    let mut statistics = [padding; BLOCK / LANES];
    for (query, row) in block.queries.clone().enumerate() {
        let at = row * heads + head;
        let (found, lane) = (&mut statistics[query / LANES], query % LANES);
        (found.largest[lane], found.inverse[lane]) = (saved.statistics[at * 2], saved.statistics[at * 2 + 1]);
        found.products[lane] = dispatch(Dot(&saved.grad[at * dim..][..dim], &saved.y[at * dim..][..dim]));
    }
    statistics
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        crate::simd::dot::<FMA>(self.0, self.1)
    }
}

/// Turns products into weights and the weights' gradient into the products', for the columns `column .. column + LANES`.
struct Slopes<'a> {
    weights: &'a mut [f32],
    grad_weights: &'a mut [f32],
    statistics: Statistics,
    /// What is left to apply to the scores.
    scale: f32,
    options: &'a AttentionOptions,
    column: usize,
    width: usize,
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Statistics { largest, inverse, products } = self.statistics;
        let rows = self.weights.chunks_exact_mut(self.width).zip(self.grad_weights.chunks_exact_mut(self.width));
        for (weights, grads) in rows {
            let (weights, grads) = (&mut weights[self.column..][..LANES], &mut grads[self.column..][..LANES]);
            for lane in 0..LANES {
                let score = weights[lane] * self.scale;
                let weight = exp::<FMA>(score - largest[lane]) * inverse[lane];
                let mut slope = weight * (grads[lane] - products[lane]) * self.options.scale;
                if let Some(cap) = self.options.softcap {
                    // A hidden key's score is −∞ and its weight 0.
                    slope *= if weight == 0.0 { 0.0 } else { 1.0 - (score / cap) * (score / cap) };
                }
                weights[lane] = weight;
                grads[lane] = slope;
            }
        }
    }
}
