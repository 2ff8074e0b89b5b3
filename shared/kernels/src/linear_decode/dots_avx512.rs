//! The scalar products of decoding with AVX-512, on weights in the form in which they are held: each byte is read once,
//! and what was widened never leaves the registers. Sums run in the order of [`crate::simd::dot`].

use crate::{BlockFormat, simd::LANES, simd::sum_lanes};
use half::{bf16, f16};
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256, _mm256_set1_epi16, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_castps_pd, _mm512_castsi512_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::cell::Cell;

const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;
const Q8_0: u8 = 3;

/// Whether [`outputs`] can read rows in this format on this processor.
pub(super) fn reads(format: BlockFormat) -> bool {
    matches!(format, BlockFormat::F32 | BlockFormat::F16 | BlockFormat::BF16 | BlockFormat::Q8_0)
        && is_x86_feature_detected!("avx512f")
}

/// `y` of `x` `[N, inputs]` and the rows `weight` of as many bytes as `format` says; from a row of `y` to the next lie
/// `stride` elements.
///
/// # Panics
/// Where the lengths do not belong together or [`reads`] says no.
pub(super) fn outputs(format: BlockFormat, weight: &[u8], x: &[f32], y: &mut [f32], (inputs, stride): (usize, usize)) {
    let row_bytes = format.row_bytes(inputs).expect("rows are whole blocks");
    let (count, rows) = (weight.len() / row_bytes, x.len() / inputs);
    assert!(weight.len() == count * row_bytes && x.len() == rows * inputs && count <= stride && reads(format));
    assert!(rows == 0 || y.len() >= (rows - 1) * stride + count);
    let sizes = Sizes { inputs, count, rows, row_bytes, stride };
    // SAFETY: the processor has AVX-512, and the lengths were checked above.
    unsafe {
        match format {
            BlockFormat::F16 => all::<F16>(weight, x, y, sizes),
            BlockFormat::BF16 => all::<BF16>(weight, x, y, sizes),
            BlockFormat::Q8_0 => all::<Q8_0>(weight, x, y, sizes),
            _ => all::<F32>(weight, x, y, sizes),
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    inputs: usize,
    /// Rows of the weight.
    count: usize,
    /// Rows of `x`.
    rows: usize,
    /// Bytes of a row of the weight.
    row_bytes: usize,
    /// Elements from a row of `y` to the next.
    stride: usize,
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
unsafe fn all<const FORM: u8>(weight: &[u8], x: &[f32], y: &mut [f32], sizes: Sizes) {
    let Sizes { inputs, count, rows, row_bytes, .. } = sizes;
    let mut widened = WIDENED.take();
    // Where rows of `x` come in several blocks, the weight is widened once for all of them, into the nearest cache.
    let widen = FORM != F32 && rows > BLOCK;
    if widen {
        widened.resize(BLOCK * inputs, 0.0);
    }
    let (weight, x, y) = (weight.as_ptr(), x.as_ptr(), y.as_mut_ptr());
    let mut output = 0;
    while output < count {
        let wide = count - output >= BLOCK;
        // SAFETY: rows and outputs of the block exist.
        unsafe {
            let weight = Rows { start: weight.add(output * row_bytes), stride: row_bytes, first: true };
            let y = y.add(output);
            if widen {
                let weight = widen_strip::<FORM>(weight, if wide { BLOCK } else { 1 }, inputs, &mut widened);
                blocks::<F32>(weight, wide, x, y, sizes);
            } else {
                blocks::<FORM>(weight, wide, x, y, sizes);
            }
        }
        output += if wide { BLOCK } else { 1 };
    }
    WIDENED.set(widened);
}

/// All rows of `x` by four rows of the weight, or one.
///
/// # Safety
/// As [`all`]; the rows exist.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn blocks<const FORM: u8>(
    mut weight: Rows,
    wide: bool,
    x: *const f32,
    y: *mut f32,
    Sizes { inputs, rows, stride, .. }: Sizes,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's word.
        unsafe {
            let (x, y) = (x.add(row * inputs), y.add(row * stride));
            row += match (rows - row, wide) {
                (BLOCK.., true) => block::<FORM, BLOCK, BLOCK>(weight, x, inputs, y, stride),
                (2.., true) => block::<FORM, 2, BLOCK>(weight, x, inputs, y, stride),
                (_, true) => block::<FORM, 1, BLOCK>(weight, x, inputs, y, stride),
                (BLOCK.., false) => block::<FORM, BLOCK, 1>(weight, x, inputs, y, stride),
                (_, false) => block::<FORM, 1, 1>(weight, x, inputs, y, stride),
            };
        }
        weight.first = false;
    }
}

/// Widens some rows into `widened`.
///
/// # Safety
/// As [`all`]; the rows exist, and `widened` has room for them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen_strip<const FORM: u8>(weight: Rows, count: usize, inputs: usize, widened: &mut [f32]) -> Rows {
    let whole = inputs - inputs % LANES;
    for (w, widened) in widened.chunks_exact_mut(inputs).enumerate().take(count) {
        // SAFETY: the elements lie in the row, and their places in `widened`.
        unsafe {
            let row = weight.start.add(w * weight.stride);
            let mut at = 0;
            while at < whole {
                let step = const { elements_of_step(FORM) };
                ask_ahead(row.wrapping_add(at / step * const { bytes_of_step(FORM) }), const { bytes_of_step(FORM) });
                let out = widened.as_mut_ptr().add(at);
                if FORM == Q8_0 {
                    let [left, right] = block_of_levels(row.add(at / 32 * 34));
                    _mm512_storeu_ps(out, left);
                    _mm512_storeu_ps(out.add(LANES), right);
                } else {
                    _mm512_storeu_ps(out, sixteen::<FORM>(row, at));
                }
                at += step;
            }
            for (at, widened) in widened.iter_mut().enumerate().skip(whole) {
                *widened = one::<FORM>(row, at);
            }
        }
    }
    Rows { start: widened.as_ptr().cast(), stride: 4 * inputs, first: false }
}

/// Asks for the bytes that lie [`AHEAD`] of a place.
#[inline(always)]
fn ask_ahead(place: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(CACHE_LINE) {
        // SAFETY: a hint: it may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD + line).cast()) };
    }
}

thread_local! {
    /// Rows that were widened: memory that each thread keeps.
    static WIDENED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Elements of one row that a step reads.
const fn elements_of_step(form: u8) -> usize {
    if form == Q8_0 { 2 * LANES } else { LANES }
}

/// Bytes of one row that a step reads.
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
        let vectors = const { elements_of_step(FORM) } / LANES;
        if weight.first {
            // The rows of a block lie one after the other: over its steps, all that lies so far ahead is asked for once.
            let bytes = W * const { bytes_of_step(FORM) };
            ask_ahead(weight.start.wrapping_add(at / (vectors * LANES) * bytes), bytes);
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
    let mut totals = totals(&sums);
    for (r, totals) in totals.iter_mut().enumerate() {
        // SAFETY: the rows of `x` and of the weight have all elements below `inputs`, and `y` has a place for each pair.
        unsafe {
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
#[inline]
#[target_feature(enable = "avx512f")]
fn totals<const R: usize, const W: usize>(sums: &[[__m512; W]; R]) -> [[f32; W]; R] {
    let mut totals = [[0.0; W]; R];
    if W == BLOCK {
        // Four rows of `x` at a time; where there are fewer, the others are nothing.
        let row = |r: usize, w: usize| if r < R { sums[r][w] } else { _mm512_setzero_ps() };
        for first in (0..R).step_by(BLOCK) {
            let [a, b, c, d]: [__m512; BLOCK] =
                std::array::from_fn(|w| quarters(std::array::from_fn(|r| row(first + r, w))));
            // In each quarter four lanes of four vectors: the first and third of all, the second and fourth.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let [ab, cd] = [_mm512_castps_pd(ab), _mm512_castps_pd(cd)];
            let (even, odd) =
                (_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
            let mut four = [[0.0f32; BLOCK]; BLOCK];
            // SAFETY: the array holds a vector.
            unsafe { _mm512_storeu_ps(four.as_mut_ptr().cast(), _mm512_add_ps(even, odd)) };
            for (totals, four) in totals[first..].iter_mut().zip(four) {
                totals.copy_from_slice(&four[..W]);
            }
        }
        return totals;
    }
    for (total, sum) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: the array holds a vector.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), *sum) };
        *total = sum_lanes(lanes);
    }
    totals
}

/// The sums of the quarters of each of four vectors, one vector to a quarter: first those eight lanes apart, then those four apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters([a, b, c, d]: [__m512; BLOCK]) -> __m512 {
    let halves =
        |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
    let (ab, cd) = (halves(a, b), halves(c, d));
    _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd))
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
