//! Rotary position embedding (Su et al. 2021): the frequencies of a table, and the cosines and sines of a batch.

use std::borrow::Cow;

use candle_core::{Device, Tensor};

use crate::description::{RopeScaling, RotaryDescription};
use crate::{Batch, ModelError};

/// Cosine and sine of each token's position, `[N, R/2]` each.
#[derive(Debug, Clone)]
pub(crate) struct RotaryRows {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

/// One rotary table.
#[derive(Debug, Clone)]
pub(crate) struct RotaryTable {
    description: RotaryDescription,
    /// Angle per position of each pair of dimensions, R/2, for sequences within the original context.
    frequencies: Vec<f32>,
}

impl RotaryTable {
    pub(crate) fn new(description: &RotaryDescription) -> Self {
        let frequencies = match &description.scaling {
            RopeScaling::Dynamic { .. } | RopeScaling::Unscaled => powers(description, description.theta),
            RopeScaling::Linear { factor } => scaled(description, |frequency| frequency / *factor as f32),
            RopeScaling::Llama3 { .. } => scaled(description, |frequency| llama3(frequency, &description.scaling)),
            RopeScaling::Yarn { .. } => yarn(description),
            RopeScaling::Long { short, .. } => divided(description, short),
        };
        Self { description: description.clone(), frequencies }
    }

    /// The frequencies for a sequence of so many tokens.
    fn frequencies(&self, length: usize) -> Cow<'_, [f32]> {
        let beyond = |context: f64| length as f64 > context;
        match &self.description.scaling {
            RopeScaling::Dynamic { factor, context } if beyond(*context) => {
                let dimensions = self.description.divisor as f64;
                let stretch = factor * length as f64 / context - (factor - 1.0);
                let theta = self.description.theta * stretch.powf(dimensions / (dimensions - 2.0));
                Cow::Owned(powers(&self.description, theta))
            }
            RopeScaling::Long { long, original_context, .. } if beyond(*original_context) => {
                Cow::Owned(divided(&self.description, long))
            }
            _ => Cow::Borrowed(&self.frequencies),
        }
    }

    /// The longest sequence that has the frequencies of all shorter ones.
    pub(crate) fn settled_context(&self) -> usize {
        match self.description.scaling {
            RopeScaling::Dynamic { context, .. } | RopeScaling::Long { original_context: context, .. } => {
                context as usize
            }
            _ => usize::MAX,
        }
    }

    /// Whether a sequence that grows from `before` to `after` tokens has all its positions turned anew, so that keys
    /// that were cached before are of no use.
    pub(crate) fn begins_anew(&self, before: usize, after: usize) -> bool {
        match self.description.scaling {
            RopeScaling::Long { original_context, .. } => {
                before > 0 && before as f64 <= original_context && after as f64 > original_context
            }
            _ => false,
        }
    }

    /// What cosines and sines are multiplied by.
    fn attention_factor(&self) -> f64 {
        match self.description.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::Long { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// The rows of a batch; `lengths` are those of the sequences that its segments belong to.
    pub(crate) fn rows(&self, batch: &Batch, lengths: &[usize], device: &Device) -> Result<RotaryRows, ModelError> {
        let width = self.frequencies.len();
        let (mut cos, mut sin) = (Vec::with_capacity(batch.len() * width), Vec::with_capacity(batch.len() * width));
        let factor = self.attention_factor();
        for (segment, length) in batch.segments.iter().zip(lengths) {
            let frequencies = self.frequencies(*length);
            for &position in &batch.position_ids[segment] {
                for &frequency in frequencies.iter() {
                    // The angle is rounded to f32, as in the reference; its sine and cosine are not rounded twice.
                    let (s, c) = f64::from(position as f32 * frequency).sin_cos();
                    cos.push((c * factor) as f32);
                    sin.push((s * factor) as f32);
                }
            }
        }
        let shape = (batch.len(), width);
        Ok(RotaryRows { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }
}

/// `theta` to the power of each pair's share of the dimensions.
fn bases(rotary: &RotaryDescription, theta: f64) -> impl Iterator<Item = f32> {
    let divisor = rotary.divisor;
    (0..rotary.dimensions / 2).map(move |pair| {
        let exponent = (2 * pair) as f32 / divisor as f32;
        theta.powf(f64::from(exponent)) as f32
    })
}

fn powers(rotary: &RotaryDescription, theta: f64) -> Vec<f32> {
    bases(rotary, theta).map(|base| 1.0 / base).collect()
}

fn scaled(rotary: &RotaryDescription, scale: impl Fn(f32) -> f32) -> Vec<f32> {
    powers(rotary, rotary.theta).into_iter().map(scale).collect()
}

fn divided(rotary: &RotaryDescription, factors: &[f64]) -> Vec<f32> {
    bases(rotary, rotary.theta).zip(factors).map(|(base, factor)| 1.0 / (*factor as f32 * base)).collect()
}

fn llama3(frequency: f32, scaling: &RopeScaling) -> f32 {
    let RopeScaling::Llama3 { factor, low, high, original_context } = *scaling else { return frequency };
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

fn yarn(rotary: &RotaryDescription) -> Vec<f32> {
    let RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } = rotary.scaling else {
        return powers(rotary, rotary.theta);
    };
    let dimensions = rotary.divisor as f64;
    // The dimension that turns so often in the original context.
    let turning = |rotations: f64| {
        dimensions * (original_context / (rotations * std::f64::consts::TAU)).ln() / (2.0 * rotary.theta.ln())
    };
    let (mut low, mut high) = (turning(beta_fast), turning(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dimensions - 1.0));
    if low == high {
        high += 0.001;
    }
    bases(rotary, rotary.theta)
        .enumerate()
        .map(|(pair, base)| {
            let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
            let base = f64::from(base);
            (divided / (factor * base) + (1.0 - divided) / base) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use kernels::RotaryStyle;

    use super::*;

    fn described(scaling: RopeScaling) -> RotaryTable {
        let (dimensions, divisor, style) = (16, 16, RotaryStyle::Half);
        RotaryTable::new(&RotaryDescription { theta: 10_000.0, dimensions, divisor, scaling, style })
    }

    fn table(scaling: RopeScaling) -> Vec<f32> {
        described(scaling).frequencies
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
    fn yarn_keeps_high_and_divides_low_frequencies() {
        let plain = table(RopeScaling::Unscaled);
        let scaled = table(RopeScaling::Yarn {
            factor: 4.0,
            original_context: 1024.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            attention_factor: 1.1,
        });
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[7] - plain[7] / 4.0).abs() < 1e-9);
        assert!(scaled[3] < plain[3] && scaled[3] > plain[3] / 4.0);
    }

    #[test]
    fn longer_sequences_have_frequencies_of_their_own() {
        let dynamic = described(RopeScaling::Dynamic { factor: 2.0, context: 64.0 });
        assert_eq!(dynamic.frequencies(64), dynamic.frequencies);
        assert!(dynamic.frequencies(65)[7] < dynamic.frequencies[7]);
        assert!(!dynamic.begins_anew(64, 65), "each token keeps the base of its time");
        let factors = |factor| vec![factor; 8];
        let long = described(RopeScaling::Long {
            short: factors(1.0),
            long: factors(2.0),
            original_context: 64.0,
            attention_factor: 1.0,
        });
        assert_eq!(long.frequencies(64)[3], 2.0 * long.frequencies(65)[3]);
        assert!(long.begins_anew(64, 65) && !long.begins_anew(0, 65) && !long.begins_anew(65, 66));
    }

    #[test]
    fn rows_hold_the_angle_of_each_position() {
        let batch = Batch::from_sequences(&[vec![7, 7, 7]]).unwrap();
        let table = described(RopeScaling::Linear { factor: 2.0 });
        let cos = table.rows(&batch, &[3], &Device::Cpu).unwrap().cos.to_vec2::<f32>().unwrap();
        assert_eq!(cos[0], [1.0; 8]);
        assert_eq!(cos[2][0], (1.0_f64).cos() as f32);
    }
}
