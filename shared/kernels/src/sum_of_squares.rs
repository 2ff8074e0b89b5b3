//! The squared norm of a tensor, for gradient clipping.

use crate::{
    parallel::{CHUNK, for_each_chunk},
    profile::timed,
    simd::{Kernel, dispatch},
    tensors::{Floats, fused},
};
use candle_core::{DType, Result, Tensor};

/// Sum of the squares of all elements, in `f64` and in an order that depends on the number of elements alone.
///
/// # Errors
/// Where the tensor cannot be read.
pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let _timer = timed("sum_of_squares", false);
    if !fused(&[tensor]) {
        return tensor.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar();
    }
    let tensor = tensor.contiguous()?;
    let values = Floats::of(&tensor)?;
    let values = &values[..];
    let mut parts = vec![0.0f64; values.len().div_ceil(CHUNK)];
    for_each_chunk(&mut parts, 1, |index, part| {
        let end = values.len().min(index * CHUNK + CHUNK);
        part[0] = dispatch(Squares(&values[index * CHUNK..end]));
    });
    Ok(parts.iter().sum())
}

struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        const WIDTH: usize = 8;
        let mut lanes = [0.0f64; WIDTH];
        let chunks = self.0.chunks_exact(WIDTH);
        let tail: f64 = chunks.remainder().iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        for chunk in chunks {
            for lane in 0..WIDTH {
                lanes[lane] += f64::from(chunk[lane]) * f64::from(chunk[lane]);
            }
        }
        lanes.iter().sum::<f64>() + tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{random, with_threads};

    #[test]
    fn agrees_with_the_plain_sum_for_any_number_of_threads() {
        for len in [0, 1, 9, CHUNK, 5 * CHUNK + 3] {
            let x = random(&[len], 1);
            let plain: f64 = x.to_vec1::<f32>().unwrap().iter().map(|&v| f64::from(v).powi(2)).sum();
            let [one, two] = [1, 2].map(|threads| with_threads(threads, || sum_of_squares(&x).unwrap()));
            assert_eq!(one.to_bits(), two.to_bits());
            assert!((one - plain).abs() <= 1e-12 * plain);
        }
    }
}
