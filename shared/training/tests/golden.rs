//! Ten steps equal to transformers and PEFT: loss, gradient norm, and the adapter that comes out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use model::{Decoder, Trainable};
use serde_json::Value;
use training::{Duration, Options, Row, ScheduleShape, Silent, StepRecord, Trainer};

fn options(learning_rate: f64) -> Options {
    Options {
        duration: Duration::Steps(10),
        batch_size: 2,
        learning_rate,
        schedule: ScheduleShape::Constant,
        weight_decay: 0.01,
        max_grad_norm: 1.0,
        ..Options::default()
    }
}

fn train(decoder: &Decoder, rows: &[Row], options: &Options) -> Vec<StepRecord> {
    let mut trainer = Trainer::new(decoder, rows, &[], options).unwrap();
    trainer.run(&mut Silent).unwrap();
    trainer.progress().records.clone()
}

/// 1e-3, but where the run is so ill-conditioned that the reference does not repeat itself: the same transformers and torch
/// on another processor leave gemma3's trace by 0.9e-3 at step 8 and 2.5e-3 at step 9, in 64 bits by 0.3e-3 and 0.9e-3,
/// and moving each weight by half a unit in its last place moves these norms by as much.
fn grad_norm_tolerance(name: &str, step: usize) -> f64 {
    if name == "gemma3" && step >= 8 { 4e-3 } else { 1e-3 }
}

fn compare(name: &str, records: &[StepRecord], trace: &Value) {
    let trace = trace.as_array().unwrap();
    assert_eq!(records.len(), trace.len());
    for (record, expected) in records.iter().zip(trace) {
        let near = |what: &str, found: f64, tolerance: f64| {
            let expected = expected[what].as_f64().unwrap();
            let error = (found - expected).abs() / expected;
            assert!(error < tolerance, "{name} step {}: {what} {found} is not {expected} ({error:e})", record.step);
        };
        near("loss", record.loss, 1e-4);
        near("grad_norm", record.grad_norm, grad_norm_tolerance(name, record.step));
    }
}

fn follows_the_lora_trace(name: &str) {
    let Some(folder) = support::architecture(name) else { return };
    let golden = support::json(&folder.join("golden.json"));
    let decoder = support::decoder_with_adapter(&folder);
    let rows = rows(&golden);
    compare(name, &train(&decoder, &rows, &options(1e-2)), &golden["lora"]["trace"]);
    let expected =
        candle_core::safetensors::load(folder.join("lora_final/adapter_model.safetensors"), &candle_core::Device::Cpu)
            .unwrap();
    let found = decoder.adapter_parameters();
    assert_eq!(found.len(), expected.len());
    for (key, tensor) in found {
        let flat = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let pairs = flat(&tensor).into_iter().zip(flat(&expected[&key]));
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-3, "{name}: {key} differs by {largest}");
    }
}

fn follows_the_full_trace(name: &str) {
    let Some(folder) = support::architecture(name) else { return };
    let golden = support::json(&folder.join("golden.json"));
    let decoder = support::decoder(&folder, Trainable::All);
    compare(name, &train(&decoder, &rows(&golden), &options(1e-3)), &golden["full"]["trace"]);
}

macro_rules! golden {
    ($($test:ident $folder:literal),* $(,)?) => {$(
        mod $test {
            #[test]
            fn lora_trace() {
                super::follows_the_lora_trace($folder);
            }

            #[test]
            fn full_trace() {
                super::follows_the_full_trace($folder);
            }
        }
    )*};
}

golden! {
    llama "llama",
    llama_tied_rope3 "llama-tied-rope3",
    gpt2 "gpt2",
    mistral "mistral",
    qwen2 "qwen2",
    qwen3 "qwen3",
    gemma2 "gemma2",
    gemma3 "gemma3",
    phi3 "phi3",
    gpt_neox "gpt-neox",
    olmo2 "olmo2",
    granite "granite",
    smollm3 "smollm3",
}

/// The rows of a `golden.json`.
fn rows(golden: &Value) -> Vec<Row> {
    let numbers = |row: &Value, key: &str| -> Vec<i32> {
        row[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
    };
    let row = |row: &Value| {
        let input_ids: Vec<u32> = numbers(row, "input_ids").into_iter().map(|id| id as u32).collect();
        let position_ids = (0..input_ids.len() as u32).collect();
        Row::new(input_ids, numbers(row, "labels"), position_ids).unwrap()
    };
    golden["rows"].as_array().unwrap().iter().map(row).collect()
}
