//! Random numbers from a counter: the same (seed, prompt, token) gives the same number, whatever ran before.

/// A number in `0..1`, evenly spread over 2⁵³ values.
pub(crate) fn uniform(seed: u64, prompt: u64, token: u64) -> f64 {
    let bits = mix(mix(mix(seed) ^ prompt) ^ token);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's step (Steele, Lea, Flood 2014): a counter in, 64 well mixed bits out.
fn mix(counter: u64) -> u64 {
    let mut bits = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeatable() {
        let mean = (0..10_000).map(|token| uniform(7, 3, token)).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert_eq!(uniform(1, 2, 3), uniform(1, 2, 3));
        assert_ne!(uniform(1, 2, 3), uniform(1, 3, 2));
    }
}
