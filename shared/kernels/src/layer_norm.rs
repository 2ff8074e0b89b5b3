//! Layer normalisation (Ba, Kiros and Hinton 2016): `y = (x − mean) / sqrt(variance + eps) · weight + bias`.

use crate::{
    parallel::{build, rows_per_chunk, sum_of_parts},
    profile::timed,
    simd::{Kernel, dispatch, mul_add, sum},
    tape::apply3,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};

/// Normalises each row of `x` `[N, C]` to mean 0 and variance 1, then applies `weight` and `bias` `[C]`.
///
/// # Errors
/// Where the shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let columns = x.dim(D::Minus1)?;
    if weight.dims() != [columns] || bias.dims() != [columns] {
        bail!(
            "layer_norm: expected weight and bias of shape [{columns}], found {:?} and {:?}",
            weight.dims(),
            bias.dims()
        );
    }
    if !fused(&[x, weight, bias]) {
        return portable(x, weight, bias, eps);
    }
    apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, LayerNorm { eps: eps as f32 })
}

fn portable(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let inverse = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.powf(-0.5)?;
    centred.broadcast_mul(&inverse)?.broadcast_mul(weight)?.broadcast_add(bias)
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("layer_norm", false);
        let (x, weight, bias) = (floats(x, lx)?, floats(weight, lw)?, floats(bias, lb)?);
        let chunk = rows_per_chunk(weight.len()) * weight.len();
        let y = build(x.len(), chunk, |index, y| {
            dispatch(Forward { x: &x[index * chunk..][..y.len()], weight, bias, y, eps: self.eps });
        });
        Ok(storage(y, lx.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("layer_norm", true);
        let grad = grad.contiguous()?;
        let (xs, ws, gs) = (Floats::of(x)?, Floats::of(weight)?, Floats::of(&grad)?);
        let (xs, ws, gs) = (&xs[..], &ws[..], &gs[..]);
        let columns = ws.len();
        let chunk = rows_per_chunk(columns) * columns;
        let grad_x = x.track_op().then(|| {
            build(xs.len(), chunk, |index, grad_x| {
                let (x, grad) = (&xs[index * chunk..][..grad_x.len()], &gs[index * chunk..][..grad_x.len()]);
                dispatch(BackwardInput { x, grad, weight: ws, grad_x, eps: self.eps });
            })
        });
        let both = (weight.track_op() || bias.track_op()).then(|| {
            sum_of_parts(xs.len().div_ceil(chunk.max(1)), 2 * columns, |index, part| {
                let end = (index * chunk + chunk).min(xs.len());
                let (grad_weight, grad_bias) = part.split_at_mut(columns);
                let (x, grad) = (&xs[index * chunk..end], &gs[index * chunk..end]);
                dispatch(BackwardWeight { x, grad, grad_weight, grad_bias, eps: self.eps });
            })
        });
        let (grad_weight, grad_bias) = match both {
            None => (None, None),
            Some(mut both) => {
                let grad_bias = both.split_off(columns);
                (Some(tensor(both, weight)?), Some(tensor(grad_bias, bias)?))
            }
        };
        let grad_x = grad_x.map(|g| tensor(g, x)).transpose()?;
        Ok((grad_x, grad_weight.filter(|_| weight.track_op()), grad_bias.filter(|_| bias.track_op())))
    }
}

/// Mean and inverse standard deviation of a row, in two passes: the one-pass form cancels.
#[inline(always)]
fn moments<const FMA: bool>(row: &[f32], eps: f32) -> (f32, f32) {
    let columns = row.len() as f32;
    let mean = sum(row.len(), |i, total| total + row[i]) / columns;
    let squares = sum(row.len(), |i, total| {
        let centred = row[i] - mean;
        mul_add::<FMA>(centred, centred, total)
    });
    (mean, 1.0 / (squares / columns + eps).sqrt())
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
    eps: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.weight.len();
        for (x, y) in self.x.chunks_exact(columns).zip(self.y.chunks_exact_mut(columns)) {
            let (mean, inverse) = moments::<FMA>(x, self.eps);
            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *y = mul_add::<FMA>((x - mean) * inverse, *weight, *bias);
            }
        }
    }
}

/// `dx = inverse · (g − mean(g) − n · mean(g · n))` with `g = grad · weight` and `n` the normalised row.
struct BackwardInput<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    weight: &'a [f32],
    grad_x: &'a mut [f32],
    eps: f32,
}

impl Kernel for BackwardInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.weight.len();
        let rows = self.x.chunks_exact(columns).zip(self.grad.chunks_exact(columns));
        for ((x, grad), grad_x) in rows.zip(self.grad_x.chunks_exact_mut(columns)) {
            let weight = &self.weight[..columns];
            let (mean, inverse) = moments::<FMA>(x, self.eps);
            let mean_g = sum(columns, |i, total| mul_add::<FMA>(grad[i], weight[i], total)) / columns as f32;
            let mean_gn = sum(columns, |i, total| mul_add::<FMA>(grad[i] * weight[i], (x[i] - mean) * inverse, total))
                / columns as f32;
            for i in 0..columns {
                let normalised = (x[i] - mean) * inverse;
                grad_x[i] = inverse * (grad[i] * weight[i] - mean_g - normalised * mean_gn);
            }
        }
    }
}

struct BackwardWeight<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    grad_weight: &'a mut [f32],
    grad_bias: &'a mut [f32],
    eps: f32,
}

impl Kernel for BackwardWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.grad_weight.len();
        for (x, grad) in self.x.chunks_exact(columns).zip(self.grad.chunks_exact(columns)) {
            let (mean, inverse) = moments::<FMA>(x, self.eps);
            let totals = self.grad_weight.iter_mut().zip(self.grad_bias.iter_mut());
            for (((grad_weight, grad_bias), x), grad) in totals.zip(x).zip(grad) {
                *grad_weight = mul_add::<FMA>(grad * inverse, x - mean, *grad_weight);
                *grad_bias += grad;
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
        for (rows, columns) in [(1, 2), (3, 17), (40, 576), (2, 20_000), (0, 8)] {
            Check::new(|t| layer_norm(&t[0], &t[1], &t[2], 1e-5))
                .with_plain(|t| portable(&t[0], &t[1], &t[2], 1e-5))
                .run(&[random(&[rows, columns], 1), random(&[columns], 2), random(&[columns], 3)]);
        }
    }
}
