//! The right matrix, rearranged: panels of [`COLUMNS`] columns whose rows lie behind each other, so that the innermost
//! loop reads memory straight on.

use super::{
    Matrix,
    micro::{COLUMNS, ROWS},
};
use crate::{parallel::Shared, simd::LANES};
use std::ops::Range;

/// Width of the panels of `columns` columns: whole ones, the last as wide as it must.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// Columns of panel `index`, padding included.
pub(super) fn width(columns: usize, index: usize) -> usize {
    (padded(columns) - index * COLUMNS).min(COLUMNS)
}

/// Writes `scale ·` the rows `k` of panel `index` of the columns `columns` to `out`, `[rows, width]`.
pub(super) fn panel(matrix: Matrix, k: Range<usize>, columns: Range<usize>, index: usize, scale: f32, out: &mut [f32]) {
    let width = width(columns.len(), index);
    let first = columns.start + index * COLUMNS;
    let count = (columns.end - first).min(width);
    if matrix.column_stride == 1 {
        for (row, out) in k.zip(out.chunks_exact_mut(width)) {
            let values = &matrix.values[row * matrix.row_stride + first..][..count];
            out[..count].copy_from_slice(values);
            out[count..].fill(0.0);
        }
    } else {
        // Sixteen rows of the panel at a time: reads run along memory, writes stay in the nearest cache.
        for (rows, out) in (k.start..k.end).step_by(LANES).zip(out.chunks_mut(LANES * width)) {
            let depth = out.len() / width;
            let whole = if depth == LANES && matrix.row_stride == 1 {
                transpose(
                    &matrix.values[rows + first * matrix.column_stride..],
                    matrix.column_stride,
                    count,
                    out,
                    width,
                )
            } else {
                0
            };
            for column in whole..count {
                let start = rows * matrix.row_stride + (first + column) * matrix.column_stride;
                for row in 0..depth {
                    out[row * width + column] = matrix.values[start + row * matrix.row_stride];
                }
            }
            if count < width {
                out.chunks_exact_mut(width).for_each(|row| row[count..].fill(0.0));
            }
        }
    }
    if scale != 1.0 {
        out.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Transposes as many whole squares of sixteen columns as there are and the processor has an instruction for; returns how
/// many columns that was. Columns of `from` lie `stride` apart, rows of `to` `width`.
#[cfg(target_arch = "x86_64")]
fn transpose(from: &[f32], stride: usize, columns: usize, to: &mut [f32], width: usize) -> usize {
    if !is_x86_feature_detected!("avx512f") {
        return 0;
    }
    let whole = columns / LANES * LANES;
    for column in (0..whole).step_by(LANES) {
        let (from, to) = (&from[column * stride..], &mut to[column..]);
        assert!(from.len() >= 15 * stride + LANES && to.len() >= 15 * width + LANES);
        // SAFETY: the processor has AVX-512, and sixteen rows of sixteen elements lie inside both slices.
        unsafe { square(from.as_ptr(), stride, to.as_mut_ptr(), width) };
    }
    whole
}

#[cfg(not(target_arch = "x86_64"))]
fn transpose(_: &[f32], _: usize, _: usize, _: &mut [f32], _: usize) -> usize {
    0
}

/// Transposes sixteen by sixteen elements.
///
/// # Safety
/// Sixteen rows of sixteen elements exist at `from` and `to`, so far apart as the strides say.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn square(from: *const f32, stride: usize, to: *mut f32, width: usize) {
    use std::arch::x86_64::{
        _mm512_loadu_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps,
        _mm512_unpackhi_ps, _mm512_unpacklo_ps,
    };
    let mut rows = [_mm512_setzero_ps(); LANES];
    for (index, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller's word.
        *row = unsafe { _mm512_loadu_ps(from.add(index * stride)) };
    }
    // Pairs, then fours inside each quarter of a register, then the quarters themselves.
    let mut pairs = rows;
    for i in 0..LANES / 2 {
        pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = rows;
    for i in 0..LANES / 4 {
        for half in 0..2 {
            let (a, b) = (pairs[4 * i + half], pairs[4 * i + half + 2]);
            fours[4 * i + 2 * half] = _mm512_shuffle_ps::<0x44>(a, b);
            fours[4 * i + 2 * half + 1] = _mm512_shuffle_ps::<0xEE>(a, b);
        }
    }
    for i in 0..4 {
        let low = _mm512_shuffle_f32x4::<0x88>(fours[i], fours[4 + i]);
        let high = _mm512_shuffle_f32x4::<0x88>(fours[8 + i], fours[12 + i]);
        let low_odd = _mm512_shuffle_f32x4::<0xDD>(fours[i], fours[4 + i]);
        let high_odd = _mm512_shuffle_f32x4::<0xDD>(fours[8 + i], fours[12 + i]);
        // SAFETY: the caller's word.
        unsafe {
            _mm512_storeu_ps(to.add(i * width), _mm512_shuffle_f32x4::<0x88>(low, high));
            _mm512_storeu_ps(to.add((4 + i) * width), _mm512_shuffle_f32x4::<0x88>(low_odd, high_odd));
            _mm512_storeu_ps(to.add((8 + i) * width), _mm512_shuffle_f32x4::<0xDD>(low, high));
            _mm512_storeu_ps(to.add((12 + i) * width), _mm512_shuffle_f32x4::<0xDD>(low_odd, high_odd));
        }
    }
}

/// Panels of the rows `k`, cut into blocks of `block` rows: block by block, panel by panel.
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) k: Range<usize>,
    pub(super) columns: Range<usize>,
    pub(super) block: usize,
}

impl Layout {
    pub(super) fn panels(&self) -> usize {
        padded(self.columns.len()).div_ceil(COLUMNS)
    }

    pub(super) fn blocks(&self) -> usize {
        self.k.len().div_ceil(self.block.max(1)).max(1)
    }

    /// The rows of block `index`.
    pub(super) fn rows(&self, index: usize) -> Range<usize> {
        let start = self.k.start + index * self.block;
        start..(start + self.block).min(self.k.end)
    }

    pub(super) fn len(&self) -> usize {
        self.k.len() * padded(self.columns.len())
    }

    /// Where a panel of a block begins.
    pub(super) fn offset(&self, block: usize, panel: usize) -> usize {
        let rows = self.rows(block);
        (rows.start - self.k.start) * padded(self.columns.len()) + rows.len() * panel * COLUMNS
    }

    /// Packs one panel of one block.
    ///
    /// # Safety
    /// No one else uses that part of `packed` meanwhile.
    pub(super) unsafe fn fill(&self, matrix: Matrix, scale: f32, block: usize, index: usize, packed: &Shared) {
        let rows = self.rows(block);
        let len = rows.len() * width(self.columns.len(), index);
        // SAFETY: panels do not overlap, by the caller's word no one else uses this one, and it is written throughout.
        let out = unsafe { packed.row(self.offset(block, index), len) };
        panel(matrix, rows, self.columns.clone(), index, scale, out);
    }
}

/// Strips of [`ROWS`] rows of the left matrix, each `[k, ROWS]`, for a matrix whose columns lie along memory.
pub(super) fn strips(matrix: Matrix, rows: Range<usize>, k: Range<usize>, out: &mut Vec<f32>) {
    let count = rows.len().div_ceil(ROWS);
    out.resize(count * ROWS * k.len(), 0.0);
    for (strip, out) in out.chunks_exact_mut((ROWS * k.len()).max(1)).enumerate() {
        let first = rows.start + strip * ROWS;
        let height = (rows.end - first).min(ROWS);
        for (column, out) in k.clone().zip(out.chunks_exact_mut(ROWS)) {
            let start = column * matrix.column_stride + first * matrix.row_stride;
            if matrix.row_stride == 1 && height == ROWS {
                out.copy_from_slice(&matrix.values[start..][..ROWS]);
            } else {
                let (own, rest) = out.split_at_mut(height);
                for (row, out) in own.iter_mut().enumerate() {
                    *out = matrix.values[start + row * matrix.row_stride];
                }
                rest.fill(0.0);
            }
        }
    }
}
