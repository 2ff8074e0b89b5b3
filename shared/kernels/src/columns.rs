//! One factor or one addend for each column, with a gradient for it: DoRA's magnitudes, and biases that are trained beside
//! a frozen weight.

use crate::{
    linear::{add_bias, sum_of_rows},
    parallel::{build, for_each_chunk, rows_per_chunk, sum_of_parts},
    simd::{Kernel, dispatch},
    tape::apply2,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// `x` `[N, C]` with column `c` multiplied by `factors[c]`. A gradient is computed for each argument that is tracked.
///
/// # Errors
/// Where the shapes do not fit.
pub fn scale_columns(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    check("scale_columns", x, factors)?;
    if !fused(&[x, factors]) {
        return x.broadcast_mul(factors);
    }
    apply2(&x.contiguous()?, &factors.contiguous()?, ScaleColumns)
}

/// `x` `[N, C]` with `addends[c]` added to column `c`. A gradient is computed for each argument that is tracked.
///
/// # Errors
/// Where the shapes do not fit.
pub fn add_to_columns(x: &Tensor, addends: &Tensor) -> Result<Tensor> {
    check("add_to_columns", x, addends)?;
    if !fused(&[x, addends]) {
        return x.broadcast_add(addends);
    }
    apply2(&x.contiguous()?, &addends.contiguous()?, AddToColumns)
}

fn check(name: &str, x: &Tensor, columns: &Tensor) -> Result<()> {
    if columns.dims() != [x.dims2()?.1] {
        bail!("{name}: expected one number for each of {} columns, found {:?}", x.dims()[1], columns.dims());
    }
    Ok(())
}

struct ScaleColumns;

impl CustomOp2 for ScaleColumns {
    fn name(&self) -> &'static str {
        "scale_columns"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, factors: &CpuStorage, lf: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(storage(scaled(floats(x, lx)?, floats(factors, lf)?), lx.shape()))
    }

    fn bwd(&self, x: &Tensor, factors: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (xs, factor_values, grads) = (Floats::of(x)?, Floats::of(factors)?, Floats::of(&grad)?);
        let grad_x = x.track_op().then(|| tensor(scaled(&grads, &factor_values), x));
        let grad_factors = factors.track_op().then(|| {
            let columns = factor_values.len();
            let chunk = rows_per_chunk(columns) * columns;
            let parts = grads.len().div_ceil(chunk.max(1));
            let total = sum_of_parts(parts, columns, |index, total| {
                let part = index * chunk..(index * chunk + chunk).min(grads.len());
                dispatch(SumOfProducts { x: &xs[part.clone()], grad: &grads[part], total });
            });
            tensor(total, factors)
        });
        Ok((grad_x.transpose()?, grad_factors.transpose()?))
    }
}

fn scaled(x: &[f32], factors: &[f32]) -> Vec<f32> {
    let chunk = rows_per_chunk(factors.len()) * factors.len();
    build(x.len(), chunk.max(1), |index, y| {
        let x = &x[index * chunk..][..y.len()];
        dispatch(Scaled { x, factors, y });
    })
}

struct Scaled<'a> {
    x: &'a [f32],
    factors: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.factors.len();
        for (y, x) in self.y.chunks_exact_mut(columns).zip(self.x.chunks_exact(columns)) {
            for ((y, x), factor) in y.iter_mut().zip(x).zip(self.factors) {
                *y = x * factor;
            }
        }
    }
}

struct SumOfProducts<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    total: &'a mut [f32],
}

impl Kernel for SumOfProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.total.len();
        for (x, grad) in self.x.chunks_exact(columns).zip(self.grad.chunks_exact(columns)) {
            for ((total, x), grad) in self.total.iter_mut().zip(x).zip(grad) {
                *total += x * grad;
            }
        }
    }
}

struct AddToColumns;

impl CustomOp2 for AddToColumns {
    fn name(&self) -> &'static str {
        "add_to_columns"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, addends: &CpuStorage, la: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, lx)?;
        let mut y = build(x.len(), crate::parallel::CHUNK, |index, y| {
            y.copy_from_slice(&x[index * crate::parallel::CHUNK..][..y.len()]);
        });
        let addends = floats(addends, la)?;
        if !addends.is_empty() {
            add_bias(&mut y, addends);
        }
        Ok(storage(y, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, addends: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let grad_addends = addends
            .track_op()
            .then(|| tensor(sum_of_rows(&Floats::of(&grad)?, addends.elem_count()), addends))
            .transpose()?;
        Ok((x.track_op().then_some(grad), grad_addends))
    }
}

/// The squared length of each output's weights, `Σ_i W[o, i]²`, in `f64`. `by_output` says whether the weight is stored
/// `[out, in]`, and not `[in, out]`.
pub(crate) fn squared_lengths(weight: &[f32], outputs: usize, by_output: bool) -> Vec<f64> {
    let inputs = weight.len() / outputs.max(1);
    let mut squares = vec![0.0f64; outputs];
    if by_output {
        for_each_chunk(&mut squares, 64, |index, part| {
            for (offset, square) in part.iter_mut().enumerate() {
                let row = &weight[(index * 64 + offset) * inputs..][..inputs];
                *square = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            }
        });
    } else {
        for_each_chunk(&mut squares, 64, |index, part| {
            for row in weight.chunks_exact(outputs) {
                for (square, &value) in part.iter_mut().zip(&row[index * 64..]) {
                    *square += f64::from(value) * f64::from(value);
                }
            }
        });
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    #[test]
    fn agree_with_the_broadcast() {
        for (rows, columns) in [(1, 1), (3, 5), (300, 70), (2, 40_000), (0, 4)] {
            let inputs = [random(&[rows, columns], 1), random(&[columns], 2)];
            Check::new(|t| scale_columns(&t[0], &t[1])).with_plain(|t| t[0].broadcast_mul(&t[1])).run(&inputs);
            Check::new(|t| add_to_columns(&t[0], &t[1])).with_plain(|t| t[0].broadcast_add(&t[1])).run(&inputs);
        }
    }

    #[test]
    fn columns_must_fit() {
        let (x, factors) = (random(&[2, 3], 1), random(&[2], 2));
        assert!(scale_columns(&x, &factors).unwrap_err().to_string().contains("each of 3 columns"));
        assert!(add_to_columns(&x, &factors).is_err());
    }

    #[test]
    fn lengths_in_either_layout() {
        let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(squared_lengths(&weight, 2, true), [14.0, 77.0]);
        assert_eq!(squared_lengths(&weight, 2, false), [35.0, 56.0]);
    }
}
