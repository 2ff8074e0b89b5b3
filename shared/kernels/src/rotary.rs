//! Rotary position embedding (Su et al. 2021): pairs of features are rotated by an angle that grows with the position.

use crate::{
    parallel::{build, rows_per_chunk},
    profile::timed,
    simd::{Kernel, dispatch},
    tape::apply1,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};

/// Which features form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Feature `i` with `i + R/2`, as Hugging Face models (`rotate_half`).
    Half,
    /// Feature `2i` with `2i + 1`, as the original paper, GPT-J and Meta's Llama files.
    Interleaved,
}

/// Rotates the first `R` features of each head of `x` `[N, H, D]`; `cos` and `sin` are `[N, R/2]` and get no gradient.
/// Features from `R` on pass through (partial rotary).
///
/// # Errors
/// Where the shapes do not fit.
pub fn rotary(x: &Tensor, cos: &Tensor, sin: &Tensor, style: RotaryStyle) -> Result<Tensor> {
    let (n, _, d) = x.dims3()?;
    let (rows, half) = cos.dims2()?;
    if rows != n || sin.dims() != cos.dims() || 2 * half > d {
        bail!(
            "rotary: expected cos and sin of shape [{n}, at most {}], found {:?} and {:?}",
            d / 2,
            cos.dims(),
            sin.dims()
        );
    }
    if !fused(&[x, cos, sin]) {
        return portable(x, cos, sin, style);
    }
    let (cos, sin) = (cos.detach().contiguous()?, sin.detach().contiguous()?);
    apply1(&x.contiguous()?, Rotary { cos, sin, style })
}

fn portable(x: &Tensor, cos: &Tensor, sin: &Tensor, style: RotaryStyle) -> Result<Tensor> {
    let (n, heads, d) = x.dims3()?;
    let half = cos.dim(1)?;
    let (cos, sin) = (cos.unsqueeze(1)?.unsqueeze(3)?, sin.unsqueeze(1)?.unsqueeze(3)?);
    // The last dimension holds the two members of a pair.
    let pairs = match style {
        RotaryStyle::Half => x.narrow(2, 0, 2 * half)?.reshape((n, heads, 2, half))?.transpose(2, 3)?,
        RotaryStyle::Interleaved => x.narrow(2, 0, 2 * half)?.reshape((n, heads, half, 2))?,
    };
    let (a, b) = (pairs.narrow(3, 0, 1)?, pairs.narrow(3, 1, 1)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let rotated = match style {
        RotaryStyle::Half => Tensor::cat(&[first.squeeze(3)?, second.squeeze(3)?], 2)?,
        RotaryStyle::Interleaved => Tensor::cat(&[first, second], 3)?.reshape((n, heads, 2 * half))?,
    };
    Tensor::cat(&[rotated, x.narrow(2, 2 * half, d - 2 * half)?], D::Minus1)
}

struct Rotary {
    cos: Tensor,
    sin: Tensor,
    style: RotaryStyle,
}

impl Rotary {
    fn turn(&self, x: &[f32], dims: &[usize], direction: f32) -> Result<Vec<f32>> {
        let (cos, sin) = (Floats::of(&self.cos)?, Floats::of(&self.sin)?);
        let (cos, sin) = (&cos[..], &sin[..]);
        let (heads, head_dim, half) = (dims[1], dims[2], self.cos.dim(1)?);
        let row = heads * head_dim;
        let rows = rows_per_chunk(row);
        Ok(build(x.len(), rows * row, |index, y| {
            let count = y.len() / row;
            dispatch(Turn {
                x: &x[index * rows * row..][..y.len()],
                cos: &cos[index * rows * half..][..count * half],
                sin: &sin[index * rows * half..][..count * half],
                y,
                heads,
                head_dim,
                half,
                style: self.style,
                direction,
            });
        }))
    }
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("rotary", false);
        Ok(storage(self.turn(floats(x, layout)?, layout.dims(), 1.0)?, layout.shape()))
    }

    /// The gradient is turned back by the same angle.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let _timer = timed("rotary", true);
        let grad = grad.contiguous()?;
        let turned = self.turn(&Floats::of(&grad)?, x.dims(), -1.0)?;
        Ok(Some(tensor(turned, x)?))
    }
}

struct Turn<'a> {
    x: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    y: &'a mut [f32],
    heads: usize,
    head_dim: usize,
    half: usize,
    style: RotaryStyle,
    direction: f32,
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let heads = self.x.chunks_exact(self.head_dim).zip(self.y.chunks_exact_mut(self.head_dim));
        for (head, (x, y)) in heads.enumerate() {
            let row = head / self.heads * self.half;
            let (cos, sin) = (&self.cos[row..][..self.half], &self.sin[row..][..self.half]);
            match self.style {
                RotaryStyle::Half => half_pairs(x, y, cos, sin, self.direction),
                RotaryStyle::Interleaved => interleaved_pairs(x, y, cos, sin, self.direction),
            }
            y[2 * self.half..].copy_from_slice(&x[2 * self.half..]);
        }
    }
}

#[inline(always)]
fn half_pairs(x: &[f32], y: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let half = cos.len();
    let (a, b) = (&x[..half], &x[half..2 * half]);
    let (first, rest) = y.split_at_mut(half);
    let (second, sin) = (&mut rest[..half], &sin[..half]);
    for i in 0..half {
        let sin = sin[i] * direction;
        first[i] = a[i] * cos[i] - b[i] * sin;
        second[i] = b[i] * cos[i] + a[i] * sin;
    }
}

#[inline(always)]
fn interleaved_pairs(x: &[f32], y: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    for (((x, y), cos), sin) in x.chunks_exact(2).zip(y.chunks_exact_mut(2)).zip(cos).zip(sin) {
        let sin = sin * direction;
        y[0] = x[0] * cos - x[1] * sin;
        y[1] = x[1] * cos + x[0] * sin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    #[test]
    fn agrees_with_the_plain_formula() {
        for (n, heads, d, rotated) in [(1, 1, 2, 2), (5, 3, 8, 8), (200, 9, 64, 64), (7, 2, 20, 10), (3, 2, 8, 0)] {
            for style in [RotaryStyle::Half, RotaryStyle::Interleaved] {
                let (cos, sin) = (random(&[n, rotated / 2], 2), random(&[n, rotated / 2], 3));
                Check::new(|t| rotary(&t[0], &t[1], &t[2], style))
                    .with_plain(|t| portable(&t[0], &t[1], &t[2], style))
                    .constants(2)
                    .run(&[random(&[n, heads, d], 1), cos, sin]);
            }
        }
    }
}
