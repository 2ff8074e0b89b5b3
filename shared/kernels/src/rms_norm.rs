//! Root-mean-square normalisation (Zhang and Sennrich 2019): `y = x / sqrt(mean(x²) + eps) · (weight + offset)`.

use crate::{
    parallel::{build, rows_per_chunk, sum_of_parts},
    profile::timed,
    simd::{Kernel, dispatch, dot, mul_add, sum},
    tape::apply2,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};

/// Normalises each row of `x` `[N, C]` by its root mean square, then scales by `weight` `[C]` plus `weight_offset`
/// (0 for most models, 1 for Gemma).
///
/// # Errors
/// Where the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64, weight_offset: f32) -> Result<Tensor> {
    if weight.dims() != [x.dim(D::Minus1)?] {
        bail!("rms_norm: expected a weight of shape [{}], found {:?}", x.dim(D::Minus1)?, weight.dims());
    }
    if !fused(&[x, weight]) {
        return portable(x, weight, eps, weight_offset);
    }
    apply2(&x.contiguous()?, &weight.contiguous()?, RmsNorm { eps, offset: weight_offset })
}

fn portable(x: &Tensor, weight: &Tensor, eps: f64, weight_offset: f32) -> Result<Tensor> {
    let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.powf(-0.5)?;
    x.broadcast_mul(&inverse)?.broadcast_mul(&(weight + f64::from(weight_offset))?)
}

struct RmsNorm {
    eps: f64,
    offset: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("rms_norm", false);
        let (x, weight) = (floats(x, lx)?, floats(weight, lw)?);
        let chunk = rows_per_chunk(weight.len()) * weight.len();
        let y = build(x.len(), chunk, |index, y| {
            dispatch(Forward { x: &x[index * chunk..][..y.len()], weight, y, eps: self.eps, offset: self.offset });
        });
        Ok(storage(y, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("rms_norm", true);
        let grad = grad.contiguous()?;
        let (xs, ws, gs) = (Floats::of(x)?, Floats::of(weight)?, Floats::of(&grad)?);
        let (xs, ws, gs) = (&xs[..], &ws[..], &gs[..]);
        let chunk = rows_per_chunk(ws.len()) * ws.len();
        let grad_x = x.track_op().then(|| {
            build(xs.len(), chunk, |index, grad_x| {
                let (x, grad) = (&xs[index * chunk..][..grad_x.len()], &gs[index * chunk..][..grad_x.len()]);
                dispatch(BackwardInput { x, grad, weight: ws, grad_x, eps: self.eps, offset: self.offset });
            })
        });
        let grad_weight = weight.track_op().then(|| {
            sum_of_parts(xs.len().div_ceil(chunk.max(1)), ws.len(), |index, grad_weight| {
                let end = (index * chunk + chunk).min(xs.len());
                let (x, grad) = (&xs[index * chunk..end], &gs[index * chunk..end]);
                dispatch(BackwardWeight { x, grad, grad_weight, eps: self.eps });
            })
        });
        Ok((grad_x.map(|g| tensor(g, x)).transpose()?, grad_weight.map(|g| tensor(g, weight)).transpose()?))
    }
}

/// In `f64` from the sum on: an error here is one of the whole row.
#[inline(always)]
fn inverse_rms<const FMA: bool>(row: &[f32], eps: f64) -> f32 {
    (1.0 / (f64::from(dot::<FMA>(row, row)) / row.len() as f64 + eps).sqrt()) as f32
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    y: &'a mut [f32],
    eps: f64,
    offset: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.weight.len();
        for (x, y) in self.x.chunks_exact(columns).zip(self.y.chunks_exact_mut(columns)) {
            let inverse = inverse_rms::<FMA>(x, self.eps);
            for ((y, x), weight) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * inverse * (weight + self.offset);
            }
        }
    }
}

/// `dx = inverse · (g − x · inverse² · mean(g · x))` with `g = grad · (weight + offset)`.
struct BackwardInput<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    weight: &'a [f32],
    grad_x: &'a mut [f32],
    eps: f64,
    offset: f32,
}

impl Kernel for BackwardInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.weight.len();
        let rows = self.x.chunks_exact(columns).zip(self.grad.chunks_exact(columns));
        for ((x, grad), grad_x) in rows.zip(self.grad_x.chunks_exact_mut(columns)) {
            let weight = &self.weight[..columns];
            let inverse = inverse_rms::<FMA>(x, self.eps);
            let product = sum(columns, |i, total| mul_add::<FMA>(grad[i] * (weight[i] + self.offset), x[i], total));
            let inverse = f64::from(inverse);
            let correction = (f64::from(product) / columns as f64 * inverse * inverse) as f32;
            let inverse = inverse as f32;
            for i in 0..columns {
                grad_x[i] = inverse * (grad[i] * (weight[i] + self.offset) - x[i] * correction);
            }
        }
    }
}

/// `dweight = Σ over rows of grad · x · inverse`.
struct BackwardWeight<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    grad_weight: &'a mut [f32],
    eps: f64,
}

impl Kernel for BackwardWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.grad_weight.len();
        for (x, grad) in self.x.chunks_exact(columns).zip(self.grad.chunks_exact(columns)) {
            let inverse = inverse_rms::<FMA>(x, self.eps);
            for ((total, x), grad) in self.grad_weight.iter_mut().zip(x).zip(grad) {
                *total = mul_add::<FMA>(grad * inverse, *x, *total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    #[test]
    fn agrees_with_the_plain_formula() {
        for (rows, columns) in [(1, 1), (3, 17), (40, 576), (2, 20_000), (0, 8)] {
            Check::new(|t| rms_norm(&t[0], &t[1], 1e-5, 1.0))
                .with_plain(|t| portable(&t[0], &t[1], 1e-5, 1.0))
                .run(&[random(&[rows, columns], 1), random(&[columns], 2)]);
        }
    }
}
