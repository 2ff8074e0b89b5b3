//! Product of two small matrices that lie in one core's cache, without packing or allocation.

use crate::{
    profile::count,
    simd::{Kernel, LANES, dispatch, mul_add},
};

/// `c (+)= a · b`, with `a` `[m, k]` in any strides, `b` `[k, n]` and `c` `[m, n]` with contiguous rows, `n` a multiple of
/// [`LANES`].
///
/// Each element is summed over `k` in order, whatever `m` and `n`: a row's result does not depend on the other rows.
pub(crate) struct Product<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) a_strides: (usize, usize),
    pub(crate) b: &'a [f32],
    /// From a row of `b` to the next, at least `n`.
    pub(crate) b_stride: usize,
    pub(crate) c: &'a mut [f32],
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Whether to add to what `c` holds.
    pub(crate) add: bool,
}

impl Product<'_> {
    pub(crate) fn compute(self) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        assert!(self.n.is_multiple_of(LANES) && self.b_stride >= self.n && self.c.len() >= self.m * self.n);
        if self.k > 0 {
            assert!(self.b.len() >= (self.k - 1) * self.b_stride + self.n);
            assert!(self.a.len() > (self.m - 1) * self.a_strides.0 + (self.k - 1) * self.a_strides.1);
        }
        count(self.m, self.n, self.k);
        dispatch(self);
    }
}

/// Rows of a tile: eight rows by two vectors keep sixteen accumulators in registers.
const ROWS: usize = 8;

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let mut row = 0;
        while row + ROWS <= self.m {
            self.rows::<FMA, ROWS>(row);
            row += ROWS;
        }
        while row + 2 <= self.m {
            self.rows::<FMA, 2>(row);
            row += 2;
        }
        if row < self.m {
            self.rows::<FMA, 1>(row);
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn rows<const FMA: bool, const R: usize>(&mut self, row: usize) {
        let mut column = 0;
        while column + 2 * LANES <= self.n {
            self.tile::<FMA, R, true>(row, column);
            column += 2 * LANES;
        }
        if column < self.n {
            self.tile::<FMA, R, false>(row, column);
        }
    }

    /// `R` rows by two vectors, or by one. Two arrays, not one of pairs: so the compiler keeps all sums in registers.
    #[inline(always)]
    fn tile<const FMA: bool, const R: usize, const TWO: bool>(&mut self, row: usize, column: usize) {
        let (mut left, mut right) = ([[0.0f32; LANES]; R], [[0.0f32; LANES]; R]);
        let (row_stride, column_stride) = self.a_strides;
        // SAFETY: `compute` checked that the last element of each operand lies inside its slice, and the tile lies inside
        // `m` by `n`.
        unsafe {
            let mut a = self.a.as_ptr().add(row * row_stride);
            let mut b = self.b.as_ptr().add(column);
            for _ in 0..self.k {
                let b_left = b.cast::<[f32; LANES]>().read_unaligned();
                let b_right = if TWO { b.add(LANES).cast::<[f32; LANES]>().read_unaligned() } else { [0.0; LANES] };
                for r in 0..R {
                    let a = *a.add(r * row_stride);
                    for lane in 0..LANES {
                        left[r][lane] = mul_add::<FMA>(a, b_left[lane], left[r][lane]);
                    }
                    if TWO {
                        for lane in 0..LANES {
                            right[r][lane] = mul_add::<FMA>(a, b_right[lane], right[r][lane]);
                        }
                    }
                }
                // The last step may point past the end, where nothing is read.
                a = a.wrapping_add(column_stride);
                b = b.wrapping_add(self.b_stride);
            }
            for r in 0..R {
                let c = self.c.as_mut_ptr().add((row + r) * self.n + column);
                store(c, left[r], self.add);
                if TWO {
                    store(c.add(LANES), right[r], self.add);
                }
            }
        }
    }
}

/// # Safety
/// `c` points to [`LANES`] elements that may be written.
#[inline(always)]
unsafe fn store(c: *mut f32, sums: [f32; LANES], add: bool) {
    // SAFETY: the caller vouches for the pointer; an array of `f32` is aligned as an `f32` is.
    let c = unsafe { &mut *c.cast::<[f32; LANES]>() };
    for lane in 0..LANES {
        c[lane] = if add { c[lane] + sums[lane] } else { sums[lane] };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_plain_product(m in 0usize..20, vectors in 0usize..6, k in 0usize..30, transposed: bool, add: bool) {
            let n = vectors * LANES;
            let (a, b, before) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let a_strides = if transposed { (1, m) } else { (k, 1) };
            let mut c = before.clone();
            Product { a: &a, a_strides, b: &b, b_stride: n, c: &mut c, m, n, k, add }.compute();
            for (index, (found, before)) in c.iter().zip(&before).enumerate() {
                let (i, j) = (index / n, index % n);
                let product: f32 = (0..k).map(|k| a[i * a_strides.0 + k * a_strides.1] * b[k * n + j]).sum();
                let expected = if add { before + product } else { product };
                prop_assert!((found - expected).abs() < 1e-5);
            }
        }
    }
}
