//! Tests: every operation against the same formula in `f64`, for arbitrary shapes.

use crate::{
    Activation, CrossEntropyOptions, Dropout, RotaryStyle, WeightLayout, activate, cross_entropy, embedding, gated,
    layer_norm, linear, linear_lora, rms_norm, rotary,
    testing::{Check, random},
};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

/// For `f64` inputs each operation takes its plain formula, which makes it its own oracle.
macro_rules! check {
    ($constants:expr, $inputs:expr, $call:expr) => {
        Check::new($call).with_plain($call).constants($constants).run($inputs)
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn norms(rows in 1usize..80, columns in 2usize..700, offset in 0f32..1.0) {
        let (x, weight, bias) = (random(&[rows, columns], 1), random(&[columns], 2), random(&[columns], 3));
        check!(0, &[x.clone(), weight.clone()], |t| rms_norm(&t[0], &t[1], 1e-6, offset));
        check!(0, &[x, weight, bias], |t| layer_norm(&t[0], &t[1], &t[2], 1e-5));
    }

    #[test]
    fn pointwise(rows in 1usize..60, columns in 1usize..700, which in 0usize..4) {
        let activation = [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu][which];
        let (gate, up) = ((random(&[rows, columns], 1) * 4.0).unwrap(), random(&[rows, columns], 2));
        let smooth = activation != Activation::Relu;
        let alone = |t: &[Tensor]| activate(&t[0], activation);
        Check::new(alone).with_plain(alone).smooth(smooth).run(std::slice::from_ref(&gate));
        let as_gate = |t: &[Tensor]| gated(&t[0], &t[1], activation);
        Check::new(as_gate).with_plain(as_gate).smooth(smooth).run(&[gate, up]);
    }

    #[test]
    fn rotations(n in 1usize..60, heads in 1usize..9, half in 0usize..40, more in 0usize..9, interleaved: bool) {
        let style = if interleaved { RotaryStyle::Interleaved } else { RotaryStyle::Half };
        let inputs = [random(&[n, heads, 2 * half + more.max(1)], 1), random(&[n, half], 2), random(&[n, half], 3)];
        check!(2, &inputs, |t| rotary(&t[0], &t[1], &t[2], style));
    }

    #[test]
    fn linears(
        rows in 1usize..90, inputs in 1usize..90, outputs in 1usize..90, rank in 1usize..20,
        transposed: bool, dropped: bool,
    ) {
        let layout = if transposed { WeightLayout::InputByOutput } else { WeightLayout::OutputByInput };
        let shape = if transposed { [inputs, outputs] } else { [outputs, inputs] };
        let (x, weight, bias) = (random(&[rows, inputs], 1), random(&shape, 2), random(&[outputs], 3));
        let (a, b) = (random(&[rank, inputs], 4), random(&[outputs, rank], 5));
        let dropout = dropped.then_some(Dropout { probability: 0.2, seed: 3 });
        check!(0, &[x.clone(), weight.clone(), bias.clone()], |t| linear(&t[0], &t[1], Some(&t[2]), layout));
        check!(2, &[x, a, b, weight, bias], |t| {
            linear_lora(&t[0], &t[3], Some(&t[4]), layout, &t[1], &t[2], 0.5, dropout)
        });
    }

    #[test]
    fn ends(n in 1usize..70, columns in 1usize..40, vocabulary in 1usize..300, cap in prop::option::of(1f32..9.0)) {
        let ids: Vec<u32> = (0..n as u32).map(|i| i * 7919 % vocabulary as u32).collect();
        let targets: Vec<i32> = ids.iter().map(|&id| if id % 5 == 4 { -100 } else { id as i32 }).collect();
        let ids = Tensor::from_vec(ids, n, &Device::Cpu).unwrap();
        let (table, hidden) = (random(&[vocabulary, columns], 1), random(&[n, columns], 2));
        check!(0, std::slice::from_ref(&table), |t| embedding(&ids, &t[0]));
        let options = CrossEntropyOptions { logit_softcap: cap, logit_scale: 1.3, label_smoothing: 0.0 };
        check!(0, &[hidden, table], |t| Ok(cross_entropy(&t[0], &t[1], &targets, &options)?.loss_sum));
    }
}
