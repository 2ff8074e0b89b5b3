//! Global gradient norm and the factor that clips it.

use candle_core::Tensor;

use crate::TrainingError;

/// Euclidean norm over all gradients together, and over each.
pub(crate) struct GradientNorm {
    pub(crate) global: f64,
    squares: Vec<f64>,
}

impl GradientNorm {
    pub(crate) fn of(gradients: &[&Tensor]) -> Result<Self, TrainingError> {
        let squares =
            gradients.iter().map(|gradient| kernels::sum_of_squares(gradient)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { global: squares.iter().sum::<f64>().sqrt(), squares })
    }

    /// Indices of the gradients that are not finite.
    pub(crate) fn not_finite(&self) -> impl Iterator<Item = usize> + '_ {
        self.squares.iter().enumerate().filter(|(_, square)| !square.is_finite()).map(|(index, _)| index)
    }

    /// What every gradient is multiplied with, as PyTorch's `clip_grad_norm_`: max / (norm + 1e-6), at most 1.
    /// A maximum of 0 turns clipping off.
    pub(crate) fn clip_factor(&self, max_grad_norm: f64) -> f64 {
        if max_grad_norm == 0.0 { 1.0 } else { (max_grad_norm / (self.global + 1e-6)).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn clips_as_pytorch_does() {
        let a = Tensor::new(&[3f32, 0.0], &Device::Cpu).unwrap();
        let b = Tensor::new(&[4f32], &Device::Cpu).unwrap();
        let norm = GradientNorm::of(&[&a, &b]).unwrap();
        assert!((norm.global - 5.0).abs() < 1e-12);
        assert!((norm.clip_factor(1.0) - 1.0 / 5.000_001).abs() < 1e-12);
        assert_eq!(norm.clip_factor(9.0), 1.0);
        assert_eq!(norm.clip_factor(0.0), 1.0);
    }
}
