//! Speed of each operation, forward and backward, at the sizes of a small pre-trained model and of the quickstart's.
//! `cargo run --release -p retune-kernels --example speed [NAME]`

#![expect(clippy::print_stdout, reason = "the example's output is its table")]

use candle_core::{DType, Device, Result, Tensor, Var};
use kernels::{
    Activation, AttentionOptions, BlockFormat, CrossEntropyOptions, FrozenWeight, Int8Matrix, Nf4, RotaryStyle,
    Segments, StoredMatrix, WeightLayout, attention, cross_entropy, gated, linear, linear_frozen, linear_lora,
    linear_lora_frozen, linear_rows_independent, linear_rows_independent_frozen, rms_norm, rotary,
};
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    println!("{:42} {:>10} {:>10} {:>10} {:>10}", "operation", "forward", "GFLOP/s", "both", "GFLOP/s");
    let large = Sizes { name: "large", rows: 2048, segment: 512, columns: 576, inner: 1536, heads: (9, 3, 64) };
    let small = Sizes { name: "small", rows: 4096, segment: 32, columns: 128, inner: 512, heads: (4, 4, 32) };
    for sizes in [large, small] {
        sizes.measure(&only)?;
    }
    Ok(())
}

struct Sizes {
    name: &'static str,
    rows: usize,
    segment: usize,
    columns: usize,
    inner: usize,
    heads: (usize, usize, usize),
}

fn variable(shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&Tensor::randn(0f32, 1f32, shape, &Device::Cpu)?)
}

/// Forward and backward times, the best of several, with the floating-point operations of the forward pass.
fn report(only: &str, name: &str, flops: f64, run: impl Fn() -> Result<Tensor>) -> Result<()> {
    if !name.contains(only) {
        return Ok(());
    }
    let (mut forward, mut both) = (f64::MAX, f64::MAX);
    for _ in 0..7 {
        let start = Instant::now();
        let y = run()?;
        forward = forward.min(start.elapsed().as_secs_f64());
        let loss = if y.rank() == 0 { y } else { y.sum_all()? };
        loss.backward()?;
        both = both.min(start.elapsed().as_secs_f64());
    }
    let rate = |factor: f64, time: f64| factor * flops / time / 1e9;
    let (forward_rate, both_rate) = (rate(1.0, forward), rate(3.0, both));
    println!("{name:42} {:7.3} ms {forward_rate:10.1} {:7.3} ms {both_rate:10.1}", forward * 1e3, both * 1e3);
    Ok(())
}

impl Sizes {
    fn measure(&self, only: &str) -> Result<()> {
        let Self { name, rows, columns, inner, .. } = *self;
        let layout = WeightLayout::OutputByInput;
        let x = variable(&[rows, columns])?;
        let weight = variable(&[inner, columns])?;
        let flops = 2.0 * (rows * columns * inner) as f64;
        report(only, &format!("{name} linear [{rows},{columns}]x[{columns},{inner}]"), flops, || {
            linear(&x, &weight, None, layout)
        })?;
        let (a, b) = (variable(&[16, columns])?, variable(&[inner, 16])?);
        let frozen = weight.as_detached_tensor();
        report(only, &format!("{name} linear_lora r 16"), flops, || {
            linear_lora(&x, &frozen, None, layout, &a, &b, 2.0, None)
        })?;
        let values: Vec<f32> = frozen.flatten_all()?.to_vec1()?;
        let shape = (inner, columns);
        let held = [
            FrozenWeight::Stored(Arc::new(StoredMatrix::encode(BlockFormat::BF16, shape, &values)?)),
            FrozenWeight::Stored(Arc::new(StoredMatrix::encode(BlockFormat::Q8_0, shape, &values)?)),
            FrozenWeight::Stored(Arc::new(StoredMatrix::Nf4(Nf4::encode(shape, &values)))),
            FrozenWeight::Int8(Arc::new(Int8Matrix::encode(layout, shape, &values)?)),
        ];
        for weight in &held {
            let format = weight.format_name();
            report(only, &format!("{name} linear_frozen {format}"), flops, || linear_frozen(&x, weight, None, layout))?;
            report(only, &format!("{name} linear_lora_frozen {format}"), flops, || {
                linear_lora_frozen(&x, weight, None, layout, &a, &b, 2.0, None)
            })?;
            let (one, flops) = (x.narrow(0, 0, 1)?.detach(), 2.0 * (columns * inner) as f64);
            report(only, &format!("{name} linear_rows_independent {format}, 1 row"), flops, || {
                linear_rows_independent_frozen(&one, weight, None, layout)
            })?;
        }
        for new in [1, 16, 256] {
            let (x, flops) = (x.narrow(0, 0, new)?.detach(), 2.0 * (new * columns * inner) as f64);
            report(only, &format!("{name} linear_rows_independent, {new} rows"), flops, || {
                linear_rows_independent(&x, &frozen, None, layout)
            })?;
        }
        let norm = variable(&[columns])?;
        report(only, &format!("{name} rms_norm [{rows},{columns}]"), 0.0, || rms_norm(&x, &norm, 1e-5, 0.0))?;
        let (gate, up) = (variable(&[rows, inner])?, variable(&[rows, inner])?);
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            let name = format!("{name} gated {activation:?} [{rows},{inner}]");
            report(only, &name, 0.0, || gated(&gate, &up, activation))?;
        }
        self.measure_attention(only)?;
        let weight = variable(&[4096, columns])?;
        let targets: Vec<i32> = (0..rows as i32).map(|row| row % 4096).collect();
        let flops = 2.0 * (rows * columns * 4096) as f64;
        report(only, &format!("{name} cross_entropy V 4096"), flops, || {
            Ok(cross_entropy(&x, &weight, &targets, &CrossEntropyOptions::default())?.loss_sum)
        })
    }

    fn measure_attention(&self, only: &str) -> Result<()> {
        let Self { name, rows, segment, heads: (query, key_value, dim), .. } = *self;
        let segments = Segments::new((0..=rows).step_by(segment).collect())?;
        let (q, k, v) =
            (variable(&[rows, query, dim])?, variable(&[rows, key_value, dim])?, variable(&[rows, key_value, dim])?);
        let angles = Tensor::rand(0f32, 1f32, (rows, dim / 2), &Device::Cpu)?.to_dtype(DType::F32)?;
        let (cos, sin) = (angles.cos()?, angles.sin()?);
        report(only, &format!("{name} rotary [{rows},{query},{dim}]"), 0.0, || {
            rotary(&q, &cos, &sin, RotaryStyle::Half)
        })?;
        let options = AttentionOptions { scale: 1.0 / (dim as f32).sqrt(), window: None, softcap: None };
        // Half of the pairs: causal.
        let flops = 2.0 * (rows * (segment + 1) * query * dim) as f64;
        report(
            only,
            &format!("{name} attention {}x{segment}, {query}/{key_value} of {dim}", rows / segment),
            flops,
            || attention(&q, &k, &v, &segments, &options),
        )
    }
}
