//! Exponential, hyperbolic tangent and error function as straight-line arithmetic that the compiler can vectorise.
//!
//! Polynomials fitted by us (Lawson's iteration towards the minimax fit, coefficients in `f64`, rounded to `f32`);
//! relative errors are bounded by the tests against `f64`.

use crate::simd::mul_add;

#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        value = mul_add::<FMA>(value, x, coefficients[i]);
    }
    value
}

/// `eˣ`, relative error below 1.2e-7, one unit in the last place; zero below −87.3, infinite above 88.3.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has trailing zeros, so that its product with a small integer is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons written so that NaN passes through.
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    let shifted = mul_add::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_LOW, mul_add::<FMA>(n, -LN2_HIGH, clamped));
    let tail =
        polynomial::<FMA, 6>(r, [0.5, 1.666_666_6e-1, 4.166_629_5e-2, 8.333_497e-3, 1.394_465e-3, 1.979_035_7e-4]);
    let power = mul_add::<FMA>(r * r, tail, r) + 1.0;
    // The integer sits in the low bits of `shifted`; move it into the exponent.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let inside = if x > 88.3 { f32::INFINITY } else { power * scale };
    if x < -87.3 { 0.0 } else { inside }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Hyperbolic tangent, relative error below 4e-7.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let square = x * x;
    // Near zero the other form cancels.
    let near = x * polynomial::<FMA, 6>(
        square,
        [1.0, -3.333_326_3e-1, 1.333_118_6e-1, -5.372_527e-2, 2.060_327e-2, -5.672_562e-3],
    );
    let far = 1.0 - 2.0 / (exp::<FMA>(2.0 * x.abs()) + 1.0);
    if square < 0.39 { near } else { far.copysign(x) }
}

/// Error function, absolute error below 4e-7: `1 − e^(−x²) t P(t)` with `t = 1 / (1 + 0.4 |x|)`.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let magnitude = x.abs();
    let t = 1.0 / mul_add::<FMA>(0.4, magnitude, 1.0);
    let p = polynomial::<FMA, 10>(
        t,
        [
            2.256_762_2e-1,
            2.256_490_8e-1,
            2.082_266_3e-1,
            1.652_135e-1,
            1.570_585_5e-1,
            -4.846_254e-2,
            2.396_298_2e-1,
            -2.514_505_6e-1,
            8.646_7e-2,
            -8.007_629e-3,
        ],
    );
    (1.0 - exp::<FMA>(-magnitude * magnitude) * (t * p)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_point(from: f32, to: f32, check: impl Fn(f32)) {
        (0..=200_000).for_each(|i| check(from + (to - from) * i as f32 / 200_000.0));
    }

    #[test]
    fn exp_is_accurate() {
        each_point(-87.0, 88.0, |x| {
            let expected = f64::from(x).exp();
            for value in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(value) / expected - 1.0).abs() < 1.2e-7, "exp({x}) = {value}, not {expected}");
            }
        });
        assert_eq!((exp::<true>(f32::NEG_INFINITY), exp::<true>(0.0)), (0.0, 1.0));
        assert!(exp::<true>(f32::NAN).is_nan());
        assert_eq!(exp::<false>(1e30), f32::INFINITY);
    }

    #[test]
    fn tanh_is_accurate() {
        each_point(-12.0, 12.0, |x| {
            let expected = f64::from(x).tanh();
            for value in [tanh::<true>(x), tanh::<false>(x)] {
                let error = (f64::from(value) - expected).abs();
                assert!(error <= 4e-7 * expected.abs(), "tanh({x}) = {value}, not {expected}");
            }
        });
        assert_eq!((tanh::<true>(100.0), tanh::<true>(-100.0)), (1.0, -1.0));
    }

    #[test]
    fn erf_is_accurate() {
        // The Maclaurin series in f64 is exact to 1e-11 on this interval.
        let series = |x: f64| {
            let (mut term, mut total) = (x, x);
            for n in 1..100 {
                term *= -x * x / f64::from(n);
                total += term / f64::from(2 * n + 1);
            }
            total * std::f64::consts::FRAC_2_SQRT_PI
        };
        each_point(-3.0, 3.0, |x| {
            let expected = series(f64::from(x));
            assert!((f64::from(erf::<true>(x)) - expected).abs() < 4e-7, "erf({x})");
            assert!((f64::from(erf::<false>(x)) - expected).abs() < 4e-7, "erf({x})");
        });
        assert_eq!((erf::<true>(5.0), erf::<true>(-5.0)), (1.0, -1.0));
    }
}
