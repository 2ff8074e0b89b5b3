//! The innermost product: a few rows by one panel of columns, all sums in registers.
//!
//! Each element is summed over `k` in order by one accumulator, whatever the number of rows and columns around it.

use crate::simd::{Kernel, LANES, dispatch, mul_add};

/// Most rows of a strip: with two vectors of columns, 24 sums fill the registers of AVX-512.
pub(super) const ROWS: usize = 12;
/// Columns of a panel.
pub(super) const COLUMNS: usize = 2 * LANES;

/// One summand: rows of the left matrix times a panel of the right one.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The first element of the first row.
    pub(super) a: *const f32,
    /// From a row of the left matrix to the next, and from a column to the next.
    pub(super) a_strides: (usize, usize),
    pub(super) b: *const f32,
    /// From a row of the panel to the next.
    pub(super) b_stride: usize,
    pub(super) k: usize,
}

/// `c (+)= Σ parts (+ bias)`.
pub(super) struct Tile<'a> {
    pub(super) parts: &'a [Part],
    pub(super) c: *mut f32,
    /// From a row of `c` to the next.
    pub(super) c_stride: usize,
    /// At most [`ROWS`].
    pub(super) rows: usize,
    /// Columns to write, at most [`COLUMNS`]; the panel has them all, or [`LANES`] where there are no more.
    pub(super) columns: usize,
    pub(super) add: bool,
    /// Added to each row where it is not null: as many elements as columns.
    pub(super) bias: *const f32,
}

/// Computes a tile.
///
/// # Safety
/// The pointers reach all that sizes and strides say, and no one else uses the tile of `c` meanwhile.
pub(super) type Micro = unsafe fn(&Tile);

/// The kernel for this processor.
pub(super) fn micro() -> Micro {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return avx512::tile;
    }
    portable
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{LANES, Part, ROWS, Tile};
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
    };

    /// # Safety
    /// As [`super::Micro`], on a processor with AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn tile(tile: &Tile) {
        // SAFETY: the caller's word.
        unsafe { if tile.columns > LANES { rows::<2>(tile) } else { rows::<1>(tile) } }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn rows<const VECTORS: usize>(tile: &Tile) {
        let mut row = 0;
        while row < tile.rows {
            // SAFETY: the rows from `row` on lie inside the tile.
            unsafe {
                row += match tile.rows - row {
                    ROWS.. => block::<ROWS, VECTORS>(tile, row),
                    8.. => block::<8, VECTORS>(tile, row),
                    4.. => block::<4, VECTORS>(tile, row),
                    2.. => block::<2, VECTORS>(tile, row),
                    _ => block::<1, VECTORS>(tile, row),
                };
            }
        }
    }

    /// `R` rows from `row` on; returns `R`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn block<const R: usize, const VECTORS: usize>(tile: &Tile, row: usize) -> usize {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
        for part in tile.parts {
            // SAFETY: the caller's word.
            unsafe {
                // Packed strips have neighbouring rows: known strides need fewer registers.
                if part.a_strides == (1, ROWS) {
                    product::<R, VECTORS>(&Part { a_strides: (1, ROWS), ..*part }, row, &mut sums);
                } else {
                    product::<R, VECTORS>(&Part { a_strides: (part.a_strides.0, 1), ..*part }, row, &mut sums);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                let left = tile.columns - vector * LANES;
                let mask: __mmask16 = if left >= LANES { !0 } else { (1 << left) - 1 };
                let mut value = sum;
                // SAFETY: the mask keeps loads and stores to the tile's columns.
                unsafe {
                    let c = tile.c.add((row + r) * tile.c_stride + vector * LANES);
                    if !tile.bias.is_null() {
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, tile.bias.add(vector * LANES)));
                    }
                    if tile.add {
                        value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), value);
                    }
                    _mm512_mask_storeu_ps(c, mask, value);
                }
            }
        }
        R
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn product<const R: usize, const VECTORS: usize>(
        part: &Part,
        row: usize,
        sums: &mut [[__m512; VECTORS]; R],
    ) {
        let (row_stride, column_stride) = part.a_strides;
        let mut local = *sums;
        // SAFETY: the caller's word; after the last step the pointers are not read.
        unsafe {
            let mut a = part.a.add(row * row_stride);
            let mut b = part.b;
            for _ in 0..part.k {
                let mut vectors = [_mm512_setzero_ps(); VECTORS];
                for (vector, value) in vectors.iter_mut().enumerate() {
                    *value = _mm512_loadu_ps(b.add(vector * LANES));
                }
                for (r, sums) in local.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*a.add(r * row_stride));
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = _mm512_fmadd_ps(a, vector, *sum);
                    }
                }
                a = a.wrapping_add(column_stride);
                b = b.wrapping_add(part.b_stride);
            }
        }
        *sums = local;
    }
}

/// # Safety
/// As [`Micro`].
unsafe fn portable(tile: &Tile) {
    dispatch(Portable(tile));
}

struct Portable<'a>(&'a Tile<'a>);

impl Kernel for Portable<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let tile = self.0;
        for column in (0..tile.columns).step_by(LANES) {
            let mut row = 0;
            while row < tile.rows {
                // SAFETY: the maker of the tile vouches for its pointers; rows and columns lie inside it.
                unsafe {
                    // Six rows of sixteen lanes: twelve registers of AVX2, twenty-four of NEON.
                    row += match tile.rows - row {
                        6.. => block::<FMA, 6>(tile, row, column),
                        2.. => block::<FMA, 2>(tile, row, column),
                        _ => block::<FMA, 1>(tile, row, column),
                    };
                }
            }
        }
    }
}

/// `R` rows by one vector; returns `R`.
///
/// # Safety
/// As [`Micro`]; rows and columns lie inside the tile.
#[inline(always)]
unsafe fn block<const FMA: bool, const R: usize>(tile: &Tile, row: usize, column: usize) -> usize {
    let mut sums = [[0.0f32; LANES]; R];
    for part in tile.parts {
        let (row_stride, column_stride) = part.a_strides;
        // SAFETY: the caller's word; after the last step the pointers are not read.
        unsafe {
            let mut a = part.a.add(row * row_stride);
            let mut b = part.b.add(column);
            for _ in 0..part.k {
                let vector = b.cast::<[f32; LANES]>().read_unaligned();
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = *a.add(r * row_stride);
                    for lane in 0..LANES {
                        sums[lane] = mul_add::<FMA>(a, vector[lane], sums[lane]);
                    }
                }
                a = a.wrapping_add(column_stride);
                b = b.wrapping_add(part.b_stride);
            }
        }
    }
    let columns = (tile.columns - column).min(LANES);
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: these elements belong to the tile.
        let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add((row + r) * tile.c_stride + column), columns) };
        for (lane, c) in c.iter_mut().enumerate() {
            let mut value = sums[lane];
            if !tile.bias.is_null() {
                // SAFETY: the bias has an element for each column.
                value += unsafe { *tile.bias.add(column + lane) };
            }
            *c = if tile.add { *c + value } else { value };
        }
    }
    R
}

/// The kernel that processors without AVX-512 take, for tests.
#[cfg(test)]
pub(super) fn portable_micro() -> Micro {
    portable
}
