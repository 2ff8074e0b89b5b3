//! The loop: a step's rows, their gradients, one update, and on to the next.

use candle_core::{Tensor, backprop::GradStore};
use model::{Decoder, Mode, Parameter, Regularisation, Workload};

use crate::batch::MicroBatch;
use crate::clip::GradientNorm;
use crate::evaluate::largest_pass;
use crate::gradients::Gradients;
use crate::optimizer::AdamW;
use crate::order::{RowOrder, counter_hash};
use crate::preference::{self, PairSums, PreferenceRecord, Reference, Sides, Totals};
use crate::{
    Observer, Options, Progress, Row, SavedState, Schedule, SegmentLoss, Snapshot, StepRecord, TrainingError, evaluate,
};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// Validation no longer improved.
    StoppedEarly,
    /// The observer asked to stop; a checkpoint was offered to it.
    Interrupted,
}

/// Trains a model's trainable tensors in place.
pub struct Trainer<'a> {
    decoder: Decoder,
    parameters: Vec<Parameter>,
    rows: &'a [Row],
    /// Indices of the rows that have something to learn, in file order.
    learnable: Vec<usize>,
    validation: &'a [Row],
    options: Options,
    schedule: Schedule,
    order: RowOrder,
    optimizer: AdamW,
    progress: Progress,
    /// Losses of the examples of the step just done.
    learnt: Vec<SegmentLoss>,
    /// Of so many first layers only the input is kept for the backward pass.
    checkpointed_layers: usize,
    reference: Reference,
}

/// What the backward passes of one step leave behind.
struct StepGradients {
    gradients: Gradients,
    loss: f64,
    tokens: u64,
    trained_tokens: u64,
    examples: Vec<SegmentLoss>,
    preference: Option<PreferenceRecord>,
}

impl<'a> Trainer<'a> {
    /// Prepares a run over `rows`; `validation` may be empty.
    ///
    /// Rows without any trained token are left out of the steps: see [`Trainer::rows_without_targets`].
    ///
    /// # Errors
    /// An option out of range, nothing to learn, or nothing trainable.
    pub fn new(
        decoder: &Decoder,
        rows: &'a [Row],
        validation: &'a [Row],
        options: &Options,
    ) -> Result<Self, TrainingError> {
        options.check()?;
        let learnable: Vec<usize> = (0..rows.len()).filter(|&index| rows[index].trained_tokens() > 0).collect();
        if learnable.is_empty() {
            return Err(TrainingError::NothingToLearn);
        }
        let parameters = decoder.trainable();
        if parameters.is_empty() {
            return Err(TrainingError::NothingTrainable);
        }
        let validation_is_empty = validation.iter().all(|row| row.trained_tokens() == 0);
        if validation_is_empty && !validation.is_empty() {
            return Err(TrainingError::NothingToValidate);
        }
        if validation_is_empty && options.early_stopping.is_some() {
            return Err(TrainingError::EarlyStoppingWithoutValidation);
        }
        if options.objective.is_preference() {
            preference::check_pairs(rows)?;
            preference::check_pairs(validation)?;
        }
        let total_steps = options.total_steps(learnable.len());
        let regularisation =
            Regularisation { neftune_alpha: options.neftune_alpha, label_smoothing: options.label_smoothing };
        Ok(Self {
            decoder: decoder.regularised(regularisation),
            rows,
            validation,
            schedule: options.learning_rate_schedule(total_steps),
            order: RowOrder::new(learnable.len(), options.rows_per_step(), options.seed),
            optimizer: AdamW::new(options, &parameters),
            parameters,
            learnable,
            options: options.clone(),
            progress: Progress::default(),
            learnt: Vec::new(),
            checkpointed_layers: 0,
            reference: Reference::default(),
        })
    }

    /// Gives the pairs their log-probabilities under the reference, for an objective that needs them.
    ///
    /// # Errors
    /// Where they are not as many as the rows.
    pub fn set_reference(&mut self, reference: Reference) -> Result<(), TrainingError> {
        for (rows, found) in [(self.rows, &reference.train), (self.validation, &reference.validation)] {
            if rows.len() != found.len() {
                return Err(TrainingError::NoReference { expected: rows.len(), found: found.len() });
            }
        }
        self.reference = reference;
        Ok(())
    }

    /// The log-probabilities of the rows of the first `steps` steps under the model as it is now; the others are left at 0. For
    /// runs that go no further.
    ///
    /// # Errors
    /// What the model reports.
    pub fn refer_to_start(&mut self, steps: usize) -> Result<(), TrainingError> {
        self.reference.train = vec![Sides::default(); self.rows.len()];
        for k in 0..steps.min(self.total_steps()) {
            for index in self.rows_of_step(k) {
                let found = preference::log_probabilities(&self.decoder, &self.rows[index..=index], 1)?;
                self.reference.train[index] = found[0];
            }
        }
        Ok(())
    }

    /// Continues where a saved state stood. The model's tensors must already be those of that state.
    ///
    /// # Errors
    /// [`TrainingError::State`] where names or shapes differ from the model's.
    pub fn restore(&mut self, saved: SavedState) -> Result<(), TrainingError> {
        self.optimizer.restore(saved.moments)?;
        self.progress = saved.progress;
        Ok(())
    }

    /// Of the first `layers` layers only the input is kept between forward and backward pass, and they are computed twice:
    /// less memory, more time, the same result to the bit.
    pub fn checkpoint_activations(&mut self, layers: usize) {
        self.checkpointed_layers = layers;
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> usize {
        self.schedule.total_steps
    }

    /// Steps that show every row once.
    pub fn steps_per_epoch(&self) -> usize {
        self.order.steps_per_epoch()
    }

    /// Training rows given.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Rows in which no token is trained, hence left out.
    pub fn rows_without_targets(&self) -> usize {
        self.rows.len() - self.learnable.len()
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Runs to the end, or until validation stops improving or the observer asks to stop.
    ///
    /// # Errors
    /// The first non-finite loss or gradient (before it reaches the tensors), a tensor without gradient, or a failure of
    /// the model or the observer.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainingError> {
        self.validate_before_training(observer)?;
        if observer.stop_requested() {
            return Ok(Outcome::Interrupted);
        }
        while self.progress.step < self.total_steps() {
            if self.patience_is_spent() {
                return Ok(Outcome::StoppedEarly);
            }
            observer.step_begins(self.progress.step + 1);
            let mut record = self.step()?;
            observer.learnt(record.step, &self.learnt);
            let improved = self.validate_if_due(&mut record, observer)?;
            self.progress.records.push(record.clone());
            observer.step(&record, &self.progress);
            if improved {
                observer.improved(&self.snapshot()).map_err(TrainingError::Observer)?;
            }
            let stop = observer.stop_requested();
            if stop || self.checkpoint_is_due() {
                observer.checkpoint(&self.snapshot()).map_err(TrainingError::Observer)?;
            }
            if stop && !self.is_over() {
                return Ok(Outcome::Interrupted);
            }
        }
        Ok(if self.patience_is_spent() { Outcome::StoppedEarly } else { Outcome::Finished })
    }

    /// One optimizer step: gradients of its rows, clipping, update.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn step(&mut self) -> Result<StepRecord, TrainingError> {
        let k = self.progress.step;
        let chosen = self.rows_of_step(k);
        let found = self.gradients(k, &chosen)?;
        let gradients = found.gradients.complete(&self.parameters, k + 1)?;
        let norm = GradientNorm::of(&gradients)?;
        if !norm.global.is_finite() {
            let tensors = norm.not_finite().map(|index| self.parameters[index].name.clone()).collect();
            return Err(TrainingError::NonFiniteGradient { step: k + 1, loss: found.loss, rows: chosen, tensors });
        }
        let learning_rate = self.schedule.learning_rate(k);
        let clip = norm.clip_factor(self.options.max_grad_norm);
        self.optimizer.update(&self.parameters, &gradients, k + 1, learning_rate, clip)?;
        self.progress.step = k + 1;
        self.progress.tokens += found.tokens;
        self.progress.trained_tokens += found.trained_tokens;
        self.learnt = found.examples;
        Ok(StepRecord {
            step: k + 1,
            epoch: self.order.epochs_after(k + 1),
            tokens: self.progress.tokens,
            trained_tokens: self.progress.trained_tokens,
            loss: found.loss,
            validation_loss: None,
            learning_rate,
            grad_norm: norm.global,
            preference: found.preference,
            validation_preference: None,
        })
    }

    /// Gradient of the mean loss over all trained tokens of the step, whatever its cut into micro-batches.
    fn gradients(&self, k: usize, chosen: &[usize]) -> Result<StepGradients, TrainingError> {
        if self.options.objective.is_preference() {
            return self.preference_gradients(k, chosen);
        }
        let micro_batches: Vec<MicroBatch> = chosen
            .chunks(self.options.batch_size)
            .map(|part| MicroBatch::new(self.rows, part))
            .collect::<Result<_, _>>()?;
        let trained_tokens: usize = micro_batches.iter().map(MicroBatch::trained_tokens).sum();
        let tokens: usize = micro_batches.iter().map(MicroBatch::tokens).sum();
        let mut gradients = Gradients::none(self.parameters.len());
        let mut loss_sum = 0.0;
        let mut examples = Vec::new();
        for (part, micro) in micro_batches.iter().enumerate() {
            let mode = Mode::Train { dropout_seed: counter_hash(&[self.options.seed, k as u64, part as u64]) };
            let (objective, losses) = self.backward(micro, mode, trained_tokens, k + 1, &mut gradients)?;
            loss_sum += objective;
            examples.extend(micro.segment_losses(&losses));
        }
        let loss = loss_sum / trained_tokens as f64;
        let (tokens, trained_tokens) = (tokens as u64, trained_tokens as u64);
        Ok(StepGradients { gradients, loss, tokens, trained_tokens, examples, preference: None })
    }

    /// As [`Trainer::gradients`], of pairs.
    fn preference_gradients(&self, k: usize, chosen: &[usize]) -> Result<StepGradients, TrainingError> {
        let objective = &self.options.objective;
        if objective.needs_reference() && self.reference.train.len() != self.rows.len() {
            let found = self.reference.train.len();
            return Err(TrainingError::NoReference { expected: self.rows.len(), found });
        }
        let totals = Totals::of(self.rows, chosen, objective);
        let (mut gradients, mut sums) = (Gradients::none(self.parameters.len()), PairSums::default());
        for (part, indices) in chosen.chunks(self.options.batch_size).enumerate() {
            let mode = Mode::Train { dropout_seed: counter_hash(&[self.options.seed, k as u64, part as u64]) };
            preference::add_gradients(
                (&self.decoder, self.checkpointed_layers),
                &self.parameters,
                (self.rows, &self.reference.train),
                (indices, &totals),
                (objective, mode),
                (k + 1, &mut gradients, &mut sums),
            )?;
        }
        let (loss, record) = sums.means(&totals, objective);
        let tokens = chosen.iter().map(|&index| self.rows[index].len() as u64).sum();
        let trained_tokens = chosen.iter().map(|&index| self.rows[index].trained_tokens() as u64).sum();
        Ok(StepGradients { gradients, loss, tokens, trained_tokens, examples: Vec::new(), preference: Some(record) })
    }

    /// Adds the gradients of one micro-batch's share of the mean loss over `trained_tokens`; returns what is minimised,
    /// summed over its trained tokens, and the loss of each of them.
    fn backward(
        &self,
        micro: &MicroBatch,
        mode: Mode,
        trained_tokens: usize,
        step: usize,
        gradients: &mut Gradients,
    ) -> Result<(f64, Vec<f32>), TrainingError> {
        let head = |hidden: &Tensor| {
            let found = self.decoder.loss_of(hidden, &micro.targets, mode)?;
            let rows = micro.rows_with_non_finite(&found.losses);
            if rows.is_empty() {
                Ok((kernels::scale(&found.loss_sum, 1.0 / trained_tokens as f64)?, (found.objective, found.losses)))
            } else {
                Err(TrainingError::NonFiniteLoss { step, rows })
            }
        };
        let mut take = |store: &mut GradStore| gradients.add(&self.parameters, store);
        self.decoder.gradients(&micro.batch, mode, self.checkpointed_layers, head, &mut take)
    }

    /// Rows that go through the model together.
    pub fn batch_size(&self) -> usize {
        self.options.batch_size
    }

    /// Micro-batches of a step.
    pub fn gradient_accumulation(&self) -> usize {
        self.options.gradient_accumulation
    }

    /// The largest micro-batch of the run where so many rows go through the model together.
    pub fn workload(&mut self, batch_size: usize) -> Workload {
        let chosen = self.largest_micro_batch(batch_size);
        Workload {
            tokens: chosen.iter().map(|&index| self.rows[index].len()).sum(),
            targets: chosen.iter().map(|&index| self.rows[index].trained_tokens()).sum(),
            losses: self.options.objective.losses(chosen.len()),
            accumulates: batch_size < self.options.rows_per_step() && chosen.len() < self.learnable.len(),
            checkpointed_layers: self.checkpointed_layers,
            scored_tokens: largest_pass(self.validation),
        }
    }

    /// Forward and backward over the largest micro-batch of the run, changing nothing: what it needs, the run needs.
    /// Where it has more than `tokens` tokens, over its first ones. Returns their number.
    ///
    /// # Errors
    /// What the model reports.
    pub fn rehearse(&mut self, tokens: usize) -> Result<usize, TrainingError> {
        let chosen = self.largest_micro_batch(self.options.batch_size);
        let micro = MicroBatch::of_first(self.rows, &chosen, tokens)?;
        let mut gradients = Gradients::none(self.parameters.len());
        let mode = Mode::Train { dropout_seed: 0 };
        self.backward(&micro, mode, micro.trained_tokens().max(1), self.progress.step + 1, &mut gradients)?;
        Ok(micro.tokens())
    }

    /// Rows of the micro-batch with the most tokens, of all that the run will see.
    fn largest_micro_batch(&mut self, batch_size: usize) -> Vec<usize> {
        let tokens = |rows: &[Row], part: &[usize]| part.iter().map(|&index| rows[index].len()).sum::<usize>();
        let mut largest = Vec::new();
        for k in 0..self.total_steps() {
            for part in self.rows_of_step(k).chunks(batch_size) {
                if tokens(self.rows, part) > tokens(self.rows, &largest) {
                    largest = part.to_vec();
                }
            }
        }
        largest
    }

    /// Tokens of the whole run.
    pub fn total_tokens(&mut self) -> u64 {
        let mut total = 0;
        for k in 0..self.total_steps() {
            total += self.rows_of_step(k).into_iter().map(|index| self.rows[index].len() as u64).sum::<u64>();
        }
        total
    }

    fn rows_of_step(&mut self, k: usize) -> Vec<usize> {
        self.order.rows_of(k).into_iter().map(|index| self.learnable[index]).collect()
    }

    fn validate_before_training(&mut self, observer: &mut dyn Observer) -> Result<(), TrainingError> {
        if self.progress.step == 0 && !self.validation.is_empty() {
            let (loss, _) = self.validation_loss(observer)?;
            self.progress.initial_validation_loss = Some(loss);
            observer.initial_validation(loss);
        }
        Ok(())
    }

    /// Validates where it is due; true where the loss is the lowest so far.
    fn validate_if_due(&mut self, record: &mut StepRecord, observer: &mut dyn Observer) -> Result<bool, TrainingError> {
        let last = self.progress.step == self.total_steps();
        if self.validation.is_empty() || !(last || self.progress.step.is_multiple_of(self.options.evaluate_every)) {
            return Ok(false);
        }
        let (loss, pairs) = self.validation_loss(observer)?;
        record.validation_loss = Some(loss);
        record.validation_preference = pairs;
        Ok(self.progress.validated(loss))
    }

    fn validation_loss(&self, observer: &mut dyn Observer) -> Result<(f64, Option<PreferenceRecord>), TrainingError> {
        observer.validating(self.validation.len());
        let step = self.progress.step;
        if self.options.objective.is_preference() {
            let rows = (self.validation, self.reference.validation.as_slice());
            let batch = (self.options.batch_size, step);
            let found = preference::evaluate(&self.decoder, rows, batch, &self.options.objective)?;
            return Ok((found.0, Some(found.1)));
        }
        let found = evaluate(&self.decoder, self.validation, step)?;
        observer.validated(step, &found.examples);
        Ok((found.mean(), None))
    }

    fn checkpoint_is_due(&self) -> bool {
        self.is_over() || self.progress.step.is_multiple_of(self.options.save_every)
    }

    fn is_over(&self) -> bool {
        self.progress.step == self.total_steps() || self.patience_is_spent()
    }

    fn patience_is_spent(&self) -> bool {
        self.options.early_stopping.is_some_and(|stopping| self.progress.validations_since_best >= stopping.patience)
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { progress: &self.progress, decoder: &self.decoder, moments: self.optimizer.moments() }
    }
}
