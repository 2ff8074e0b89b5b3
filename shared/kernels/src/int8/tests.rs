//! Every kernel against the plain one, the product against the formula, and what quantisation may cost.

use super::*;
use crate::testing::{numbers, with_threads};

#[test]
fn kernels_give_the_same_integers() {
    for quads in [0, 1, 3, 40] {
        let panel: Vec<u8> = numbers(quads * 4 * pack::COLUMNS, 1).iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
        for height in 1..=tile::ROWS {
            let rows: Vec<i8> = numbers(height * quads * 4, 2).iter().map(|x| (x * 127.9) as i8).collect();
            let expected = tile::plain(&rows, &panel, height);
            let found = tile::kernel()(&rows, &panel, height);
            assert_eq!(found[..height], expected[..height], "{height} rows, {quads} quads");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                assert_eq!(tile::x86::avx2(&rows, &panel, height)[..height], expected[..height]);
            }
        }
    }
}

#[test]
fn extreme_operands_do_not_overflow() {
    let quads = 2048;
    let (rows, panel) = (vec![-127i8; 4 * quads], vec![255u8; quads * 4 * pack::COLUMNS]);
    let expected = -127 * 255 * 4 * quads as i32;
    assert!(tile::kernel()(&rows, &panel, 1)[0].iter().all(|sum| *sum == expected));
}

/// The formula, in `f64` on the quantised numbers.
fn plain(x: &[f32], inputs: usize, weight: &[f32]) -> Vec<f64> {
    let rows = quantize(x, inputs, None);
    let mut y = Vec::new();
    for (row, scale) in rows.levels.chunks_exact(rows.stride).zip(&rows.scales) {
        for weight in weight.chunks_exact(inputs) {
            let sum: f64 = row.iter().zip(weight).map(|(q, w)| f64::from(*q) * f64::from(*w)).sum();
            y.push(sum * f64::from(*scale));
        }
    }
    y
}

#[test]
fn the_product_is_that_of_the_quantised_numbers() {
    for (n, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (13, 64, 33), (200, 130, 600), (0, 8, 8)] {
        let (x, weight) = (numbers(n * inputs, 1), numbers(outputs * inputs, 2));
        let matrix = Int8Matrix::encode(WeightLayout::OutputByInput, (outputs, inputs), &weight).unwrap();
        let widened = matrix.to_tensor().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let [one, two] = [1, 2].map(|threads| with_threads(threads, || matrix.multiply(&x)));
        assert_eq!(one, two);
        for (found, expected) in one.iter().zip(plain(&x, inputs, &widened)) {
            assert!((f64::from(*found) - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{found} for {expected}");
        }
    }
}

#[test]
fn errors_stay_small_in_both_directions() {
    let (n, inputs, outputs) = (50, 300, 200);
    let (x, weight, grad) = (numbers(n * inputs, 1), numbers(outputs * inputs, 2), numbers(n * outputs, 3));
    let matrix = Int8Matrix::encode(WeightLayout::OutputByInput, (outputs, inputs), &weight).unwrap();
    let tensor = |values: &[f32], rows, columns| Tensor::from_slice(values, (rows, columns), &Device::Cpu).unwrap();
    let (x_t, w_t, g_t) = (tensor(&x, n, inputs), tensor(&weight, outputs, inputs), tensor(&grad, n, outputs));
    let off = |found: Vec<f32>, expected: Tensor| {
        let found = Tensor::from_vec(found, expected.shape(), &Device::Cpu).unwrap();
        let square = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        (square(&(found - &expected).unwrap()) / square(&expected)).sqrt()
    };
    let forward = off(matrix.multiply(&x), x_t.matmul(&w_t.t().unwrap()).unwrap());
    let backward = off(matrix.multiply_gradient(&grad), g_t.matmul(&w_t).unwrap());
    assert!(forward < 0.01 && backward < 0.01, "relative errors {forward} and {backward}");
}

#[test]
fn a_row_alone_equals_the_row_among_others_and_nan_stays() {
    let (inputs, outputs) = (65, 40);
    let matrix =
        Int8Matrix::encode(WeightLayout::OutputByInput, (outputs, inputs), &numbers(outputs * inputs, 2)).unwrap();
    let mut x = numbers(30 * inputs, 1);
    let all = matrix.multiply(&x);
    assert_eq!(matrix.multiply(&x[7 * inputs..8 * inputs]), all[7 * outputs..8 * outputs]);
    x[0] = f32::NAN;
    x[inputs] = f32::INFINITY;
    let all = matrix.multiply(&x);
    assert!(all[..2 * outputs].iter().all(|y| y.is_nan()) && all[2 * outputs..].iter().all(|y| y.is_finite()));
    assert!(Int8Matrix::encode(WeightLayout::OutputByInput, (1, 2), &[1.0, f32::NAN]).is_err());
}

#[test]
fn a_weight_that_lies_the_other_way_is_the_same_weight() {
    let (inputs, outputs) = (20, 9);
    let (x, weight) = (numbers(4 * inputs, 1), numbers(inputs * outputs, 2));
    let lying = Int8Matrix::encode(WeightLayout::InputByOutput, (inputs, outputs), &weight).unwrap();
    let standing = transposed(&weight, outputs);
    let standing = Int8Matrix::encode(WeightLayout::OutputByInput, (outputs, inputs), &standing).unwrap();
    assert_eq!(lying.multiply(&x), standing.multiply(&x));
    assert_eq!((lying.dims(), standing.dims()), ((inputs, outputs), (outputs, inputs)));
    let found = lying.to_tensor().unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(found, standing.to_tensor().unwrap().t().unwrap().to_vec2::<f32>().unwrap());
}
