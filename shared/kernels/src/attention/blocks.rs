//! How attention is cut into tasks and blocks, and the steps that forward and backward share.
//!
//! A task is one key-value head and a run of rows: several whole short segments, or a part of a long one. Inside a task,
//! scores are held transposed, `[keys, queries of the block]`, so that sixteen queries fill a vector and nothing is
//! reduced across lanes. Local copies have rows padded with zeros to whole vectors.

use super::{AttentionOptions, Heads};
use crate::{
    Segments,
    numeric::tanh,
    product::Product,
    simd::{Kernel, LANES, dispatch},
};
use std::ops::Range;

/// Queries of a task.
const TASK: usize = 512;
/// Queries of a block.
pub(crate) const BLOCK: usize = 64;

/// Rows that one task treats, for each key-value head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The queries.
    pub(crate) rows: Range<usize>,
    /// The keys they see: the same rows, or also earlier ones of the same segment.
    pub(crate) keys: Range<usize>,
}

/// Cuts the rows into runs of about [`TASK`] queries.
pub(crate) fn runs(segments: &Segments, window: Option<usize>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = 0..0;
    let close = |open: &Range<usize>, runs: &mut Vec<Run>| {
        if !open.is_empty() {
            runs.push(Run { rows: open.clone(), keys: open.clone() });
        }
    };
    for segment in segments.iter() {
        if segment.end - open.start <= TASK {
            open.end = segment.end;
            continue;
        }
        close(&open, &mut runs);
        if segment.len() <= TASK {
            open = segment;
            continue;
        }
        open = segment.end..segment.end;
        for start in segment.clone().step_by(TASK) {
            let rows = start..segment.end.min(start + TASK);
            let first = window.map_or(segment.start, |window| segment.start.max((start + 1).saturating_sub(window)));
            runs.push(Run { keys: first..rows.end, rows });
        }
    }
    close(&open, &mut runs);
    runs
}

/// The queries of one block and the keys that at least one of them sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) queries: Range<usize>,
    pub(crate) keys: Range<usize>,
}

impl Block {
    /// Queries, padded to whole vectors.
    pub(crate) fn width(&self) -> usize {
        self.queries.len().next_multiple_of(LANES)
    }
}

/// Cuts a run's segments into blocks.
pub(crate) fn blocks(run: &Run, segments: &Segments, window: Option<usize>) -> Vec<Block> {
    let boundaries = segments.boundaries();
    let mut index = boundaries.partition_point(|&boundary| boundary <= run.rows.start) - 1;
    let (mut blocks, mut start) = (Vec::new(), run.rows.start);
    while start < run.rows.end {
        let (first, last) = (boundaries[index], boundaries[index + 1].min(run.rows.end));
        while start < last {
            let end = last.min(start + BLOCK);
            let seen = window.map_or(first, |window| first.max((start + 1).saturating_sub(window)));
            blocks.push(Block { queries: start..end, keys: seen..end });
            start = end;
        }
        index += 1;
    }
    blocks
}

/// Rows of one head, whole vectors wide: where they lie, or as a copy padded with zeros.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    values: &'a [f32],
    /// From a row to the next.
    pub(crate) stride: usize,
    /// Elements of a row: the head's features, padded to whole vectors.
    pub(crate) width: usize,
}

/// More rows than this are copied, so that rows of many heads do not fight for the same sets of a cache.
const IN_PLACE: usize = 2 * BLOCK;

impl<'a> Rows<'a> {
    /// Rows `rows` of head `head` of `x` `[N, heads, dim]`; those that one block uses count at most `together`.
    pub(crate) fn of(
        x: &'a [f32],
        rows: Range<usize>,
        (head, heads, dim): (usize, usize, usize),
        together: usize,
        copy: &'a mut Vec<f32>,
    ) -> Self {
        if dim.is_multiple_of(LANES) && together <= IN_PLACE {
            let end =
                if rows.is_empty() { rows.start * heads * dim } else { ((rows.end - 1) * heads + head + 1) * dim };
            let start = ((rows.start * heads + head) * dim).min(end);
            return Self { values: &x[start..end], stride: heads * dim, width: dim };
        }
        let width = dim.next_multiple_of(LANES);
        copy.clear();
        copy.reserve(rows.len() * width);
        for row in rows {
            copy.extend_from_slice(&x[(row * heads + head) * dim..][..dim]);
            copy.resize(copy.len() + width - dim, 0.0);
        }
        Self { values: copy, stride: width, width }
    }

    /// From row `first` on.
    pub(crate) fn from(&self, first: usize) -> &'a [f32] {
        &self.values[first * self.stride..]
    }
}

/// Rows `rows` of head `head` of `x` `[N, heads, dim]`, transposed to `[dim, width]`; the columns past the rows are zero.
pub(crate) fn transpose(
    x: &[f32],
    rows: Range<usize>,
    (head, heads, dim): (usize, usize, usize),
    width: usize,
    transposed: &mut Vec<f32>,
) {
    transposed.resize(dim * width, 0.0);
    let count = rows.len();
    for (column, row) in rows.enumerate() {
        let row = &x[(row * heads + head) * dim..][..dim];
        for (copies, value) in transposed.chunks_exact_mut(width).zip(row) {
            copies[column] = *value;
        }
    }
    if count < width {
        transposed.chunks_exact_mut(width).for_each(|copies| copies[count..].fill(0.0));
    }
}

/// The most keys that a block of the run sees.
pub(crate) fn most_keys(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.keys.len()).max().unwrap_or(0)
}

/// Scores of a block, transposed `[keys, width]`: −∞ where a query does not see a key. What is returned is the scale that
/// is left to apply: a cap needs it first.
pub(crate) fn scores(
    keys: &[f32],
    key_stride: usize,
    queries: &[f32],
    block: &Block,
    heads: Heads,
    options: &AttentionOptions,
    scores: &mut Vec<f32>,
) -> f32 {
    let (m, n) = (block.keys.len(), block.width());
    scores.resize(m * n, 0.0);
    Product { a: keys, a_strides: (key_stride, 1), b: queries, b_stride: n, c: scores, m, n, k: heads.dim, add: false }
        .compute();
    let scale = match options.softcap {
        None => options.scale,
        Some(cap) => {
            dispatch(SoftCap { scores, scale: options.scale, cap });
            1.0
        }
    };
    // Keys after the first query are hidden from the queries before them.
    for key in block.queries.start + 1..block.keys.end {
        let row = &mut scores[(key - block.keys.start) * n..][..n];
        row[..key - block.queries.start].fill(f32::NEG_INFINITY);
    }
    // A key is hidden from the queries that lie a window or more after it.
    if let Some(window) = options.window {
        let mut key = block.keys.start;
        while key + window < block.queries.end {
            let row = &mut scores[(key - block.keys.start) * n..][..n];
            let first = (key + window).saturating_sub(block.queries.start);
            row[first..block.queries.len()].fill(f32::NEG_INFINITY);
            key += 1;
        }
    }
    scale
}

struct SoftCap<'a> {
    scores: &'a mut [f32],
    scale: f32,
    cap: f32,
}

impl Kernel for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let scale = self.scale / self.cap;
        self.scores.iter_mut().for_each(|score| *score = self.cap * tanh::<FMA>(*score * scale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_each_row_once() {
        let segments = Segments::new(vec![0, 10, 500, 520, 2000, 2001]).unwrap();
        for window in [None, Some(1), Some(700)] {
            let runs = runs(&segments, window);
            let rows: Vec<usize> = runs.iter().flat_map(|run| run.rows.clone()).collect();
            assert_eq!(rows, (0..2001).collect::<Vec<_>>());
            assert_eq!(runs[0], Run { rows: 0..500, keys: 0..500 });
            for run in &runs {
                let blocks = blocks(run, &segments, window);
                let queries: Vec<usize> = blocks.iter().flat_map(|block| block.queries.clone()).collect();
                assert_eq!(queries, run.rows.clone().collect::<Vec<_>>());
                assert!(
                    blocks.iter().all(|block| run.keys.start <= block.keys.start && block.keys.end <= run.keys.end)
                );
            }
        }
    }

    #[test]
    fn a_long_segment_is_cut() {
        let segments = Segments::new(vec![0, 1100]).unwrap();
        let runs = runs(&segments, Some(100));
        assert_eq!(runs[1], Run { rows: 512..1024, keys: 413..1024 });
        assert_eq!(runs[2], Run { rows: 1024..1100, keys: 925..1100 });
    }
}
