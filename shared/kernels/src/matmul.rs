//! Products of matrices by the `gemm` crate, on slices with strides.
//!
//! `gemm` splits the result's tiles over threads but never the sum inside an element, so its results do not depend on the
//! number of threads (a test here holds it to that). They do depend on the shape: a row alone and the same row among
//! others may be summed in another order, see `linear_rows_independent`.

use gemm::Parallelism;

/// A matrix inside a slice; strides are in elements.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a {rows} by {columns} matrix needs as many values");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `lhs · rhs` as a new row-major matrix.
pub(crate) fn multiply(lhs: Matrix, rhs: Matrix) -> Vec<f32> {
    let len = lhs.rows * rhs.columns;
    let mut product = Vec::with_capacity(len);
    // SAFETY: the spare capacity holds `len` elements, all of which are written before the length is set.
    unsafe {
        run(product.as_mut_ptr(), None, lhs, rhs, 1.0);
        product.set_len(len);
    }
    product
}

/// `result = result_scale · result + scale · lhs · rhs`, `result` row-major.
pub(crate) fn multiply_add(result: &mut [f32], result_scale: f32, lhs: Matrix, rhs: Matrix, scale: f32) {
    assert_eq!(result.len(), lhs.rows * rhs.columns, "the result has the rows of one and the columns of the other");
    // SAFETY: the result has the length that was just checked and is borrowed mutably.
    unsafe { run(result.as_mut_ptr(), Some(result_scale), lhs, rhs, scale) }
}

/// `result = scale · lhs · rhs`, `result` row-major; what it held before is not read.
pub(crate) fn multiply_into(result: &mut [f32], lhs: Matrix, rhs: Matrix, scale: f32) {
    assert_eq!(result.len(), lhs.rows * rhs.columns, "the result has the rows of one and the columns of the other");
    // SAFETY: the result has the length that was just checked and is borrowed mutably.
    unsafe { run(result.as_mut_ptr(), None, lhs, rhs, scale) }
}

/// # Safety
/// `result` points to `lhs.rows · rhs.columns` elements, initialised where `result_scale` is given.
unsafe fn run(result: *mut f32, result_scale: Option<f32>, lhs: Matrix, rhs: Matrix, scale: f32) {
    assert_eq!(lhs.columns, rhs.rows, "inner dimensions of a product agree");
    // SAFETY: `Matrix::new` checked that strides and sizes stay inside the slices; the caller vouches for `result`.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            result,
            1,
            rhs.columns as isize,
            result_scale.is_some(),
            lhs.values.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            result_scale.unwrap_or(0.0),
            scale,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{numbers, with_threads};
    use proptest::prelude::*;

    fn plain(lhs: Matrix, rhs: Matrix) -> Vec<f32> {
        let at = |m: Matrix, i: usize, j: usize| f64::from(m.values[i * m.row_stride + j * m.column_stride]);
        (0..lhs.rows * rhs.columns)
            .map(|index| {
                let (i, j) = (index / rhs.columns, index % rhs.columns);
                (0..lhs.columns).map(|k| at(lhs, i, k) * at(rhs, k, j)).sum::<f64>() as f32
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn agrees_with_the_plain_product(m in 1usize..80, n in 1usize..80, k in 1usize..80, t in 0..4) {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let lhs = if t & 1 == 0 { Matrix::new(&a, m, k) } else { Matrix::new(&a, k, m).transposed() };
            let rhs = if t & 2 == 0 { Matrix::new(&b, k, n) } else { Matrix::new(&b, n, k).transposed() };
            for (value, expected) in multiply(lhs, rhs).iter().zip(plain(lhs, rhs)) {
                prop_assert!((value - expected).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for (m, n, k) in
            [(2048, 576, 1536), (333, 517, 1025), (16, 4096, 576), (1, 5000, 512), (4096, 16, 576), (300, 2, 7)]
        {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let products = [1, 2, 3, 5].map(|threads| {
                with_threads(threads, || {
                    let rhs = Matrix::new(&b, n, k).transposed();
                    let mut sum = numbers(m * n, 3);
                    multiply_add(&mut sum, 0.5, Matrix::new(&a, m, k), rhs, 2.0);
                    (multiply(Matrix::new(&a, m, k), rhs), sum)
                })
            });
            assert!(products.iter().all(|product| product == &products[0]), "{m} x {n} x {k}");
        }
    }
}
