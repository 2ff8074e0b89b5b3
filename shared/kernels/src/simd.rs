//! One portable body per kernel, compiled several times, the widest vectors of this processor chosen at run time.
//!
//! A kernel's body is plain Rust on slices and fixed-size arrays of [`LANES`] elements. Inside a function that enables
//! AVX-512 or AVX2 the compiler turns the same body into wide instructions; there is no second implementation to test.

/// Width of the arrays that bodies accumulate in: one AVX-512 register, two of AVX2, four of NEON or SSE.
pub(crate) const LANES: usize = 16;

/// A body to be compiled for each instruction set. `FMA` says whether fused multiply-add is one instruction.
pub(crate) trait Kernel {
    type Output;

    /// Mark each implementation `#[inline(always)]`, or it is compiled for the baseline processor only.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs the kernel with the widest vectors that this processor has.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { x86::avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { x86::avx2(kernel) };
        }
    }
    if cfg!(target_arch = "aarch64") { kernel.run::<true>() } else { kernel.run::<false>() }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Kernel;

    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) fn avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<true>()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<true>()
    }
}

/// `a · b + c`: fused where that is one instruction, else two roundings (the library's fused one is very slow).
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Sum of `f(0), …, f(len - 1)` in a fixed order: by lanes, then the lanes pairwise, then the tail.
#[inline(always)]
pub(crate) fn sum(len: usize, f: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = len - len % LANES;
    let mut i = 0;
    while i < whole {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total = f(i + lane, *total);
        }
        i += LANES;
    }
    let mut total = sum_lanes(lanes);
    while i < len {
        total = f(i, total);
        i += 1;
    }
    total
}

/// The sum of the lanes by halves.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Scalar product of two slices of one length, in a fixed order.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let (mut lanes, whole) = ([0.0f32; LANES], a.len() - a.len() % LANES);
    for (a, b) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            lanes[lane] = mul_add::<FMA>(a[lane], b[lane], lanes[lane]);
        }
    }
    let mut total = sum_lanes(lanes);
    for (a, b) in a[whole..].iter().zip(&b[whole..]) {
        total = mul_add::<FMA>(*a, *b, total);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dot<'a>(&'a [f32], &'a [f32]);

    impl Kernel for Dot<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<const FMA: bool>(self) -> f32 {
            dot::<FMA>(self.0, self.1)
        }
    }

    #[test]
    fn dot_agrees_with_the_plain_sum() {
        for len in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = a.iter().map(|value| value * value).sum();
            assert_eq!(dispatch(Dot(&a, &a)), expected);
            assert_eq!(Dot(&a, &a).run::<false>(), expected);
        }
    }
}
