//! Rotary position embedding (Su et al. 2021): the frequencies of a table, and the cosines and sines of a batch.

use candle_core::{Device, Tensor};

use crate::ModelError;
use crate::description::{RopeScaling, RotaryDescription};

/// Cosine and sine of each token's position, `[N, R/2]` each.
#[derive(Debug, Clone)]
pub(crate) struct RotaryRows {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

impl RotaryRows {
    pub(crate) fn new(frequencies: &[f32], positions: &[u32], device: &Device) -> Result<Self, ModelError> {
        let mut cos = Vec::with_capacity(positions.len() * frequencies.len());
        let mut sin = Vec::with_capacity(positions.len() * frequencies.len());
        for &position in positions {
            for &frequency in frequencies {
                // The angle is rounded to f32, as in the reference; its sine and cosine are not rounded twice.
                let (s, c) = f64::from(position as f32 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        let shape = (positions.len(), frequencies.len());
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }
}

/// Angle per position of each pair of dimensions, R/2.
pub(crate) fn frequencies(rotary: &RotaryDescription) -> Vec<f32> {
    (0..rotary.dimensions / 2)
        .map(|pair| {
            let exponent = (2 * pair) as f32 / rotary.dimensions as f32;
            let frequency = 1.0 / (rotary.theta.powf(f64::from(exponent)) as f32);
            scaled(frequency, &rotary.scaling)
        })
        .collect()
}

fn scaled(frequency: f32, scaling: &RopeScaling) -> f32 {
    match *scaling {
        RopeScaling::Unscaled => frequency,
        RopeScaling::Linear { factor } => frequency / factor as f32,
        RopeScaling::Llama3 { factor, low, high, original_context } => {
            let wavelength = std::f64::consts::TAU / f64::from(frequency);
            if wavelength < original_context / high {
                frequency
            } else if wavelength > original_context / low {
                frequency / factor as f32
            } else {
                let blend = (original_context / wavelength - low) / (high - low);
                ((1.0 - blend) * f64::from(frequency) / factor + blend * f64::from(frequency)) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kernels::RotaryStyle;

    use super::*;

    fn table(scaling: RopeScaling) -> Vec<f32> {
        frequencies(&RotaryDescription { theta: 10_000.0, dimensions: 16, scaling, style: RotaryStyle::Half })
    }

    #[test]
    fn unscaled_frequencies_are_powers_of_theta() {
        let table = table(RopeScaling::Unscaled);
        assert_eq!(table[0], 1.0);
        assert!((table[4] - 0.01).abs() < 1e-9);
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        let plain = table(RopeScaling::Unscaled);
        let scaled = table(RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 64.0 });
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[7], plain[7] / 8.0);
        assert!(scaled[2] < plain[2] && scaled[2] > plain[2] / 8.0);
    }

    #[test]
    fn rows_hold_the_angle_of_each_position() {
        let rows = RotaryRows::new(&[1.0, 0.5], &[0, 2], &Device::Cpu).unwrap();
        let cos = rows.cos.to_vec2::<f32>().unwrap();
        assert_eq!(cos[0], [1.0, 1.0]);
        assert_eq!(cos[1], [(2.0_f64).cos() as f32, (1.0_f64).cos() as f32]);
    }
}
