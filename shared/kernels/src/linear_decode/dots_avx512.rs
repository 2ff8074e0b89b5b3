//! The scalar products of decoding with AVX-512, on weights in the form in which they are held: each byte is read once,
//! and what was widened never leaves the registers. Sums run in the order of [`crate::simd::dot`].

use crate::{BlockFormat, simd::LANES, simd::sum_lanes};
use half::{bf16, f16};
use std::arch::x86_64::{
    __m512, _mm_loadu_si128, _mm256_loadu_si256, _mm256_set1_epi16, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps,
    _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
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
                let weight = Rows { start: weight.add(output * stride), stride };
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

/// Rows of a weight.
#[derive(Clone, Copy)]
struct Rows {
    start: *const u8,
    /// Bytes from a row to the next.
    stride: usize,
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
    for at in (0..whole).step_by(LANES) {
        let mut b = [_mm512_setzero_ps(); W];
        for (w, b) in b.iter_mut().enumerate() {
            // SAFETY: sixteen elements from `at` on lie in each row.
            *b = unsafe { sixteen::<FORM>(weight.start.add(w * weight.stride), at) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let a = unsafe { _mm512_loadu_ps(x.add(r * inputs + at)) };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (w, sum) in sums.iter().enumerate() {
            let mut lanes = [0.0f32; LANES];
            // SAFETY: the array holds a vector; the rows of `x` and of the weight have all elements below `inputs`, and `y`
            // has a place for each pair.
            unsafe {
                _mm512_storeu_ps(lanes.as_mut_ptr(), *sum);
                let mut total = sum_lanes(lanes);
                for at in whole..inputs {
                    let one = one::<FORM>(weight.start.add(w * weight.stride), at);
                    total = (*x.add(r * inputs + at)).mul_add(one, total);
                }
                *y.add(r * y_stride + w) = total;
            }
        }
    }
    R
}

/// Sixteen elements of a row from `at` on, a multiple of sixteen.
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
            Q8_0 => {
                let block = row.add(at / 32 * 34);
                let scale = _mm512_cvtph_ps(_mm256_set1_epi16(block.cast::<i16>().read_unaligned()));
                let levels = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(2 + at % 32).cast()));
                _mm512_mul_ps(_mm512_cvtepi32_ps(levels), scale)
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
