//! Llama 3.1's scaling of rotary frequencies. GGUF files hold it as one divisor for each pair of dimensions; Hugging Face
//! states the rule. The rule is found again by trying the ones that are in use.

use std::f64::consts::TAU;

use model::RopeScaling;

/// The tensor of the divisors.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Rules in use: factor, low, high, context of the pre-training (Llama 3.1; Llama 3.2).
const IN_USE: [(f64, f64, f64, f64); 2] = [(8.0, 1.0, 4.0, 8192.0), (32.0, 1.0, 4.0, 8192.0)];

/// The divisors that a rule means, one for each pair of `dimensions`.
pub(super) fn factors(scaling: &RopeScaling, theta: f64, dimensions: usize) -> Option<Vec<f32>> {
    let &RopeScaling::Llama3 { factor, low, high, original_context } = scaling else { return None };
    let one = |pair: usize| {
        let wavelength = TAU * theta.powf(2.0 * pair as f64 / dimensions as f64);
        if wavelength < original_context / high {
            1.0
        } else if wavelength > original_context / low {
            factor
        } else {
            let smooth = (original_context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    Some((0..dimensions / 2).map(|pair| one(pair) as f32).collect())
}

/// The rule behind divisors, where it is one that is known: also with any factor and context that are powers of two.
pub(super) fn rule(found: &[f32], theta: f64) -> Option<RopeScaling> {
    let largest = f64::from(found.iter().copied().fold(1.0, f32::max));
    let more = (5..18).map(|power| (largest, 1.0, 4.0, f64::from(1 << power)));
    IN_USE.into_iter().chain(more).find_map(|(factor, low, high, original_context)| {
        let scaling = RopeScaling::Llama3 { factor, low, high, original_context };
        let expected = factors(&scaling, theta, found.len() * 2)?;
        let same =
            expected.iter().zip(found).all(|(expected, found)| (expected - found).abs() <= 1e-5 * expected.abs());
        same.then_some(scaling)
    })
}
