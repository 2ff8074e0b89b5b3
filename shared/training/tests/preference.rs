//! Preference tuning: ten steps equal to TRL, and what every objective promises of accumulation and resumption.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use model::{Decoder, Trainable};
use serde_json::Value;
use training::preference::{Dpo, DpoLoss, Objective, Reference};
use training::{
    Duration, Observer, ObserverError, Options, Outcome, Progress, Row, SavedState, ScheduleShape, Silent, Snapshot,
    StepRecord, Trainer, TrainingError,
};

fn known() -> Value {
    serde_json::from_str(include_str!("data/preference.json")).unwrap()
}

/// Prompt and chosen answer, prompt and rejected answer.
fn pair(prompt: &[u32], chosen: &[u32], rejected: &[u32]) -> Row {
    let (mut ids, mut labels, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for answer in [chosen, rejected] {
        ids.extend(prompt.iter().chain(answer));
        labels.extend(prompt.iter().map(|_| -100));
        labels.extend(answer.iter().map(|&id| id as i32));
        positions.extend(0..(prompt.len() + answer.len()) as u32);
    }
    Row::new(ids, labels, positions).unwrap()
}

fn pairs(known: &Value) -> Vec<Row> {
    let ids = |pair: &Value, key: &str| -> Vec<u32> {
        pair[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let row = |found: &Value| pair(&ids(found, "prompt"), &ids(found, "chosen"), &ids(found, "rejected"));
    known["pairs"].as_array().unwrap().iter().map(row).collect()
}

fn objective(name: &str) -> Objective {
    let dpo = Dpo { beta: 0.1, loss_type: DpoLoss::Sigmoid, label_smoothing: 0.0, rpo_alpha: 0.0 };
    match name {
        "dpo" => Objective::Dpo(dpo),
        "hinge" => Objective::Dpo(Dpo { beta: 0.2, loss_type: DpoLoss::Hinge, ..dpo }),
        "ipo" => Objective::Dpo(Dpo { beta: 0.5, loss_type: DpoLoss::Ipo, ..dpo }),
        "robust" => Objective::Dpo(Dpo { loss_type: DpoLoss::Robust, label_smoothing: 0.1, ..dpo }),
        "rpo" => Objective::Dpo(Dpo { rpo_alpha: 0.5, ..dpo }),
        "orpo" => Objective::Orpo { beta: 0.1 },
        other => panic!("{other}"),
    }
}

fn options(objective: Objective, learning_rate: f64) -> Options {
    Options {
        duration: Duration::Steps(10),
        batch_size: 4,
        learning_rate,
        schedule: ScheduleShape::Constant,
        weight_decay: 0.01,
        objective,
        ..Options::default()
    }
}

fn trainer<'a>(decoder: &'a Decoder, rows: &'a [Row], options: &Options) -> Trainer<'a> {
    let mut trainer = Trainer::new(decoder, rows, &[], options).unwrap();
    if options.objective.needs_reference() {
        trainer.set_reference(Reference::of(decoder, rows, &[], 2).unwrap()).unwrap();
    }
    trainer
}

fn compare(name: &str, record: &StepRecord, expected: &Value) {
    let pairs = record.preference.unwrap();
    let figures = [
        ("loss", record.loss, 1e-4),
        ("grad_norm", record.grad_norm, 1e-3),
        ("rewards/chosen", pairs.rewards.chosen, 1e-3),
        ("rewards/rejected", pairs.rewards.rejected, 1e-3),
        ("rewards/accuracies", pairs.accuracy, 1e-6),
        ("rewards/margins", pairs.margin, 1e-3),
        ("logps/chosen", pairs.logps.chosen, 1e-4),
        ("logps/rejected", pairs.logps.rejected, 1e-4),
    ];
    for (what, found, tolerance) in figures {
        let expected = expected[what].as_f64().unwrap();
        let error = (found - expected).abs() / expected.abs().max(0.01);
        assert!(error < tolerance, "{name} step {}: {what} {found} is not {expected} ({error:e})", record.step);
    }
}

#[test]
fn ten_steps_are_those_of_trl() {
    let Some(folder) = support::architecture("llama") else { return };
    let known = known();
    let rows = pairs(&known);
    for run in known["runs"].as_array().unwrap() {
        let (name, lora) = (run["name"].as_str().unwrap(), run["lora"].as_bool().unwrap());
        let decoder =
            if lora { support::decoder_with_adapter(&folder) } else { support::decoder(&folder, Trainable::All) };
        let options = options(objective(name), if lora { 1e-2 } else { 1e-3 });
        let mut trainer = trainer(&decoder, &rows, &options);
        trainer.run(&mut Silent).unwrap();
        let trace = run["trace"].as_array().unwrap();
        assert_eq!(trainer.progress().records.len(), trace.len());
        for (record, expected) in trainer.progress().records.iter().zip(trace) {
            compare(&format!("{name}, lora {lora}"), record, expected);
        }
    }
}

fn tiny_model() -> Decoder {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "tie_word_embeddings": true, "initializer_range": 0.05, "rope_theta": 10000.0
    });
    Decoder::random(&model::ModelConfig::from_json(&config).unwrap(), 5).unwrap()
}

fn tiny_pairs(count: usize) -> Vec<Row> {
    let ids = |seed: usize, length: usize| -> Vec<u32> {
        (0..length).map(|t| ((seed * 7 + t * t * 3 + 1) % 40) as u32).collect()
    };
    (0..count).map(|i| pair(&ids(i, 3 + i % 4), &ids(i + 9, 1 + i * 5 % 7), &ids(i + 23, 2 + i * 3 % 5))).collect()
}

#[test]
fn accumulation_is_the_large_batch() {
    let rows = tiny_pairs(6);
    for name in ["dpo", "rpo", "orpo"] {
        let records = [(6, 1), (2, 3), (1, 6)].map(|(batch_size, gradient_accumulation)| {
            let decoder = tiny_model();
            let options = Options { batch_size, gradient_accumulation, ..options(objective(name), 5e-3) };
            let mut trainer = trainer(&decoder, &rows, &options);
            trainer.run(&mut Silent).unwrap();
            trainer.progress().records.clone()
        });
        for other in &records[1..] {
            for (found, expected) in other.iter().zip(&records[0]) {
                let near = |found: f64, expected: f64| (found - expected).abs() < 1e-4 * expected.abs().max(0.1);
                assert!(near(found.loss, expected.loss), "{name}: {} {}", found.loss, expected.loss);
                assert!(near(found.grad_norm, expected.grad_norm), "{name}");
            }
        }
    }
}

/// Keeps the state after a step and asks to stop there.
struct StopAfter(usize, Option<(SavedState, Vec<(String, candle_core::Tensor)>)>, usize);

impl Observer for StopAfter {
    fn step(&mut self, _: &StepRecord, progress: &Progress) {
        self.2 = progress.step;
    }

    fn stop_requested(&mut self) -> bool {
        self.2 == self.0
    }

    fn checkpoint(&mut self, snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        let saved = SavedState { progress: snapshot.progress.clone(), moments: snapshot.moments.to_vec() };
        let tensors = snapshot.decoder.trainable().into_iter();
        self.1 = Some((saved, tensors.map(|p| (p.name, p.var.as_tensor().copy().unwrap())).collect()));
        Ok(())
    }
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_bit() {
    let rows = tiny_pairs(5);
    let options = Options { batch_size: 2, ..options(objective("dpo"), 5e-3) };
    let whole = tiny_model();
    let mut undisturbed = trainer(&whole, &rows, &options);
    undisturbed.run(&mut Silent).unwrap();

    let first = tiny_model();
    let reference = Reference::of(&first, &rows, &[], 2).unwrap();
    let mut observer = StopAfter(4, None, 0);
    assert_eq!(trainer(&first, &rows, &options).run(&mut observer).unwrap(), Outcome::Interrupted);
    let (saved, tensors) = observer.1.unwrap();
    let second = tiny_model();
    let mut resumed = Trainer::new(&second, &rows, &[], &options).unwrap();
    for parameter in second.trainable() {
        let (_, tensor) = tensors.iter().find(|(name, _)| *name == parameter.name).unwrap();
        parameter.var.set(tensor).unwrap();
    }
    resumed.restore(saved).unwrap();
    resumed.set_reference(reference).unwrap();
    resumed.run(&mut Silent).unwrap();
    assert_eq!(resumed.progress(), undisturbed.progress());
    for ((name, found), (_, expected)) in second.parameters().into_iter().zip(whole.parameters()) {
        let bits = |t: &candle_core::Tensor| -> Vec<u32> {
            t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&found), bits(&expected), "{name}");
    }
}

#[test]
fn rows_that_are_no_pairs_are_refused() {
    let decoder = tiny_model();
    let options = options(objective("dpo"), 1e-3);
    let single = [Row::new(vec![1, 2, 3], vec![1, 2, 3], vec![0, 1, 2]).unwrap()];
    let error = Trainer::new(&decoder, &single, &[], &options).err().unwrap();
    assert!(matches!(error, TrainingError::NoPair { row: 0, sequences: 1 }), "{error}");
    let empty = [pair(&[1, 2], &[3], &[])];
    let error = Trainer::new(&decoder, &empty, &[], &options).err().unwrap();
    assert!(matches!(error, TrainingError::UntrainedAnswer { row: 0 }), "{error}");
    let rows = tiny_pairs(2);
    let mut trainer = Trainer::new(&decoder, &rows, &[], &options).unwrap();
    let error = trainer.run(&mut Silent).err().unwrap();
    assert!(matches!(error, TrainingError::NoReference { expected: 2, found: 0 }), "{error}");
}
