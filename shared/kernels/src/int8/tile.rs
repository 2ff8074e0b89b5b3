//! The innermost product: up to twelve rows by one panel of columns, sums in registers. Three implementations, chosen when
//! the program runs, give the same integers: AVX-512 VNNI (`vpdpbusd`), AVX2 (`vpmaddwd` on widened bytes) and plain Rust.

use super::pack::COLUMNS;

/// Rows of a tile: twelve by two vectors of sums leave registers for the operands.
pub(super) const ROWS: usize = 12;

/// Sums of one tile; rows beyond `height` are zero or not meaningful.
pub(super) type Sums = [[i32; COLUMNS]; ROWS];

/// `rows` holds `height` rows of as many integers as the panel has rows, four at a time.
pub(super) type TileKernel = fn(rows: &[i8], panel: &[u8], height: usize) -> Sums;

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
pub(super) fn plain(rows: &[i8], panel: &[u8], height: usize) -> Sums {
    let mut sums = [[0; COLUMNS]; ROWS];
    let quads = panel.len() / (4 * COLUMNS);
    for (sums, row) in sums.iter_mut().zip(rows.chunks_exact((quads * 4).max(1))).take(height) {
        for (quad, four) in row.as_chunks::<4>().0.iter().enumerate() {
            for (sum, bytes) in sums.iter_mut().zip(panel[quad * 4 * COLUMNS..].as_chunks::<4>().0) {
                for i in 0..4 {
                    *sum += i32::from(four[i]) * i32::from(bytes[i]);
                }
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{COLUMNS, ROWS, Sums};
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm_set1_epi32, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
        _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_loadu_si512,
        _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    /// Sixteen columns to a vector, four products to a column at once.
    pub(in super::super) fn vnni(rows: &[i8], panel: &[u8], height: usize) -> Sums {
        let stride = panel.len() / COLUMNS;
        assert!((1..=ROWS).contains(&height) && rows.len() == height * stride);
        assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"));
        // SAFETY: the features are there, and the lengths were checked above.
        unsafe {
            match height {
                12 => vnni_rows::<12>(rows, panel, stride),
                8..=11 => both(rows, stride, height, 8, |rows, height| match height {
                    8 => vnni_rows::<8>(rows, panel, stride),
                    _ => vnni_some(rows, panel, stride, height),
                }),
                _ => vnni_some(rows, panel, stride, height),
            }
        }
    }

    /// `first` rows, then the others.
    fn both(rows: &[i8], stride: usize, height: usize, first: usize, tile: impl Fn(&[i8], usize) -> Sums) -> Sums {
        let mut sums = tile(&rows[..first * stride], first);
        if height > first {
            let more = tile(&rows[first * stride..], height - first);
            sums[first..height].copy_from_slice(&more[..height - first]);
        }
        sums
    }

    /// Fewer than eight rows: four at a time, then one at a time.
    ///
    /// # Safety
    /// As [`vnni_rows`].
    unsafe fn vnni_some(rows: &[i8], panel: &[u8], stride: usize, height: usize) -> Sums {
        let mut sums = [[0; COLUMNS]; ROWS];
        let mut row = 0;
        while row < height {
            let some = if height - row >= 4 { 4 } else { 1 };
            let rows = &rows[row * stride..][..some * stride];
            // SAFETY: as the caller vouches.
            let found = unsafe {
                if some == 4 { vnni_rows::<4>(rows, panel, stride) } else { vnni_rows::<1>(rows, panel, stride) }
            };
            sums[row..row + some].copy_from_slice(&found[..some]);
            row += some;
        }
        sums
    }

    /// # Safety
    /// The processor has AVX-512 F and VNNI; `rows` is `R` rows of `stride` bytes, `panel` is `stride` rows of columns.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn vnni_rows<const R: usize>(rows: &[i8], panel: &[u8], stride: usize) -> Sums {
        let (mut left, mut right) = ([_mm512_setzero_si512(); R], [_mm512_setzero_si512(); R]);
        let (row, mut column) = (rows.as_ptr(), panel.as_ptr());
        for quad in 0..stride / 4 {
            // SAFETY: inside the rows and the panel, whose lengths the caller vouches for; loads need no alignment.
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
        let mut sums = [[0; COLUMNS]; ROWS];
        for r in 0..R {
            // SAFETY: each row of the sums holds two vectors.
            unsafe {
                _mm512_storeu_si512(sums[r].as_mut_ptr().cast(), left[r]);
                _mm512_storeu_si512(sums[r].as_mut_ptr().add(16).cast(), right[r]);
            }
        }
        sums
    }

    /// Four columns to a vector, as sums of two products each that are added at the end.
    pub(in super::super) fn avx2(rows: &[i8], panel: &[u8], height: usize) -> Sums {
        let stride = panel.len() / COLUMNS;
        assert!((1..=ROWS).contains(&height) && rows.len() == height * stride);
        assert!(is_x86_feature_detected!("avx2"));
        let mut sums = [[0; COLUMNS]; ROWS];
        if stride == 0 {
            return sums;
        }
        for (row, sums) in rows.chunks(4 * stride).zip(sums.chunks_mut(4)) {
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
        sums
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
