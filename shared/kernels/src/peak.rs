//! What the processor could do at most: the rate of fused multiply-adds on numbers that stay in registers.

use crate::simd::LANES;
use rayon::prelude::*;
use std::{hint::black_box, time::Instant};

/// Measures the rate of `f32` multiply-adds of all threads of the current pool, in floating-point operations per second:
/// the best of several short runs, a small part of a second in all.
pub fn multiply_add_peak() -> f64 {
    const ROUNDS: usize = 7;
    const STEPS: usize = 200_000;
    let threads = rayon::current_num_threads();
    let mut best = 0.0f64;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            black_box(chains(STEPS, black_box(0.5), black_box(0.25)));
        });
        let operations = (threads * STEPS * CHAINS * LANES * 2) as f64;
        best = best.max(operations / began.elapsed().as_secs_f64());
    }
    best
}

/// Independent sums of [`LANES`] numbers: enough to hide the latency of two units.
const CHAINS: usize = 12;

/// The sum of `x ← x · factor + summand`, so many steps in each chain.
fn chains(steps: usize, factor: f32, summand: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512.
            return unsafe { x86::avx512(steps, factor, summand) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA. Twelve of sixteen registers: half of the chains at a time.
            return unsafe { x86::avx2(steps, factor, summand) + x86::avx2(steps, factor, summand) };
        }
    }
    plain(steps, factor, summand)
}

fn plain(steps: usize, factor: f32, summand: f32) -> f32 {
    let mut sums = [1.0f32; CHAINS * LANES];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = *sum * factor + summand;
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_set1_ps, _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps,
    };

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(steps: usize, factor: f32, summand: f32) -> f32 {
        let (factor, summand) = (_mm512_set1_ps(factor), _mm512_set1_ps(summand));
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, summand);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    /// As many chains, half as wide.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(steps: usize, factor: f32, summand: f32) -> f32 {
        let (factor, summand) = (_mm256_set1_ps(factor), _mm256_set1_ps(summand));
        let mut sums = [_mm256_set1_ps(1.0); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, summand);
            }
        }
        let mut total = 0.0;
        for sum in sums {
            let mut lanes = [0.0f32; 8];
            // SAFETY: the array has eight elements.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
            total += lanes.iter().sum::<f32>();
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_approach_their_fixed_point() {
        let all = 0.5 * (CHAINS * LANES) as f32;
        assert_eq!((chains(200, 0.5, 0.25), plain(200, 0.5, 0.25)), (all, all));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            assert_eq!(unsafe { x86::avx2(200, 0.5, 0.25) }, all / 2.0);
        }
        assert!(multiply_add_peak() > 0.0);
    }
}
