//! Dropout (Srivastava et al. 2014) whose mask is a function of (seed, element): nothing is stored, and the backward
//! pass, another number of threads or a resumed run see the same mask.

use crate::{
    parallel::{CHUNK, build_zeroed},
    profile::timed,
    simd::{Kernel, dispatch},
    tape::apply1,
    tensors::{Floats, floats, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, bail};

/// Which elements are dropped. Use another seed for each layer and each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements set to zero, from 0 up to but without 1; the others are scaled by `1 / (1 − probability)`.
    pub probability: f32,
    /// What the mask is drawn from.
    pub seed: u64,
}

impl Dropout {
    pub(crate) fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.probability) {
            bail!("dropout: expected a probability from 0 up to but without 1, found {}", self.probability);
        }
        Ok(())
    }

    /// 0 or `1 / (1 − probability)` for the element at `index` of the flat tensor.
    #[inline(always)]
    fn factor(&self, index: usize) -> f32 {
        // Two rounds of a 32-bit finaliser (the constants of MurmurHash3), because 32-bit products are vector instructions everywhere.
        let low = mix(index as u32 ^ self.seed as u32);
        let hash = mix(low ^ (self.seed >> 32) as u32 ^ ((index >> 32) as u32).wrapping_mul(0x9E37_79B9));
        // 24 bits are exact in f32.
        let uniform = (hash >> 8) as f32 * (1.0 / 16_777_216.0);
        if uniform < self.probability { 0.0 } else { 1.0 / (1.0 - self.probability) }
    }

    /// `x` with this mask applied; `x` is the whole tensor, so that indices are its own.
    pub(crate) fn apply(&self, x: &[f32]) -> Vec<f32> {
        build_zeroed(x.len(), CHUNK, |chunk, y| {
            let start = chunk * CHUNK;
            dispatch(Masked { dropout: *self, start, x: &x[start..][..y.len()], y });
        })
    }

    /// Adds `x` with this mask applied to `total`.
    pub(crate) fn add_to(&self, x: &[f32], total: &mut [f32]) {
        crate::parallel::for_each_chunk(total, CHUNK, |chunk, y| {
            let start = chunk * CHUNK;
            dispatch(Masked { dropout: *self, start, x: &x[start..][..y.len()], y });
        });
    }
}

#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// `y += factor · x`.
struct Masked<'a> {
    dropout: Dropout,
    start: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Masked<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (i, (y, x)) in self.y.iter_mut().zip(self.x).enumerate() {
            *y += x * self.dropout.factor(self.start + i);
        }
    }
}

/// Drops elements of `x` (any shape) and scales the others.
///
/// # Errors
/// Where the probability is outside `[0, 1)`.
pub fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    dropout.check()?;
    if dropout.probability == 0.0 {
        return Ok(x.clone());
    }
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return apply1(&x.contiguous()?, dropout);
    }
    let mask = Tensor::from_vec(dropout.apply(&vec![1.0; x.elem_count()]), x.shape(), &Device::Cpu)?;
    x * mask.to_dtype(x.dtype())?.to_device(x.device())?
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("dropout", false);
        Ok(storage(self.apply(floats(x, layout)?), layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let _timer = timed("dropout", true);
        let grad = grad.contiguous()?;
        let masked = self.apply(&Floats::of(&grad)?);
        Ok(Some(tensor(masked, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    #[test]
    fn the_share_dropped_is_the_probability() {
        for (probability, seed) in [(0.05, 1), (0.1, u64::MAX), (0.5, 1 << 40)] {
            let masked = Dropout { probability, seed }.apply(&vec![1.0; 1 << 20]);
            let dropped = masked.iter().filter(|&&value| value == 0.0).count() as f32 / masked.len() as f32;
            assert!((dropped - probability).abs() < 2e-3, "{dropped} instead of {probability}");
            let mean = masked.iter().map(|&value| f64::from(value)).sum::<f64>() / masked.len() as f64;
            assert!((mean - 1.0).abs() < 5e-3);
        }
    }

    #[test]
    fn another_seed_is_another_mask() {
        let mask = |seed| Dropout { probability: 0.5, seed }.apply(&[1.0; 4096]);
        for (a, b) in [(1, 2), (1, 1 << 32 | 1), (7, 7 << 32)] {
            let equal = mask(a).iter().zip(&mask(b)).filter(|(a, b)| a == b).count();
            assert!((1800..2300).contains(&equal), "seeds {a} and {b} agree on {equal} of 4096");
        }
    }

    #[test]
    fn forward_and_backward_use_one_mask() {
        let options = Dropout { probability: 0.3, seed: 5 };
        Check::new(move |t| dropout(&t[0], options))
            .with_plain(move |t| dropout(&t[0], options))
            .run(&[random(&[300, 70], 1)]);
    }
}
