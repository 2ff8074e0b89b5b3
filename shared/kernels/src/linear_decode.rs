//! Linear layer for decoding: few rows, no gradient, and a row's result does not depend, to the bit, on the other rows.
//!
//! A general product picks another order of summation for another number of rows; here each element's order is fixed.

#[cfg(target_arch = "x86_64")]
mod dots_avx512;

#[cfg(any(target_arch = "x86_64", test))]
use crate::BlockFormat;
use crate::{
    FrozenWeight, StoredMatrix, WeightLayout,
    frozen::check_frozen,
    linear::add_bias,
    linear_frozen,
    parallel::{CHUNK, Shared, build},
    product::Product,
    simd::{Kernel, LANES, dispatch, dot, mul_add, sum_lanes},
    tensors::{Floats, fused},
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::{cell::RefCell, ops::Range};

/// [`crate::linear`] without a gradient, for decoding: a row's result does not depend, to the bit, on the other rows.
///
/// # Errors
/// Where the shapes do not fit.
pub fn linear_rows_independent(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    layout: WeightLayout,
) -> Result<Tensor> {
    linear_rows_independent_frozen(x, &FrozenWeight::Full(weight.detach()), bias, layout)
}

/// [`linear_rows_independent`] for a weight in any form: of a stored one, each task widens the rows that it multiplies with.
///
/// # Errors
/// Where the shapes do not fit.
pub fn linear_rows_independent_frozen(
    x: &Tensor,
    weight: &FrozenWeight,
    bias: Option<&Tensor>,
    layout: WeightLayout,
) -> Result<Tensor> {
    let (inputs, outputs) = check_frozen(x, weight, bias, layout)?;
    // Integers are summed exactly: the general product is independent of other rows too.
    if !fused(&[x]) || !weight.fused() || matches!(weight, FrozenWeight::Int8(_)) {
        return Ok(linear_frozen(x, weight, bias, layout)?.detach());
    }
    let (x, rows) = (x.contiguous()?, x.dim(0)?);
    let held;
    let weight = match weight {
        FrozenWeight::Full(tensor) => {
            held = FrozenWeight::Full(tensor.contiguous()?);
            &held
        }
        other => other,
    };
    let xs = Floats::of(&x)?;
    let xs = &xs[..];
    let whole = match (weight, layout) {
        (FrozenWeight::Stored(_), WeightLayout::OutputByInput) => None,
        _ => Some(weight.widened()?),
    };
    let ws: &[f32] = whole.as_deref().unwrap_or_default();
    // Each task owns some outputs of all rows, so that the weight is read once.
    let block = (CHUNK / inputs.max(1)).clamp(LANES, 256) / LANES * LANES;
    let part = |first: usize, y: &mut [f32]| match layout {
        WeightLayout::OutputByInput => rows_of_outputs(weight, ws, xs, first, y, inputs),
        WeightLayout::InputByOutput => columns(xs, ws, y, first, inputs, outputs),
    };
    let mut y = if rows == 1 {
        build(outputs, block, |index, y| part(index * block, y))
    } else {
        let whole = Shared::new(rows * outputs);
        (0..if rows == 0 { 0 } else { outputs.div_ceil(block) }).into_par_iter().for_each(|index| {
            let (first, count) = (index * block, block.min(outputs - index * block));
            PART.with_borrow_mut(|own| {
                own.resize(rows * count, 0.0);
                part(first, own);
                for (row, values) in own.chunks_exact(count).enumerate() {
                    // SAFETY: these columns are this task's, and nothing reads them before all are written.
                    unsafe { whole.row(row * outputs + first, count) }.copy_from_slice(values);
                }
            });
        });
        // SAFETY: the blocks cover each row.
        unsafe { whole.written() }
    };
    if let Some(bias) = bias {
        add_bias(&mut y, &Floats::of(&bias.contiguous()?)?);
    }
    Tensor::from_vec(y, (rows, outputs), x.device())
}

/// The bytes of some rows, where there is a kernel that reads them as they lie.
#[cfg(target_arch = "x86_64")]
fn as_they_lie<'a>(
    weight: &'a FrozenWeight,
    whole: &'a [f32],
    rows: Range<usize>,
    inputs: usize,
) -> Option<(BlockFormat, &'a [u8])> {
    let (format, bytes) = match weight {
        FrozenWeight::Stored(matrix) => matrix.block_rows(rows)?,
        _ => (BlockFormat::F32, bytemuck::cast_slice(&whole[rows.start * inputs..rows.end * inputs])),
    };
    (inputs > 0 && dots_avx512::reads(format)).then_some((format, bytes))
}

/// Elements of `x` that stay in the second cache while the rows of a task's weight pass by: 512 KiB.
const NEAR: usize = 1 << 17;

/// The outputs from `first` on, `y` `[rows, count]`, with a weight `[outputs, inputs]`, whose numbers are `ws` where it is not
/// stored in another form.
fn rows_of_outputs(weight: &FrozenWeight, ws: &[f32], x: &[f32], first: usize, y: &mut [f32], inputs: usize) {
    let rows = x.len() / inputs.max(1);
    let count = y.len() / rows;
    let together = (NEAR / inputs.max(1)).max(TOGETHER) / TOGETHER * TOGETHER;
    let blocks = x.chunks((together * inputs).max(1)).zip(y.chunks_mut(together * count));
    #[cfg(target_arch = "x86_64")]
    if let Some((format, bytes)) = as_they_lie(weight, ws, first..first + count, inputs) {
        return blocks.for_each(|(x, y)| dots_avx512::outputs(format, bytes, x, y, (inputs, count)));
    }
    let FrozenWeight::Stored(matrix) = weight else {
        let weight = &ws[first * inputs..][..count * inputs];
        return blocks.for_each(|(x, y)| dispatch(Dots { x, weight, y, inputs, stride: count }));
    };
    if rows <= FEW {
        return widened_rows(matrix, first..first + count, x, y);
    }
    WIDENED.with_borrow_mut(|widened| {
        widened.resize(count * inputs, 0.0);
        matrix.widen_rows(first..first + count, widened);
        blocks.for_each(|(x, y)| dots(widened, x, y, (inputs, count)));
    });
}

/// Up to so many rows of `x`, the weight is widened a strip at a time.
const FEW: usize = 16;

thread_local! {
    /// The outputs of a task, before they go to their rows.
    static PART: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// Rows that a task has widened: memory that each thread keeps.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The outputs of some rows of a stored weight. A few rows at a time are widened: they stay in the nearest cache.
fn widened_rows(matrix: &StoredMatrix, rows: Range<usize>, x: &[f32], y: &mut [f32]) {
    let (inputs, stride) = (matrix.dims().1, rows.len());
    WIDENED.with_borrow_mut(|widened| {
        for first in (0..stride).step_by(STRIP) {
            let count = STRIP.min(stride - first);
            widened.resize(count * inputs, 0.0);
            matrix.widen_rows(rows.start + first..rows.start + first + count, widened);
            dots(widened, x, &mut y[first..], (inputs, stride));
        }
    });
}

fn dots(weight: &[f32], x: &[f32], y: &mut [f32], (inputs, stride): (usize, usize)) {
    #[cfg(target_arch = "x86_64")]
    if inputs > 0 && dots_avx512::reads(BlockFormat::F32) {
        return dots_avx512::outputs(BlockFormat::F32, bytemuck::cast_slice(weight), x, y, (inputs, stride));
    }
    dispatch(Dots { x, weight, y, inputs, stride });
}

/// The outputs from `first` on, `y` `[rows, count]`, with a weight `[inputs, outputs]`.
fn columns(x: &[f32], weight: &[f32], y: &mut [f32], first: usize, inputs: usize, outputs: usize) {
    let rows = x.len() / inputs.max(1);
    let count = y.len() / rows;
    let product = |b: &[f32], b_stride, c: &mut [f32], n| {
        Product { a: x, a_strides: (inputs, 1), b, b_stride, c, m: rows, n, k: inputs, add: false }.compute();
    };
    if count.is_multiple_of(LANES) {
        return product(&weight[first..], outputs, y, count);
    }
    // The last block is no whole number of vectors: copied, padded with zeros.
    let padded = count.next_multiple_of(LANES);
    let (mut b, mut c) = (vec![0.0; inputs * padded], vec![0.0; rows * padded]);
    for (copy, row) in b.chunks_exact_mut(padded).zip(weight.chunks_exact(outputs)) {
        copy[..count].copy_from_slice(&row[first..]);
    }
    product(&b, padded, &mut c, padded);
    for (y, c) in y.chunks_exact_mut(count).zip(c.chunks_exact(padded)) {
        y.copy_from_slice(&c[..count]);
    }
}

/// Each output is the scalar product of a row of `x` and a row of the weight; `y` is `[rows, outputs of this block]`.
/// Sums run by lanes, then over the lanes, then over the tail, as [`dot`] does, for any strip.
struct Dots<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    y: &'a mut [f32],
    inputs: usize,
    /// Elements from a row of `y` to the next.
    stride: usize,
}

/// Rows of the weight that are read side by side; they stay in the nearest cache while the rows of `x` pass by.
const STRIP: usize = 4;

/// Rows of `x` that pass by together, and rows of the weight that they meet at once: their sums and what is multiplied fit
/// sixteen registers of eight elements, as AVX2 has them, and are enough that no addition waits for another.
const TOGETHER: usize = 3;
const PAIR: usize = 2;

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (inputs, stride) = (self.inputs, self.stride);
        for (block, weight) in self.weight.chunks(STRIP * inputs).enumerate() {
            for (group, x) in self.x.chunks(TOGETHER * inputs).enumerate() {
                let y = &mut self.y[group * TOGETHER * stride + block * STRIP..];
                if weight.len() < STRIP * inputs {
                    for (row, x) in x.chunks_exact(inputs).enumerate() {
                        for (y, weight) in y[row * stride..].iter_mut().zip(weight.chunks_exact(inputs)) {
                            *y = dot::<FMA>(x, weight);
                        }
                    }
                } else if x.len() == TOGETHER * inputs {
                    for (pair, weight) in weight.chunks_exact(PAIR * inputs).enumerate() {
                        for (row, sums) in tile::<FMA>(x, weight, inputs).iter().enumerate() {
                            y[row * stride + pair * PAIR..][..PAIR].copy_from_slice(sums);
                        }
                    }
                } else {
                    for (row, x) in x.chunks_exact(inputs).enumerate() {
                        y[row * stride..][..STRIP].copy_from_slice(&strip::<FMA>(x, weight));
                    }
                }
            }
        }
    }
}

/// Six scalar products at once: three rows of `x` by two of the weight.
#[inline(always)]
fn tile<const FMA: bool>(x: &[f32], weight: &[f32], inputs: usize) -> [[f32; PAIR]; TOGETHER] {
    let rows: [&[f32]; PAIR] = std::array::from_fn(|w| &weight[w * inputs..][..inputs]);
    let x: [&[f32]; TOGETHER] = std::array::from_fn(|r| &x[r * inputs..][..inputs]);
    let whole = inputs - inputs % LANES;
    // One array for each row of `x`: one for all would stay in memory.
    let (mut s0, mut s1, mut s2) = ([[0.0f32; LANES]; PAIR], [[0.0f32; LANES]; PAIR], [[0.0f32; LANES]; PAIR]);
    for at in (0..whole).step_by(LANES) {
        let b = rows.map(|row| lanes(row, at));
        add_products::<FMA, PAIR>(&mut s0, lanes(x[0], at), b);
        add_products::<FMA, PAIR>(&mut s1, lanes(x[1], at), b);
        add_products::<FMA, PAIR>(&mut s2, lanes(x[2], at), b);
    }
    let totals = |sums, x| totals::<FMA, PAIR>(sums, x, rows, whole);
    [totals(s0, x[0]), totals(s1, x[1]), totals(s2, x[2])]
}

/// Four scalar products at once. Whole arrays are loaded and kept: through slices or references the compiler leaves the
/// sums in memory, ten times slower.
#[inline(always)]
fn strip<const FMA: bool>(x: &[f32], weight: &[f32]) -> [f32; STRIP] {
    let rows: [&[f32]; STRIP] = std::array::from_fn(|w| &weight[w * x.len()..][..x.len()]);
    let whole = x.len() - x.len() % LANES;
    let mut sums = [[0.0f32; LANES]; STRIP];
    for at in (0..whole).step_by(LANES) {
        add_products::<FMA, STRIP>(&mut sums, lanes(x, at), rows.map(|row| lanes(row, at)));
    }
    totals::<FMA, STRIP>(sums, x, rows, whole)
}

#[inline(always)]
fn add_products<const FMA: bool, const W: usize>(sums: &mut [[f32; LANES]; W], a: [f32; LANES], b: [[f32; LANES]; W]) {
    for w in 0..W {
        for lane in 0..LANES {
            sums[w][lane] = mul_add::<FMA>(a[lane], b[w][lane], sums[w][lane]);
        }
    }
}

/// The sums over the lanes, and the elements from `whole` on.
#[inline(always)]
fn totals<const FMA: bool, const W: usize>(
    sums: [[f32; LANES]; W],
    x: &[f32],
    rows: [&[f32]; W],
    whole: usize,
) -> [f32; W] {
    std::array::from_fn(|w| {
        let mut total = sum_lanes(sums[w]);
        for (a, b) in x[whole..].iter().zip(&rows[w][whole..]) {
            total = mul_add::<FMA>(*a, *b, total);
        }
        total
    })
}

#[inline(always)]
fn lanes(values: &[f32], at: usize) -> [f32; LANES] {
    values[at..at + LANES].try_into().expect("a slice of that length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, random, with_threads};

    #[test]
    fn a_row_alone_equals_the_row_among_others() {
        for layout in [WeightLayout::OutputByInput, WeightLayout::InputByOutput] {
            for (inputs, outputs) in [(1, 1), (64, 2000), (577, 1537), (1536, 33)] {
                let shape = match layout {
                    WeightLayout::OutputByInput => [outputs, inputs],
                    WeightLayout::InputByOutput => [inputs, outputs],
                };
                let (x, weight, bias) = (random(&[19, inputs], 1), random(&shape, 2), random(&[outputs], 3));
                let all = linear_rows_independent(&x, &weight, Some(&bias), layout).unwrap();
                close(&all, &layout.portable(&x, &weight, Some(&bias)).unwrap(), 1e-5);
                for (row, count) in [(0, 1), (18, 1), (3, 2), (5, 7)] {
                    let some = x.narrow(0, row, count).unwrap();
                    let some =
                        with_threads(2, || linear_rows_independent(&some, &weight, Some(&bias), layout)).unwrap();
                    let expected = all.narrow(0, row, count).unwrap();
                    assert_eq!(some.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
                }
            }
        }
    }

    #[test]
    fn rows_as_they_lie_give_the_bits_of_widened_ones() {
        for format in [BlockFormat::F32, BlockFormat::F16, BlockFormat::BF16, BlockFormat::Q8_0, BlockFormat::Q4_K] {
            for (rows, inputs, outputs) in [(1, 64, 33), (7, 608, 70), (16, 96, 5), (3, 45, 9), (6, 256, 13)] {
                if format.row_bytes(inputs).is_none() {
                    continue;
                }
                let numbers = |len, seed| crate::testing::numbers(len, seed);
                let (x, values) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
                let matrix = StoredMatrix::encode(format, (outputs, inputs), &values).unwrap();
                let (mut expected, mut widened) = (vec![0.0; rows * outputs], vec![0.0; outputs * inputs]);
                matrix.widen_rows(0..outputs, &mut widened);
                dispatch(Dots { x: &x, weight: &widened, y: &mut expected, inputs, stride: outputs });
                let mut found = vec![f32::NAN; rows * outputs];
                widened_rows(&matrix, 0..outputs, &x, &mut found);
                assert_eq!(found, expected, "{format:?} {rows} {inputs} {outputs}, widened");
                #[cfg(target_arch = "x86_64")]
                if dots_avx512::reads(format) {
                    let mut found = vec![f32::NAN; rows * outputs];
                    let (_, bytes) = matrix.block_rows(0..outputs).unwrap();
                    dots_avx512::outputs(format, bytes, &x, &mut found, (inputs, outputs));
                    assert_eq!(found, expected, "{format:?} {rows} {inputs} {outputs}");
                }
                let weight = FrozenWeight::Stored(std::sync::Arc::new(matrix));
                let x = Tensor::from_vec(x, (rows, inputs), &candle_core::Device::Cpu).unwrap();
                let y = linear_rows_independent_frozen(&x, &weight, None, WeightLayout::OutputByInput).unwrap();
                assert_eq!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
            }
        }
    }

    #[test]
    fn no_rows() {
        let y = linear_rows_independent(&random(&[0, 4], 1), &random(&[3, 4], 2), None, WeightLayout::OutputByInput);
        assert_eq!(y.unwrap().dims(), [0, 3]);
    }
}
