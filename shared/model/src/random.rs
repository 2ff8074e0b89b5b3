//! Counter-based random numbers: element `i` of the tensor `name` under `seed` is a pure function of the three, so that
//! initial weights do not depend on the order in which parts are built, nor on threads.

use rayon::prelude::*;

/// Elements filled by one task; the split changes no value, since each element depends on its index alone.
const CHUNK: usize = 1 << 14;

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), applied twice over key and counter.
fn bits(key: u64, counter: u64) -> u64 {
    mix(mix(key ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A key for one tensor: FNV-1a of its name, mixed with the seed.
pub(crate) fn key(seed: u64, name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(hash).wrapping_add(mix(seed ^ 0xd1b5_4a32_d192_ed03))
}

/// A number in (0, 1), never an end.
fn unit(key: u64, counter: u64) -> f64 {
    ((bits(key, counter) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn filled(count: usize, element: impl Fn(u64) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0.0; count];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        for (offset, value) in values.iter_mut().enumerate() {
            *value = element((chunk * CHUNK + offset) as u64);
        }
    });
    values
}

/// `count` numbers uniform in (-bound, bound).
pub(crate) fn uniform(seed: u64, name: &str, count: usize, bound: f64) -> Vec<f32> {
    let key = key(seed, name);
    filled(count, |index| ((2.0 * unit(key, index) - 1.0) * bound) as f32)
}

/// `count` numbers of the normal distribution around zero (Box and Muller, 1958; one of the pair is used).
pub(crate) fn normal(seed: u64, name: &str, count: usize, standard_deviation: f64) -> Vec<f32> {
    let key = key(seed, name);
    filled(count, |index| {
        let radius = (-2.0 * unit(key, 2 * index).ln()).sqrt();
        let angle = std::f64::consts::TAU * unit(key, 2 * index + 1);
        (radius * angle.cos() * standard_deviation) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let values = normal(7, "weight", 200_000, 0.5);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.005, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.005, "{variance}");
        let values = uniform(7, "weight", 200_000, 0.25);
        assert!(values.iter().all(|v| v.abs() <= 0.25));
        let mean_square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean_square - 0.0625 / 3.0).abs() < 0.0005, "{mean_square}");
    }

    #[test]
    fn names_and_seeds_differ_and_prefixes_agree() {
        assert_ne!(uniform(1, "a", 8, 1.0), uniform(1, "b", 8, 1.0));
        assert_ne!(uniform(1, "a", 8, 1.0), uniform(2, "a", 8, 1.0));
        assert_eq!(uniform(1, "a", 8, 1.0), uniform(1, "a", 64, 1.0)[..8]);
    }
}
