//! Against the plain product in `f64`, for every way of cutting and both kernels, and for any number of threads.

use super::*;
use crate::testing::{numbers, with_threads};
use proptest::prelude::*;

fn plain(Product { lhs, rhs, scale }: Product) -> Vec<f64> {
    let at = |m: Matrix, i: usize, j: usize| f64::from(m.values[i * m.row_stride + j * m.column_stride]);
    (0..lhs.rows * rhs.columns)
        .map(|index| {
            let (i, j) = (index / rhs.columns, index % rhs.columns);
            (0..lhs.columns).map(|k| at(lhs, i, k) * at(rhs, k, j)).sum::<f64>() * f64::from(scale)
        })
        .collect()
}

fn matrix(values: &[f32], rows: usize, columns: usize, transposed: bool) -> Matrix<'_> {
    if transposed { Matrix::new(values, columns, rows).transposed() } else { Matrix::new(values, rows, columns) }
}

fn check((m, n, k, rank): (usize, usize, usize, usize), transposed: (bool, bool), with_bias: bool, scale: f32) {
    let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
    let (low, up) = (numbers(m * rank, 4), numbers(rank * n, 5));
    let product = Product { lhs: matrix(&a, m, k, transposed.0), rhs: matrix(&b, k, n, transposed.1), scale };
    let short = Product { lhs: Matrix::new(&low, m, rank), rhs: matrix(&up, rank, n, !transposed.1), scale: 0.5 };
    let expected: Vec<f64> = plain(product)
        .iter()
        .zip(plain(short))
        .enumerate()
        .map(|(at, (main, short))| main + short + if with_bias { f64::from(bias[at % n]) } else { 0.0 })
        .collect();
    let tolerance = 1e-6 * (1.0 + (k + rank) as f64);
    for micro in [micro::micro(), micro::portable_micro()] {
        for add in [false, true] {
            let before = if add { numbers(m * n, 6) } else { vec![f32::NAN; m * n] };
            let mut result = before.clone();
            let bias = with_bias.then_some(&bias[..]);
            // SAFETY: the result has a row of n elements for each of m rows, initialised where it is added to.
            unsafe { run_with(micro, result.as_mut_ptr(), add, product, Some(short), bias) };
            for (at, (found, expected)) in result.iter().zip(&expected).enumerate() {
                let expected = expected + if add { f64::from(before[at]) } else { 0.0 };
                assert!(
                    (f64::from(*found) - expected).abs() < tolerance,
                    "element {at} of {m} x {n} over {k}: {found} instead of {expected}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn agrees_with_the_plain_product(
        m in 1usize..80, n in 1usize..80, k in 0usize..150, rank in 0usize..20,
        a: bool, b: bool, bias: bool, scaled: bool,
    ) {
        check((m, n, k, rank), (a, b), bias, if scaled { -1.5 } else { 1.0 });
    }
}

#[test]
fn agrees_where_it_is_cut() {
    for transposed in [(false, false), (false, true), (true, false), (true, true)] {
        // Several blocks of k, several slabs of columns and of k, several blocks of rows, strides that conflict.
        check((70, 40, 1300, 4), transposed, true, 1.0);
        check((13, 2500, 700, 3), transposed, true, 2.0);
        check((50, 33, 33_000, 16), transposed, false, 1.0);
        check((300, 48, 512, 16), transposed, true, 1.0);
        check((3, 17_000, 65, 1), transposed, true, 1.0);
    }
}

#[test]
fn nothing_to_do() {
    check((0, 5, 3, 2), (false, false), true, 1.0);
    check((5, 0, 3, 2), (false, false), false, 1.0);
    assert!(multiply(Matrix::new(&[], 0, 3), Matrix::new(&[1.0; 6], 3, 2)).is_empty());
}

#[test]
fn threads_and_other_rows_do_not_change_a_bit() {
    for (m, n, k) in
        [(2048, 576, 1536), (333, 517, 1025), (16, 4096, 576), (1, 5000, 512), (4096, 16, 576), (300, 2, 7)]
    {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let rhs = Matrix::new(&b, n, k).transposed();
        let products = [1, 2, 3, 5].map(|threads| {
            with_threads(threads, || {
                let mut sum = numbers(m * n, 3);
                multiply_add(&mut sum, Matrix::new(&a, m, k), rhs, 2.0);
                (multiply(Matrix::new(&a, m, k), rhs), sum)
            })
        });
        assert!(products.iter().all(|product| product == &products[0]), "{m} x {n} x {k}");
        let some = m.min(7);
        let alone = multiply(Matrix::new(&a[..some * k], some, k), rhs);
        assert_eq!(alone, products[0].0[..some * n], "{some} of {m} x {n} x {k}");
    }
}
