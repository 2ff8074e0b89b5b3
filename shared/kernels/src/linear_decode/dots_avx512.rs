//! The scalar products of decoding with AVX-512, on weights in the form in which they are held: each byte is read once,
//! and what was widened never leaves the registers. Sums run in the order of [`crate::simd::dot`].

use crate::{BlockFormat, simd::LANES, simd::sum_lanes};
use half::{bf16, f16};
use std::arch::x86_64::{
    __m128, __m512, _MM_HINT_T0, _mm_add_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_movelh_ps, _mm_prefetch,
    _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps, _mm256_loadu_si256, _mm256_set1_epi16, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_castpd256_pd512, _mm512_castps_pd, _mm512_castps512_ps128, _mm512_castsi512_ps,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_extractf32x4_ps,
    _mm512_extractf64x4_pd, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_storeu_ps,
};

const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;
const Q8_0: u8 = 3;

/// Whether [`outputs`] can read rows in this format on this processor.
pub(super) fn reads(format: BlockFormat) -> bool {
    matches!(format, BlockFormat::F32 | BlockFormat::F16 | BlockFormat::BF16 | BlockFormat::Q8_0)
        && is_x86_feature_detected!("avx512f")
}

/// `y` `[N, outputs]` of `x` `[N, inputs]` and the rows `weight` of as many bytes as `format` says.
///
/// # Panics
/// Where the lengths do not belong together or [`reads`] says no.
pub(super) fn outputs(format: BlockFormat, weight: &[u8], x: &[f32], y: &mut [f32], inputs: usize) {
    let stride = format.row_bytes(inputs).expect("rows are whole blocks");
    let (count, rows) = (weight.len() / stride, x.len() / inputs);
    assert!(weight.len() == count * stride && x.len() == rows * inputs && y.len() == rows * count && reads(format));
    // SAFETY: the processor has AVX-512, and the lengths were checked above.
    unsafe {
        match format {
            BlockFormat::F16 => all::<F16>(weight, stride, x, y, (inputs, count, rows)),
            BlockFormat::BF16 => all::<BF16>(weight, stride, x, y, (inputs, count, rows)),
            BlockFormat::Q8_0 => all::<Q8_0>(weight, stride, x, y, (inputs, count, rows)),
            _ => all::<F32>(weight, stride, x, y, (inputs, count, rows)),
        }
    }
}

/// Rows of the weight, and rows of `x`, of a block.
const BLOCK: usize = 4;

/// How many bytes ahead of the products the weight is asked for. Several rows side by side are no stream that processors
/// see by themselves: with this, one thread reads two to four times as many bytes a second.
const AHEAD: usize = 9 * 1024;
const CACHE_LINE: usize = 64;

/// # Safety
/// The processor has AVX-512; the slices hold what the sizes say.
#[target_feature(enable = "avx512f")]
unsafe fn all<const FORM: u8>(
    weight: &[u8],
    stride: usize,
    x: &[f32],
    y: &mut [f32],
    (inputs, count, rows): (usize, usize, usize),
) {
    let (weight, x, y) = (weight.as_ptr(), x.as_ptr(), y.as_mut_ptr());
    let mut output = 0;
    while output < count {
        let wide = count - output >= BLOCK;
        let mut row = 0;
        while row < rows {
            // SAFETY: rows and outputs of the block exist.
            unsafe {
                let weight = Rows { start: weight.add(output * stride), stride, first: row == 0 };
                let (x, y) = (x.add(row * inputs), y.add(row * count + output));
                row += match (rows - row, wide) {
                    (BLOCK.., true) => block::<FORM, BLOCK, BLOCK>(weight, x, inputs, y, count),
                    (2.., true) => block::<FORM, 2, BLOCK>(weight, x, inputs, y, count),
                    (_, true) => block::<FORM, 1, BLOCK>(weight, x, inputs, y, count),
                    (BLOCK.., false) => block::<FORM, BLOCK, 1>(weight, x, inputs, y, count),
                    (_, false) => block::<FORM, 1, 1>(weight, x, inputs, y, count),
                };
            }
        }
        output += if wide { BLOCK } else { 1 };
    }
}

/// Bytes of one row that a step of [`block`] reads.
const fn bytes_of_step(form: u8) -> usize {
    match form {
        F16 | BF16 => 2 * LANES,
        Q8_0 => 34,
        _ => 4 * LANES,
    }
}

/// Rows of a weight.
#[derive(Clone, Copy)]
struct Rows {
    start: *const u8,
    /// Bytes from a row to the next.
    stride: usize,
    /// Whether they are read for the first time: what comes after them is asked for.
    first: bool,
}

/// `R` rows of `x` by `W` rows of the weight; returns `R`.
///
/// # Safety
/// As [`all`]; the rows exist.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block<const FORM: u8, const R: usize, const W: usize>(
    weight: Rows,
    x: *const f32,
    inputs: usize,
    y: *mut f32,
    y_stride: usize,
) -> usize {
    let mut sums = [[_mm512_setzero_ps(); W]; R];
    let whole = inputs - inputs % LANES;
    let mut at = 0;
    while at < whole {
        // A block of 32 levels has one scale: it is read once for both vectors.
        let vectors = if FORM == Q8_0 { 2 } else { 1 };
        if weight.first {
            // The rows of a block lie one after the other: over its steps, all that lies so far ahead is asked for once.
            let bytes = W * const { bytes_of_step(FORM) };
            let ahead = weight.start.wrapping_add(AHEAD + at / (vectors * LANES) * bytes);
            for line in (0..bytes).step_by(CACHE_LINE) {
                // A hint: it may name any address.
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line).cast());
            }
        }
        let mut b = [[_mm512_setzero_ps(); W]; 2];
        let [left, right] = &mut b;
        for (w, (left, right)) in left.iter_mut().zip(right).enumerate() {
            // SAFETY: sixteen elements from `at` on lie in each row, and whole blocks of 32.
            unsafe {
                let row = weight.start.add(w * weight.stride);
                if FORM == Q8_0 {
                    [*left, *right] = block_of_levels(row.add(at / 32 * 34));
                } else {
                    *left = sixteen::<FORM>(row, at);
                }
            }
        }
        for (vector, b) in b.iter().enumerate().take(vectors) {
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let a = unsafe { _mm512_loadu_ps(x.add(r * inputs + at + vector * LANES)) };
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm512_fmadd_ps(a, *b, *sum);
                }
            }
        }
        at += vectors * LANES;
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: the rows of `x` and of the weight have all elements below `inputs`, and `y` has a place for each pair.
        unsafe {
            let mut totals = totals(sums);
            for (w, total) in totals.iter_mut().enumerate() {
                for at in whole..inputs {
                    let one = one::<FORM>(weight.start.add(w * weight.stride), at);
                    *total = (*x.add(r * inputs + at)).mul_add(one, *total);
                }
            }
            std::ptr::copy_nonoverlapping(totals.as_ptr(), y.add(r * y_stride), W);
        }
    }
    R
}

/// The sums over the lanes of each vector, by halves as [`sum_lanes`] adds them; four vectors at once stay in registers.
///
/// # Safety
/// The processor has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn totals<const W: usize>(sums: &[__m512; W]) -> [f32; W] {
    let mut totals = [0.0; W];
    if W == BLOCK {
        let quarter = |sum: __m512| {
            let upper = _mm512_castpd_ps(_mm512_castpd256_pd512(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum))));
            let half = _mm512_add_ps(sum, upper);
            let upper = _mm512_extractf32x4_ps::<1>(half);
            _mm_add_ps(_mm512_castps512_ps128(half), upper)
        };
        let [a, b, c, d]: [__m128; BLOCK] = std::array::from_fn(|w| quarter(sums[w]));
        // Four lanes of four vectors, turned: the lanes 0 of all, the lanes 1, 2 and 3.
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_upper, cd_upper) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        let (first, second) = (_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
        let (third, fourth) = (_mm_movelh_ps(ab_upper, cd_upper), _mm_movehl_ps(cd_upper, ab_upper));
        let total = _mm_add_ps(_mm_add_ps(first, third), _mm_add_ps(second, fourth));
        // SAFETY: the array has four places.
        unsafe { _mm_storeu_ps(totals.as_mut_ptr(), total) };
        return totals;
    }
    for (total, sum) in totals.iter_mut().zip(sums) {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: the array holds a vector.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), *sum) };
        *total = sum_lanes(lanes);
    }
    totals
}

/// The 32 elements of a block of 8-bit levels with their scale.
///
/// # Safety
/// The block is there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block_of_levels(block: *const u8) -> [__m512; 2] {
    // SAFETY: the caller's word; loads need no alignment.
    unsafe {
        let scale = _mm512_cvtph_ps(_mm256_set1_epi16(block.cast::<i16>().read_unaligned()));
        let sixteen = |at: usize| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(2 + at).cast())));
        [_mm512_mul_ps(sixteen(0), scale), _mm512_mul_ps(sixteen(16), scale)]
    }
}

/// Sixteen elements of a row from `at` on, a multiple of sixteen, where the row has no blocks.
///
/// # Safety
/// As [`all`]; the elements exist.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sixteen<const FORM: u8>(row: *const u8, at: usize) -> __m512 {
    // SAFETY: the caller's word; loads need no alignment.
    unsafe {
        match FORM {
            F16 => _mm512_cvtph_ps(_mm256_loadu_si256(row.add(2 * at).cast())),
            BF16 => {
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(row.add(2 * at).cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }
            _ => _mm512_loadu_ps(row.add(4 * at).cast()),
        }
    }
}

/// One element of a row; blocks of 32 have no elements outside of whole vectors.
///
/// # Safety
/// The element exists.
#[inline]
unsafe fn one<const FORM: u8>(row: *const u8, at: usize) -> f32 {
    // SAFETY: the caller's word.
    unsafe {
        match FORM {
            F16 => f16::from_bits(row.add(2 * at).cast::<u16>().read_unaligned()).to_f32_const(),
            BF16 => bf16::from_bits(row.add(2 * at).cast::<u16>().read_unaligned()).to_f32_const(),
            _ => row.add(4 * at).cast::<f32>().read_unaligned(),
        }
    }
}
