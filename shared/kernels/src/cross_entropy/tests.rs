//! Against the plain formula, with gradients by finite differences, and at the edges.

use super::*;
use crate::testing::{Check, close, random, with_threads};
use candle_core::{Device, Var};

fn targets(n: usize, vocabulary: usize) -> Vec<i32> {
    (0..n as i32).map(|i| if i % 3 == 1 { -100 } else { i * 31 % vocabulary as i32 }).collect()
}

#[test]
fn agrees_with_the_plain_formula() {
    let capped = CrossEntropyOptions { logit_softcap: Some(3.0), logit_scale: 0.7, label_smoothing: 0.0 };
    let plain = CrossEntropyOptions::default();
    let smoothed = [plain, capped].map(|options| CrossEntropyOptions { label_smoothing: 0.2, ..options });
    for options in [plain, capped].into_iter().chain(smoothed) {
        for (n, columns, vocabulary) in [(1, 4, 5), (40, 16, 33), (150, 32, 9000), (2100, 8, 70)] {
            let targets = targets(n, vocabulary);
            let rows: Vec<Target> = (0..n)
                .filter(|&row| targets[row] >= 0)
                .map(|row| Target { row, token: targets[row] as usize })
                .collect();
            let inputs = [random(&[n, columns], 1), random(&[vocabulary, columns], 2)];
            Check::new(|t| Ok(cross_entropy(&t[0], &t[1], &targets, &options)?.loss_sum))
                .with_plain(|t| Ok(portable(&t[0], &t[1], &rows, &options)?.loss_sum))
                .run(&inputs);
            let found = cross_entropy(&inputs[0], &inputs[1], &targets, &options).unwrap();
            let plain = portable(&inputs[0], &inputs[1], &rows, &options).unwrap();
            assert_eq!(found.correct, plain.correct);
            let as_tensor = |losses: &[f32]| Tensor::new(losses, &Device::Cpu).unwrap();
            close(&as_tensor(&found.losses), &as_tensor(&plain.losses), 1e-5);
            assert!((found.objective - plain.objective).abs() < 1e-5 * plain.objective.abs().max(1.0));
        }
    }
}

#[test]
fn no_target_is_no_loss() {
    for dtype in [DType::F32, DType::F64] {
        let hidden = Var::from_tensor(&random(&[3, 4], 1).to_dtype(dtype).unwrap()).unwrap();
        let weight = random(&[5, 4], 2).to_dtype(dtype).unwrap();
        let result = cross_entropy(&hidden, &weight, &[-100; 3], &CrossEntropyOptions::default()).unwrap();
        assert!(result.losses.is_empty() && result.correct.is_empty());
        let gradients = result.loss_sum.backward().unwrap();
        close(gradients.get(&hidden).unwrap(), &hidden.zeros_like().unwrap(), 0.0);
    }
}

#[test]
fn certain_predictions_and_huge_logits_stay_finite() {
    let hidden = Tensor::new(&[[1e4f32], [-1e4]], &Device::Cpu).unwrap();
    let weight = Tensor::new(&[[1.0f32], [-1.0], [0.0]], &Device::Cpu).unwrap();
    let result = cross_entropy(&hidden, &weight, &[0, 0], &CrossEntropyOptions::default()).unwrap();
    assert_eq!((result.losses, result.correct), (vec![0.0, 2e4], vec![true, false]));
}

#[test]
fn a_target_outside_the_vocabulary_is_named_and_a_second_backward_refused() {
    let (hidden, weight) = (Var::from_tensor(&random(&[2, 3], 1)).unwrap(), random(&[4, 3], 2));
    let message = cross_entropy(&hidden, &weight, &[0, 4], &CrossEntropyOptions::default()).unwrap_err().to_string();
    assert!(message.contains("size 4, found 4"), "{message}");
    let loss = cross_entropy(&hidden, &weight, &[0, 3], &CrossEntropyOptions::default()).unwrap().loss_sum;
    loss.backward().unwrap();
    assert!(loss.backward().is_err());
}

#[test]
fn losses_do_not_depend_on_threads() {
    let (hidden, weight) = (random(&[90, 24], 1), random(&[700, 24], 2));
    let [one, two] = [1, 2].map(|threads| {
        with_threads(threads, || cross_entropy(&hidden, &weight, &targets(90, 700), &CrossEntropyOptions::default()))
            .unwrap()
            .losses
    });
    assert_eq!(one, two);
}

#[test]
fn logits_in_eight_bits_are_near() {
    let (hidden, weight) = (candle_core::Var::from_tensor(&random(&[40, 64], 1)).unwrap(), random(&[300, 64], 2));
    let values = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let coarse = Int8Matrix::encode(crate::WeightLayout::OutputByInput, (300, 64), &values).unwrap();
    let targets: Vec<i32> = (0..40).map(|row| if row % 5 == 0 { -100 } else { row * 7 }).collect();
    let options = CrossEntropyOptions { logit_scale: 0.5, ..CrossEntropyOptions::default() };
    let of = |found: CrossEntropy| {
        let gradient = found.loss_sum.backward().unwrap().get(&hidden).unwrap().clone();
        (found.losses, gradient)
    };
    let (losses, gradient) = of(cross_entropy(&hidden, &weight, &targets, &options).unwrap());
    let (near, near_gradient) =
        of(cross_entropy_int8(&hidden, &weight, &Arc::new(coarse), &targets, &options).unwrap());
    for (near, loss) in near.iter().zip(&losses) {
        assert!((near - loss).abs() < 0.05, "{near} for {loss}");
    }
    crate::testing::close(&near_gradient, &gradient, 0.05);
    let other = Arc::new(Int8Matrix::encode(crate::WeightLayout::OutputByInput, (3, 2), &[1.0; 6]).unwrap());
    assert!(cross_entropy_int8(&hidden, &weight, &other, &targets, &options).is_err());
}
