//! What a run promises, shown on a small model: accumulation, resumption, early stopping, and its errors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use candle_core::Tensor;
use model::{Decoder, ModelConfig};
use serde_json::json;
use training::{
    Duration, EarlyStopping, Observer, ObserverError, Options, Outcome, Progress, Row, SavedState, Silent, Snapshot,
    StepRecord, Trainer, TrainingError,
};

fn tiny_model() -> Decoder {
    let config = json!({
        "model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "tie_word_embeddings": true, "initializer_range": 0.05, "rope_theta": 10000.0
    });
    Decoder::random(&ModelConfig::from_json(&config).unwrap(), 5).unwrap()
}

/// Rows of different lengths, the first half of each not trained.
fn rows(count: usize) -> Vec<Row> {
    let row = |i: usize| {
        let length = 4 + i * 5 % 11;
        let ids: Vec<u32> = (0..length).map(|t| ((i * 7 + t * t * 3 + 1) % 40) as u32).collect();
        let labels = ids.iter().enumerate().map(|(t, &id)| if t < length / 2 { -100 } else { id as i32 }).collect();
        Row::new(ids, labels, (0..length as u32).collect()).unwrap()
    };
    (0..count).map(row).collect()
}

fn options() -> Options {
    Options { batch_size: 3, learning_rate: 5e-3, duration: Duration::Epochs(2.0), ..Options::default() }
}

fn bytes(decoder: &Decoder) -> Vec<u32> {
    let flat = |(_, tensor): (String, Tensor)| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    decoder.parameters().into_iter().flat_map(flat).map(f32::to_bits).collect()
}

fn assign(decoder: &Decoder, tensors: &[(String, Tensor)]) {
    for parameter in decoder.trainable() {
        let (_, tensor) = tensors.iter().find(|(name, _)| *name == parameter.name).unwrap();
        parameter.var.set(tensor).unwrap();
    }
}

fn copies(decoder: &Decoder) -> Vec<(String, Tensor)> {
    decoder.trainable().into_iter().map(|p| (p.name, p.var.as_tensor().copy().unwrap())).collect()
}

/// Keeps what it is given; asks to stop after a step.
#[derive(Default)]
struct Keeper {
    stop_after: Option<usize>,
    step: usize,
    saved: Vec<(SavedState, Vec<(String, Tensor)>)>,
    improved: Vec<usize>,
}

impl Observer for Keeper {
    fn step(&mut self, record: &StepRecord, _: &Progress) {
        self.step = record.step;
    }

    fn improved(&mut self, snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        self.improved.push(snapshot.progress.step);
        Ok(())
    }

    fn checkpoint(&mut self, snapshot: &Snapshot<'_>) -> Result<(), ObserverError> {
        // Through JSON, as a file would.
        let progress = serde_json::from_str(&serde_json::to_string(snapshot.progress)?)?;
        let moments = snapshot.moments.to_vec();
        self.saved.push((SavedState { progress, moments }, copies(snapshot.decoder)));
        Ok(())
    }

    fn stop_requested(&mut self) -> bool {
        self.stop_after == Some(self.step)
    }
}

#[test]
fn accumulated_steps_equal_the_large_batch() {
    let rows = rows(7);
    let (large, accumulated) = (tiny_model(), tiny_model());
    let run = |decoder: &Decoder, batch_size, gradient_accumulation| {
        let options = Options { batch_size, gradient_accumulation, ..options() };
        let mut trainer = Trainer::new(decoder, &rows, &[], &options).unwrap();
        trainer.run(&mut Silent).unwrap();
        trainer.progress().records.clone()
    };
    let (one, four) = (run(&large, 4, 1), run(&accumulated, 1, 4));
    assert_eq!(one.len(), four.len());
    for (one, four) in one.iter().zip(&four) {
        assert!((one.loss - four.loss).abs() < 1e-5 * one.loss, "{one:?} {four:?}");
        assert!((one.grad_norm - four.grad_norm).abs() < 1e-4 * one.grad_norm, "{one:?} {four:?}");
        assert_eq!((one.tokens, one.trained_tokens), (four.tokens, four.trained_tokens));
    }
}

#[test]
fn every_row_is_used_and_counted() {
    let rows = rows(7);
    let decoder = tiny_model();
    let mut trainer = Trainer::new(&decoder, &rows, &[], &options()).unwrap();
    assert_eq!(trainer.run(&mut Silent).unwrap(), Outcome::Finished);
    let last = trainer.progress().records.last().unwrap();
    let per_epoch: usize = rows.iter().map(Row::len).sum();
    assert_eq!((last.step, last.epoch, last.tokens), (6, 2.0, 2 * per_epoch as u64));
    assert!(last.loss < trainer.progress().records[0].loss);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_wherever_it_stopped() {
    let (rows, validation) = (rows(8), rows(3));
    let options = Options { evaluate_every: 2, save_every: 4, ..options() };
    let whole = tiny_model();
    let mut uninterrupted = Trainer::new(&whole, &rows, &validation, &options).unwrap();
    uninterrupted.run(&mut Silent).unwrap();
    for stop in 1..uninterrupted.total_steps() {
        let decoder = tiny_model();
        let mut keeper = Keeper { stop_after: Some(stop), ..Keeper::default() };
        let mut trainer = Trainer::new(&decoder, &rows, &validation, &options).unwrap();
        assert_eq!(trainer.run(&mut keeper).unwrap(), Outcome::Interrupted);
        let (state, tensors) = keeper.saved.pop().unwrap();
        let decoder = tiny_model();
        assign(&decoder, &tensors);
        let mut trainer = Trainer::new(&decoder, &rows, &validation, &options).unwrap();
        trainer.restore(state).unwrap();
        assert_eq!(trainer.run(&mut Silent).unwrap(), Outcome::Finished);
        assert_eq!(trainer.progress(), uninterrupted.progress(), "stopped after {stop}");
        assert_eq!(bytes(&decoder), bytes(&whole), "stopped after {stop}");
    }
}

#[test]
fn early_stopping_waits_for_its_patience() {
    let validation =
        vec![Row::new((0..12).map(|t| (t * 13 + 5) % 40).collect(), vec![3; 12], (0..12).collect()).unwrap()];
    let rows = rows(6);
    let options = Options {
        duration: Duration::Steps(60),
        learning_rate: 3e-2,
        evaluate_every: 1,
        early_stopping: Some(EarlyStopping { patience: 3 }),
        ..options()
    };
    let decoder = tiny_model();
    let mut keeper = Keeper::default();
    let mut trainer = Trainer::new(&decoder, &rows, &validation, &options).unwrap();
    assert_eq!(trainer.run(&mut keeper).unwrap(), Outcome::StoppedEarly);
    let progress = trainer.progress();
    let best = progress.best.unwrap();
    assert_eq!(progress.step, best.step + 3);
    assert_eq!(*keeper.improved.last().unwrap(), best.step);
    assert_eq!(keeper.saved.len(), 1, "the last step is kept");
    let losses = progress.records.iter().map(|record| record.validation_loss.unwrap());
    assert!(losses.fold(f64::INFINITY, f64::min) == best.validation_loss);
}

#[test]
fn validation_weighs_tokens_whatever_the_batch() {
    let (decoder, rows) = (tiny_model(), rows(9));
    let whole = training::evaluate(&decoder, &rows, 0).unwrap();
    let (mut loss_sum, mut trained_tokens) = (0.0, 0);
    for row in rows.chunks(1) {
        let part = training::evaluate(&decoder, row, 0).unwrap();
        loss_sum += part.loss_sum;
        trained_tokens += part.trained_tokens;
    }
    assert_eq!(trained_tokens, whole.trained_tokens);
    let mean = loss_sum / trained_tokens as f64;
    assert!((mean - whole.mean()).abs() < 1e-6, "{mean} {}", whole.mean());
    // The batch size of training is no part of it: the same bits.
    let initial = |batch_size: usize| {
        let mut trainer = Trainer::new(&decoder, &rows, &rows, &Options { batch_size, ..options() }).unwrap();
        let mut keeper = Keeper { stop_after: Some(0), ..Keeper::default() };
        trainer.run(&mut keeper).unwrap();
        trainer.progress().initial_validation_loss.unwrap().to_bits()
    };
    assert_eq!(initial(1), initial(4));
}

#[test]
fn rows_without_targets_are_left_out_and_counted() {
    let mut all = rows(4);
    all.insert(1, Row::new(vec![1, 2], vec![-100, -100], vec![0, 1]).unwrap());
    let decoder = tiny_model();
    let trainer = Trainer::new(&decoder, &all, &[], &options()).unwrap();
    assert_eq!(trainer.rows_without_targets(), 1);
    let only = [all[1].clone()];
    let refused =
        |rows: &[Row], validation: &[Row], options: &Options| Trainer::new(&decoder, rows, validation, options).err();
    assert!(matches!(refused(&only, &[], &options()), Some(TrainingError::NothingToLearn)));
    assert!(matches!(refused(&all, &only, &options()), Some(TrainingError::NothingToValidate)));
    let stopping = Options { early_stopping: Some(EarlyStopping { patience: 1 }), ..options() };
    assert!(matches!(refused(&all, &[], &stopping), Some(TrainingError::EarlyStoppingWithoutValidation)));
}

#[test]
fn a_run_that_explodes_stops_before_it_spoils_the_tensors() {
    let rows = rows(6);
    let decoder = tiny_model();
    let first = decoder.trainable().remove(0);
    let spoiled = (first.var.as_tensor() * f64::NAN).unwrap();
    first.var.set(&spoiled).unwrap();
    let others = bytes(&decoder);
    let mut trainer = Trainer::new(&decoder, &rows, &[], &options()).unwrap();
    let error = trainer.run(&mut Silent).unwrap_err();
    assert!(matches!(&error, TrainingError::NonFiniteLoss { step: 1, rows } if rows.len() == 3), "{error:?}");
    assert_eq!(bytes(&decoder), others);
}

#[test]
fn a_state_of_another_model_is_refused() {
    let rows = rows(4);
    let decoder = tiny_model();
    let mut trainer = Trainer::new(&decoder, &rows, &[], &options()).unwrap();
    let error = trainer.restore(SavedState { progress: Progress::default(), moments: vec![] }).unwrap_err();
    assert!(error.to_string().contains("does not fit the model"), "{error}");
}

#[test]
fn checkpointed_layers_change_no_byte() {
    let train = |checkpointed: usize| {
        let decoder = tiny_model();
        let rows = rows(9);
        let options = Options { gradient_accumulation: 2, ..options() };
        let mut trainer = Trainer::new(&decoder, &rows, &rows[..2], &options).unwrap();
        trainer.checkpoint_activations(checkpointed);
        trainer.run(&mut Silent).unwrap();
        (bytes(&decoder), format!("{:?}", trainer.progress()))
    };
    let kept = train(0);
    assert_eq!(kept, train(1));
    assert_eq!(kept, train(2));
}
