//! The innermost product: up to twelve rows by one panel of columns, sums in registers. Three implementations, chosen when
//! the program runs, give the same integers: AVX-512 VNNI (`vpdpbusd`), AVX2 (`vpmaddwd` on widened bytes) and plain Rust.
//! What follows on the integers is rounded after each step, so that their results are the same numbers, too.

use super::pack::{COLUMNS, OFFSET};

/// Rows of a tile: twelve by two vectors of sums leave registers for the operands.
pub(super) const ROWS: usize = 12;

/// Sums of one tile; rows beyond the height are zero or not meaningful.
type Sums = [[i32; COLUMNS]; ROWS];

/// One tile of the product.
pub(super) struct Tile<'a> {
    /// Up to [`ROWS`] rows of as many integers as the panel has rows, four at a time.
    pub(super) rows: &'a [i8],
    pub(super) panel: &'a [u8],
    /// What each row's integers are multiplied by, and their sum.
    pub(super) row_scales: &'a [f32],
    pub(super) row_sums: &'a [i32],
    /// For each column, where there are some; and what is added at the end.
    pub(super) column_scales: Option<&'a [f32]>,
    pub(super) bias: Option<&'a [f32]>,
    /// The first result, and how far it is to the next row's.
    pub(super) y: *mut f32,
    pub(super) y_stride: usize,
    /// Columns to write.
    pub(super) width: usize,
}

impl Tile<'_> {
    fn height(&self) -> usize {
        self.row_scales.len()
    }

    /// Integers of a row.
    fn stride(&self) -> usize {
        self.panel.len() / COLUMNS
    }

    fn check(&self) {
        let held = |values: Option<&[f32]>| values.is_none_or(|values| values.len() == self.width);
        assert!((1..=ROWS).contains(&self.height()) && self.row_sums.len() == self.height());
        assert!(self.rows.len() == self.height() * self.stride() && (1..=COLUMNS).contains(&self.width));
        assert!(held(self.column_scales) && held(self.bias));
    }

    /// Makes results of sums.
    ///
    /// # Safety
    /// As [`TileKernel`].
    unsafe fn finish(&self, sums: &Sums) {
        for (row, sums) in sums.iter().enumerate().take(self.height()) {
            let (correction, scale) = (OFFSET * self.row_sums[row], self.row_scales[row]);
            for (column, sum) in sums.iter().enumerate().take(self.width) {
                let mut value = (sum - correction) as f32;
                if let Some(scales) = self.column_scales {
                    value *= scales[column];
                }
                value *= scale;
                if let Some(bias) = self.bias {
                    value += bias[column];
                }
                // SAFETY: the caller's word.
                unsafe { self.y.add(row * self.y_stride + column).write(value) };
            }
        }
    }
}

/// Computes a tile.
///
/// # Safety
/// `y` reaches all rows and columns of the tile, and no one else uses these elements meanwhile.
pub(super) type TileKernel = unsafe fn(&Tile);

/// The fastest kernel that this processor has.
pub(super) fn kernel() -> TileKernel {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return x86::vnni;
        }
        if is_x86_feature_detected!("avx2") {
            return x86::avx2;
        }
    }
    plain
}

/// The oracle of the others.
///
/// # Safety
/// As [`TileKernel`].
pub(super) unsafe fn plain(tile: &Tile) {
    tile.check();
    let mut sums = [[0; COLUMNS]; ROWS];
    for (sums, row) in sums.iter_mut().zip(tile.rows.chunks_exact(tile.stride().max(1))) {
        for (quad, four) in row.as_chunks::<4>().0.iter().enumerate() {
            for (sum, bytes) in sums.iter_mut().zip(tile.panel[quad * 4 * COLUMNS..].as_chunks::<4>().0) {
                for i in 0..4 {
                    *sum += i32::from(four[i]) * i32::from(bytes[i]);
                }
            }
        }
    }
    // SAFETY: the caller's word.
    unsafe { tile.finish(&sums) };
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{COLUMNS, OFFSET, ROWS, Sums, Tile};
    use crate::simd::LANES;
    use std::arch::x86_64::{
        __mmask16, _mm_loadu_si128, _mm_set1_epi32, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
        _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_add_ps, _mm512_cvtepi32_ps,
        _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps,
        _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_sub_epi32,
    };

    /// Sixteen columns to a vector, four products to a column at once.
    ///
    /// # Safety
    /// As [`super::TileKernel`].
    pub(in super::super) unsafe fn vnni(tile: &Tile) {
        tile.check();
        assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"));
        let mut row = 0;
        while row < tile.height() {
            // SAFETY: the features are there, the rows from `row` on lie inside the tile, and the caller's word.
            unsafe {
                row += match tile.height() - row {
                    12.. => vnni_rows::<12>(tile, row),
                    8.. => vnni_rows::<8>(tile, row),
                    4.. => vnni_rows::<4>(tile, row),
                    _ => vnni_rows::<1>(tile, row),
                };
            }
        }
    }

    /// `R` rows from `first` on; returns `R`.
    ///
    /// # Safety
    /// The processor has AVX-512 F and VNNI, the rows lie inside a checked tile, and what [`super::TileKernel`] asks.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn vnni_rows<const R: usize>(tile: &Tile, first: usize) -> usize {
        let stride = tile.stride();
        let (mut left, mut right) = ([_mm512_setzero_si512(); R], [_mm512_setzero_si512(); R]);
        let (row, mut column) = (tile.rows[first * stride..].as_ptr(), tile.panel.as_ptr());
        for quad in 0..stride / 4 {
            // SAFETY: inside the rows and the panel, whose lengths were checked; loads need no alignment.
            unsafe {
                let (a, b) = (_mm512_loadu_si512(column.cast()), _mm512_loadu_si512(column.add(64).cast()));
                for r in 0..R {
                    let four = row.add(r * stride + quad * 4).cast::<i32>().read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    left[r] = _mm512_dpbusd_epi32(left[r], a, four);
                    right[r] = _mm512_dpbusd_epi32(right[r], b, four);
                }
                column = column.add(4 * COLUMNS);
            }
        }
        for half in 0..2 {
            let columns = tile.width.saturating_sub(half * LANES);
            let mask: __mmask16 = if columns >= LANES { !0 } else { (1 << columns) - 1 };
            // SAFETY: the masks keep loads and stores to the tile's columns, of which the slices have one element each.
            unsafe {
                let of = |values: &[f32]| _mm512_maskz_loadu_ps(mask, values.as_ptr().wrapping_add(half * LANES));
                let (scales, bias) = (tile.column_scales.map(of), tile.bias.map(of));
                for r in 0..R {
                    let correction = _mm512_set1_epi32(OFFSET * tile.row_sums[first + r]);
                    let sum = if half == 0 { left[r] } else { right[r] };
                    let mut value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, correction));
                    if let Some(scales) = scales {
                        value = _mm512_mul_ps(value, scales);
                    }
                    value = _mm512_mul_ps(value, _mm512_set1_ps(tile.row_scales[first + r]));
                    if let Some(bias) = bias {
                        value = _mm512_add_ps(value, bias);
                    }
                    let y = tile.y.wrapping_add((first + r) * tile.y_stride + half * LANES);
                    _mm512_mask_storeu_ps(y, mask, value);
                }
            }
        }
        R
    }

    /// Four columns to a vector, as sums of two products each that are added at the end.
    ///
    /// # Safety
    /// As [`super::TileKernel`].
    pub(in super::super) unsafe fn avx2(tile: &Tile) {
        tile.check();
        assert!(is_x86_feature_detected!("avx2"));
        let (stride, panel) = (tile.stride(), tile.panel);
        let mut sums: Sums = [[0; COLUMNS]; ROWS];
        for (row, sums) in tile.rows.chunks((4 * stride).max(1)).zip(sums.chunks_mut(4)) {
            // SAFETY: the feature is there, and the lengths were checked above.
            unsafe {
                if row.len() == 4 * stride {
                    avx2_rows::<4>(row, panel, stride, sums);
                } else {
                    for (row, sums) in row.chunks_exact(stride).zip(sums.chunks_mut(1)) {
                        avx2_rows::<1>(row, panel, stride, sums);
                    }
                }
            }
        }
        // SAFETY: the caller's word.
        unsafe { tile.finish(&sums) };
    }

    /// # Safety
    /// The processor has AVX2; `rows` is `R` rows of `stride` bytes, `panel` is `stride` rows of columns, `sums` has `R` rows.
    #[target_feature(enable = "avx2")]
    unsafe fn avx2_rows<const R: usize>(rows: &[i8], panel: &[u8], stride: usize, sums: &mut [[i32; COLUMNS]]) {
        // Eight columns at a time.
        for part in 0..COLUMNS / 8 {
            let (mut left, mut right) = ([_mm256_setzero_si256(); R], [_mm256_setzero_si256(); R]);
            for quad in 0..stride / 4 {
                // SAFETY: inside the rows and the panel, whose lengths the caller vouches for.
                unsafe {
                    let bytes = panel.as_ptr().add((quad * COLUMNS + part * 8) * 4);
                    let a = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.cast()));
                    let b = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.add(16).cast()));
                    for r in 0..R {
                        let four = rows.as_ptr().add(r * stride + quad * 4).cast::<i32>().read_unaligned();
                        let four = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
                        left[r] = _mm256_add_epi32(left[r], _mm256_madd_epi16(a, four));
                        right[r] = _mm256_add_epi32(right[r], _mm256_madd_epi16(b, four));
                    }
                }
            }
            for r in 0..R {
                for (half, vector) in [left[r], right[r]].into_iter().enumerate() {
                    let mut pairs = [0i32; 8];
                    // SAFETY: eight integers.
                    unsafe { _mm256_storeu_si256(pairs.as_mut_ptr().cast(), vector) };
                    for column in 0..4 {
                        sums[r][part * 8 + half * 4 + column] = pairs[2 * column] + pairs[2 * column + 1];
                    }
                }
            }
        }
    }
}
