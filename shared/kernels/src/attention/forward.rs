//! Forward pass: for each block of queries, scores, softmax over the keys, weighted sum of the values.

use super::{
    AttentionOptions, Heads,
    blocks::{BLOCK, Rows, Run, blocks, most_keys, runs, scores, transpose},
};
use crate::{
    Segments,
    numeric::exp,
    parallel::Shared,
    product::Product,
    simd::{Kernel, LANES, dispatch},
};
use rayon::prelude::*;

/// The arguments, in the shapes of [`super::attention`].
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) segments: &'a Segments,
    pub(crate) heads: Heads,
    pub(crate) options: &'a AttentionOptions,
}

/// The result `[N, H, D]`, and each query's largest score and the inverse of its sum of exponentials, `[N, H, 2]`.
pub(crate) fn forward(arguments: &Arguments) -> (Vec<f32>, Vec<f32>) {
    let Arguments { segments, heads, options, .. } = *arguments;
    let runs = runs(segments, options.window);
    let queries = segments.total() * heads.query;
    let (y, statistics) = (Shared::new(queries * heads.dim), Shared::new(queries * 2));
    (0..runs.len() * heads.key_value).into_par_iter().for_each(|task| {
        // SAFETY: runs are disjoint, and so are the query heads of different key-value heads.
        unsafe { attend(arguments, &runs[task / heads.key_value], task % heads.key_value, &y, &statistics) };
    });
    // SAFETY: the runs cover all rows, and the tasks all heads.
    unsafe { (y.written(), statistics.written()) }
}

/// Buffers that the blocks of a task use in turn.
#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    weights: Vec<f32>,
    sums: Vec<f32>,
}

/// Writes the run's rows of the query heads that share a key-value head.
///
/// # Safety
/// No one else reads or writes those rows and heads of `y` and `kept` meanwhile.
unsafe fn attend(arguments: &Arguments, run: &Run, key_head: usize, y: &Shared, kept: &Shared) {
    let Arguments { q, k, v, segments, heads, options } = *arguments;
    let (group, dim) = (heads.group(), heads.dim);
    let blocks = blocks(run, segments, options.window);
    let Scratch { keys: key_copy, values: value_copy, queries, weights, sums } = &mut Scratch::default();
    let (of_keys, together) = ((key_head, heads.key_value, dim), most_keys(&blocks));
    let keys = Rows::of(k, run.keys.clone(), of_keys, together, key_copy);
    let values = Rows::of(v, run.keys.clone(), of_keys, together, value_copy);
    for block in blocks {
        let first = block.keys.start - run.keys.start;
        let (count, width) = (block.queries.len(), block.width());
        for head in key_head * group..(key_head + 1) * group {
            transpose(q, block.queries.clone(), (head, heads.query, dim), width, queries);
            let scale = scores(keys.from(first), keys.stride, queries, &block, heads, options, weights);
            sums.resize(count * values.width, 0.0);
            let mut statistics = [([0.0; LANES], [0.0; LANES]); BLOCK / LANES];
            for (column, statistics) in (0..width).step_by(LANES).zip(&mut statistics) {
                *statistics = dispatch(Softmax { scores: weights, column, width, scale });
            }
            Product {
                a: weights,
                a_strides: (1, width),
                b: values.from(first),
                b_stride: values.stride,
                m: count,
                n: values.width,
                k: block.keys.len(),
                c: sums,
                add: false,
            }
            .compute();
            for (query, sums) in sums.chunks_exact(values.width).enumerate() {
                let (largest, total) = &statistics[query / LANES];
                let (largest, inverse) = (largest[query % LANES], 1.0 / total[query % LANES]);
                let row = (block.queries.start + query) * heads.query + head;
                // SAFETY: this task's own rows and heads, by the caller's word.
                let (y, kept) = unsafe { (y.row(row * dim, dim), kept.row(row * 2, 2)) };
                kept.copy_from_slice(&[largest, inverse]);
                dispatch(Scaled { y, sums, scale: inverse });
            }
        }
    }
}

/// `y = sums · scale`.
pub(super) struct Scaled<'a> {
    pub(super) y: &'a mut [f32],
    pub(super) sums: &'a [f32],
    pub(super) scale: f32,
}

impl Kernel for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.y.iter_mut().zip(self.sums).for_each(|(y, sum)| *y = sum * self.scale);
    }
}

/// Softmax down the columns `column .. column + LANES`: turns products into exponentials of the scaled scores relative to
/// each query's largest; returns (largest score, sum) of each query.
struct Softmax<'a> {
    scores: &'a mut [f32],
    column: usize,
    width: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ([f32; LANES], [f32; LANES]);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let mut largest = [f32::NEG_INFINITY; LANES];
        for row in self.scores.chunks_exact(self.width) {
            let row = &row[self.column..][..LANES];
            for lane in 0..LANES {
                let score = row[lane] * self.scale;
                largest[lane] = if score > largest[lane] { score } else { largest[lane] };
            }
        }
        // Sums of 32 keys are added to the total: the error grows with the number of blocks, not of keys.
        let mut total = [0.0f32; LANES];
        for rows in self.scores.chunks_mut(32 * self.width) {
            let mut part = [0.0f32; LANES];
            for row in rows.chunks_exact_mut(self.width) {
                let row = &mut row[self.column..][..LANES];
                for lane in 0..LANES {
                    row[lane] = exp::<FMA>(row[lane] * self.scale - largest[lane]);
                    part[lane] += row[lane];
                }
            }
            for lane in 0..LANES {
                total[lane] += part[lane];
            }
        }
        (largest, total)
    }
}
