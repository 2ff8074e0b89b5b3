//! Every kernel against the plain one, the product against the formula, and what quantisation may cost.

use super::*;
use crate::matmul::{Matrix, multiply_add};
use crate::testing::{numbers, with_threads};

/// What a kernel writes; what it must not touch stays NaN.
fn tile(kernel: tile::TileKernel, rows: &[i8], panel: &[u8], height: usize, width: usize, more: bool) -> Vec<u32> {
    let sums = numbers(height, 3).iter().map(|x| (x * 100.0) as i32).collect::<Vec<_>>();
    let (scales, columns) = (numbers(height, 4), numbers(width, 5));
    let mut y = vec![f32::NAN; height * 40];
    let tile = Tile {
        rows,
        panel,
        row_scales: &scales,
        row_sums: &sums,
        column_scales: more.then_some(&columns),
        bias: more.then_some(&columns),
        y: y.as_mut_ptr(),
        y_stride: 40,
        width,
    };
    // SAFETY: the result has all rows and columns.
    unsafe { kernel(&tile) };
    y.into_iter().map(f32::to_bits).collect()
}

#[test]
fn kernels_give_the_same_numbers() {
    for (quads, width) in [(0, 32), (1, 7), (3, 16), (40, 32), (9, 31)] {
        let panel: Vec<u8> = numbers(quads * 4 * pack::COLUMNS, 1).iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
        for (height, more) in (1..=tile::ROWS).flat_map(|height| [(height, false), (height, true)]) {
            let rows: Vec<i8> = numbers(height * quads * 4, 2).iter().map(|x| (x * 127.9) as i8).collect();
            let run = |kernel| tile(kernel, &rows, &panel, height, width, more);
            let expected = run(tile::plain);
            assert_eq!(run(tile::kernel()), expected, "{height} rows, {quads} quads");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                assert_eq!(run(tile::x86::avx2), expected, "{height} rows, {quads} quads");
            }
        }
    }
}

#[test]
fn extreme_operands_do_not_overflow() {
    let quads = 2048;
    let (x, weight) = (vec![-1.0f32; 4 * quads], vec![1.0f32; 4 * quads]);
    let matrix = Int8Matrix::encode(WeightLayout::OutputByInput, (1, 4 * quads), &weight).unwrap();
    let expected = -127.0 * 127.0 * 4.0 * quads as f32;
    assert!((matrix.multiply_sum(&x, None, None)[0] * 127.0 * 127.0 / expected - 1.0).abs() < 1e-6);
}

#[test]
fn a_short_product_and_a_bias_are_added_as_if_afterwards() {
    let (inputs, outputs, rank) = (70, 75, 5);
    for rows in [1, 13, 200] {
        let (x, weight, bias) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2), numbers(outputs, 3));
        let (low, up, down) = (numbers(rows * rank, 4), numbers(outputs * rank, 5), numbers(rank * inputs, 6));
        let lhs = Matrix::new(&low, rows, rank);
        let matrix = Int8Matrix::encode(WeightLayout::OutputByInput, (outputs, inputs), &weight).unwrap();
        let short = Product { lhs, rhs: Matrix::new(&up, outputs, rank).transposed(), scale: 0.5 };
        let mut expected = matrix.multiply_sum(&x, Some(&bias), None);
        multiply_add(&mut expected, lhs, short.rhs, 0.5);
        close(&matrix.multiply_sum(&x, Some(&bias), Some(short)), &expected);

        let grad = numbers(rows * outputs, 7);
        let short = Product { lhs, rhs: Matrix::new(&down, rank, inputs), scale: 1.0 };
        let mut expected = matrix.multiply_gradient(&grad, None);
        multiply_add(&mut expected, lhs, short.rhs, 1.0);
        close(&matrix.multiply_gradient(&grad, Some(short)), &expected);
    }
}

fn close(found: &[f32], expected: &[f32]) {
    assert!(
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs())),
        "{found:?}\n{expected:?}"
    );
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
        let [one, two] = [1, 2].map(|threads| with_threads(threads, || matrix.multiply_sum(&x, None, None)));
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
    let forward = off(matrix.multiply_sum(&x, None, None), x_t.matmul(&w_t.t().unwrap()).unwrap());
    let backward = off(matrix.multiply_gradient(&grad, None), g_t.matmul(&w_t).unwrap());
    assert!(forward < 0.01 && backward < 0.01, "relative errors {forward} and {backward}");
}

#[test]
fn a_row_alone_equals_the_row_among_others_and_nan_stays() {
    let (inputs, outputs) = (65, 40);
    let matrix =
        Int8Matrix::encode(WeightLayout::OutputByInput, (outputs, inputs), &numbers(outputs * inputs, 2)).unwrap();
    let mut x = numbers(30 * inputs, 1);
    let all = matrix.multiply_sum(&x, None, None);
    assert_eq!(matrix.multiply_sum(&x[7 * inputs..8 * inputs], None, None), all[7 * outputs..8 * outputs]);
    x[0] = f32::NAN;
    x[inputs] = f32::INFINITY;
    let all = matrix.multiply_sum(&x, None, None);
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
    assert_eq!(lying.multiply_sum(&x, None, None), standing.multiply_sum(&x, None, None));
    assert_eq!((lying.dims(), standing.dims()), ((inputs, outputs), (outputs, inputs)));
    let found = lying.to_tensor().unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(found, standing.to_tensor().unwrap().t().unwrap().to_vec2::<f32>().unwrap());
}
