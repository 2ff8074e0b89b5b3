//! Preference tuning: pairs of a chosen and a rejected answer, through the same steps as any other rows.
//!
//! A pair is one row of two sequences, prompt and chosen answer, prompt and rejected answer, with the answers' tokens as
//! labels. Both lie in one batch like any packed examples. The loss of a pair is a function of two numbers, the answers'
//! log-probabilities, so its gradient is that of their negative log-likelihoods, each times a slope that is known once the
//! forward pass has been made: no sequence is run twice, and no logits are kept.

mod objective;

use candle_core::{Tensor, backprop::GradStore};
use model::{Decoder, Mode, Parameter};
use serde::{Deserialize, Serialize};

use objective::PairFacts;
pub use objective::{Dpo, DpoLoss, Objective, Sides};

use crate::batch::MicroBatch;
use crate::gradients::Gradients;
use crate::{NOT_TRAINED, Row, TrainingError};

/// What a step or a validation says of its pairs, each a mean over them. Names and meaning as in TRL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PreferenceRecord {
    /// Rewards that the policy implies.
    pub rewards: Sides,
    /// Share of pairs whose chosen answer has the higher reward.
    pub accuracy: f64,
    /// Reward of the chosen less that of the rejected.
    pub margin: f64,
    /// Log-probabilities of the answers: summed for DPO, per token for ORPO.
    pub logps: Sides,
}

/// Log-probabilities under the reference, of every pair: computed once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reference {
    /// Of the training rows.
    pub train: Vec<Sides>,
    /// Of the validation rows.
    pub validation: Vec<Sides>,
}

impl Reference {
    /// Computes them: `decoder` is the reference.
    ///
    /// # Errors
    /// As [`log_probabilities`].
    pub fn of(decoder: &Decoder, train: &[Row], validation: &[Row], batch_size: usize) -> Result<Self, TrainingError> {
        let of = |rows| log_probabilities(decoder, rows, batch_size);
        Ok(Self { train: of(train)?, validation: of(validation)? })
    }
}

/// Checks that each row is a pair, and that both of its answers have a token.
pub(crate) fn check_pairs(rows: &[Row]) -> Result<(), TrainingError> {
    for (index, row) in rows.iter().enumerate() {
        let place = places(rows, &[index])?[0];
        let targets: Vec<i32> = row.targets().collect();
        for (start, end) in [place.chosen, place.rejected] {
            if targets[start..end].iter().all(|&target| target == NOT_TRAINED) {
                return Err(TrainingError::UntrainedAnswer { row: index });
            }
        }
    }
    Ok(())
}

/// A loss over pairs that is being summed up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PairSums {
    loss: f64,
    likelihood: f64,
    record: PreferenceRecord,
}

/// How many there are of what a step divides by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pairs: f64,
    likelihood_tokens: f64,
}

/// One pair in a micro-batch: where its sequences begin and end among the tokens.
#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    chosen: (usize, usize),
    rejected: (usize, usize),
}

/// The log-likelihoods of a micro-batch's pairs as they are computed, with what the gradient needs of them.
struct Scored {
    nlls: Vec<[Tensor; 2]>,
    facts: Vec<PairFacts>,
    /// Of the chosen side, prompt or answer, as the objective asks; its number of tokens follows from the row.
    likelihoods: Vec<(Option<Tensor>, f64)>,
}

impl Totals {
    /// Of all rows of a step.
    pub(crate) fn of(rows: &[Row], chosen: &[usize], objective: &Objective) -> Self {
        let tokens = |row: &Row| match objective.likelihood() {
            Some((_, true)) => row.boundaries()[1] - 1,
            Some((_, false)) => row.targets().take(row.boundaries()[1]).filter(|&target| target != NOT_TRAINED).count(),
            None => 0,
        };
        let likelihood_tokens = chosen.iter().map(|&index| tokens(&rows[index])).sum::<usize>();
        Self { pairs: chosen.len() as f64, likelihood_tokens: likelihood_tokens as f64 }
    }
}

impl PairSums {
    /// The mean loss and the mean figures.
    pub(crate) fn means(&self, totals: &Totals, objective: &Objective) -> (f64, PreferenceRecord) {
        let weight = objective.likelihood().map_or(0.0, |(weight, _)| weight);
        let likelihood = if weight > 0.0 { weight * self.likelihood / totals.likelihood_tokens } else { 0.0 };
        let mean =
            |sides: Sides| Sides { chosen: sides.chosen / totals.pairs, rejected: sides.rejected / totals.pairs };
        let PreferenceRecord { rewards, accuracy, margin, logps } = self.record;
        let record = PreferenceRecord {
            rewards: mean(rewards),
            accuracy: accuracy / totals.pairs,
            margin: margin / totals.pairs,
            logps: mean(logps),
        };
        (self.loss / totals.pairs + likelihood, record)
    }
}

/// Adds a micro-batch's gradients to `gradients` and its losses to `sums`. `reference` holds the log-probabilities of
/// every row under the reference; of the first `checkpointed` layers only the input is kept. Returns rows whose loss is
/// not finite, with which nothing was added.
pub(crate) fn add_gradients(
    (decoder, checkpointed): (&Decoder, usize),
    parameters: &[Parameter],
    (rows, reference): (&[Row], &[Sides]),
    (part, totals): (&[usize], &Totals),
    (objective, mode): (&Objective, Mode),
    (step, gradients, sums): (usize, &mut Gradients, &mut PairSums),
) -> Result<(), TrainingError> {
    let micro = MicroBatch::new(rows, part)?;
    let head = |hidden: &Tensor| {
        let scored = score(decoder, rows, reference, &micro, hidden, objective)?;
        let not_finite = scored.not_finite(part);
        if !not_finite.is_empty() {
            return Err(TrainingError::NonFiniteLoss { step, rows: not_finite });
        }
        let slopes = scored.add_to(sums, objective);
        match scored.objective(&slopes, totals, objective)? {
            Some(total) => Ok((total, true)),
            None => Ok(((hidden.sum_all()? * 0.0)?, false)),
        }
    };
    let mut take = |store: &mut GradStore| gradients.add(parameters, store);
    let asked = decoder.gradients(&micro.batch, mode, checkpointed, head, &mut take)?;
    if asked {
        return Ok(());
    }
    // Hinge asks nothing of a pair beyond its margin: the gradient is there, and is zero.
    gradients.add_zeros(parameters)
}

/// The mean loss over pairs that are not trained on, and their figures.
pub(crate) fn evaluate(
    decoder: &Decoder,
    (rows, reference): (&[Row], &[Sides]),
    (batch_size, step): (usize, usize),
    objective: &Objective,
) -> Result<(f64, PreferenceRecord), TrainingError> {
    let indices: Vec<usize> = (0..rows.len()).collect();
    let mut sums = PairSums::default();
    for part in indices.chunks(batch_size.max(1)) {
        let micro = MicroBatch::new(rows, part)?;
        let hidden = hidden_states(decoder, &micro)?;
        let scored = score(decoder, rows, reference, &micro, &hidden, objective)?;
        let not_finite = scored.not_finite(part);
        if !not_finite.is_empty() {
            return Err(TrainingError::NonFiniteValidation { step, rows: not_finite });
        }
        scored.add_to(&mut sums, objective);
    }
    Ok(sums.means(&Totals::of(rows, &indices, objective), objective))
}

/// Hidden states to look at alone: nothing is kept for a gradient.
fn hidden_states(decoder: &Decoder, micro: &MicroBatch) -> Result<Tensor, TrainingError> {
    let pass = decoder.begin(&micro.batch, Mode::Evaluate)?;
    let mut hidden = decoder.embed(&micro.batch)?.detach();
    for layer in 0..decoder.layer_count() {
        hidden = decoder.layer(layer, &hidden, &pass)?.detach();
    }
    Ok(decoder.finish(&hidden)?.detach())
}

/// The log-probabilities of the answers of each pair, in the order of the rows.
///
/// # Errors
/// A row that is no pair, or an error of the model.
pub fn log_probabilities(decoder: &Decoder, rows: &[Row], batch_size: usize) -> Result<Vec<Sides>, TrainingError> {
    let indices: Vec<usize> = (0..rows.len()).collect();
    let mut found = Vec::with_capacity(rows.len());
    for part in indices.chunks(batch_size.max(1)) {
        let micro = MicroBatch::new(rows, part)?;
        let scores = decoder.score(&micro.batch, &micro.targets)?;
        let mut losses = scores.losses.iter().map(|&loss| f64::from(loss));
        for place in places(rows, part)? {
            let mut of = |(start, end): (usize, usize)| {
                let count = micro.targets[start..end].iter().filter(|&&target| target != NOT_TRAINED).count();
                -losses.by_ref().take(count).sum::<f64>()
            };
            found.push(Sides { chosen: of(place.chosen), rejected: of(place.rejected) });
        }
    }
    Ok(found)
}

/// Where the pairs of a micro-batch lie.
fn places(rows: &[Row], part: &[usize]) -> Result<Vec<Place>, TrainingError> {
    let mut start = 0;
    let place = |&index: &usize| {
        let row = &rows[index];
        let boundaries = row.boundaries();
        let [_, middle, end] = boundaries[..] else {
            return Err(TrainingError::NoPair { row: index, sequences: boundaries.len() - 1 });
        };
        let place = Place { row: index, chosen: (start, start + middle), rejected: (start + middle, start + end) };
        start += end;
        Ok(place)
    };
    part.iter().map(place).collect()
}

fn score(
    decoder: &Decoder,
    rows: &[Row],
    reference: &[Sides],
    micro: &MicroBatch,
    hidden: &Tensor,
    objective: &Objective,
) -> Result<Scored, TrainingError> {
    let with_prompt = matches!(objective.likelihood(), Some((_, true)));
    let mut scored = Scored { nlls: Vec::new(), facts: Vec::new(), likelihoods: Vec::new() };
    let weight = if hidden.track_op() { decoder.output_weight().clone() } else { decoder.output_weight().detach() };
    let of = |(start, end): (usize, usize), targets: &[i32]| -> Result<(Tensor, f64, f64), TrainingError> {
        let own = hidden.narrow(0, start, end - start)?;
        let found = kernels::cross_entropy(&own, &weight, targets, &decoder.cross_entropy_options())?;
        let sum = found.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        Ok((found.loss_sum, sum, found.losses.len() as f64))
    };
    let parts: Vec<usize> = micro.rows.iter().map(|(row, _)| *row).collect();
    for place in places(rows, &parts)? {
        let (start, end) = place.chosen;
        let (chosen, chosen_sum, chosen_tokens) = of(place.chosen, &micro.targets[start..end])?;
        let (rejected, rejected_sum, rejected_tokens) =
            of(place.rejected, &micro.targets[place.rejected.0..place.rejected.1])?;
        scored.nlls.push([chosen, rejected]);
        scored.facts.push(PairFacts {
            logps: Sides { chosen: -chosen_sum, rejected: -rejected_sum },
            reference: reference.get(place.row).copied().unwrap_or_default(),
            tokens: Sides { chosen: chosen_tokens, rejected: rejected_tokens },
        });
        scored.likelihoods.push(if with_prompt {
            let (prompt, sum, _) = of(place.chosen, &prompt_targets(&rows[place.row], &micro.targets[start..end]))?;
            (Some(prompt), chosen_sum + sum)
        } else {
            (None, chosen_sum)
        });
    }
    Ok(scored)
}

/// What the tokens before the answer predict: each its follower, where that is not trained as part of the answer.
fn prompt_targets(row: &Row, answer: &[i32]) -> Vec<i32> {
    let next = row.input_ids()[1..].iter().map(|&id| id as i32);
    let last = answer.len() - 1;
    let target = |(at, (next, &answer)): (usize, (i32, &i32))| {
        if at < last && answer == NOT_TRAINED { next } else { NOT_TRAINED }
    };
    next.zip(answer).enumerate().map(target).chain(std::iter::repeat(NOT_TRAINED)).take(answer.len()).collect()
}

impl Scored {
    /// A scalar with the gradient of the mean loss: each log-likelihood times its slope. None where all slopes are zero.
    fn objective(
        &self,
        slopes: &[Sides],
        totals: &Totals,
        objective: &Objective,
    ) -> Result<Option<Tensor>, TrainingError> {
        let mut terms: Vec<(&Tensor, f64)> = Vec::new();
        for (([chosen, rejected], slope), (prompt, _)) in self.nlls.iter().zip(slopes).zip(&self.likelihoods) {
            let own = objective.likelihood().map_or(0.0, |(weight, _)| weight / totals.likelihood_tokens);
            terms.extend(prompt.as_ref().map(|prompt| (prompt, own)));
            // A log-probability is a negative log-likelihood with the other sign.
            terms.push((chosen, own - slope.chosen / totals.pairs));
            terms.push((rejected, -slope.rejected / totals.pairs));
        }
        let mut total: Option<Tensor> = None;
        for (tensor, weight) in terms.into_iter().filter(|(_, weight)| *weight != 0.0) {
            let term = (tensor * weight)?;
            total = Some(match total.take() {
                Some(total) => (total + term)?,
                None => term,
            });
        }
        Ok(total)
    }

    fn not_finite(&self, part: &[usize]) -> Vec<usize> {
        let wrong = |facts: &PairFacts| !(facts.logps.chosen.is_finite() && facts.logps.rejected.is_finite());
        part.iter().zip(&self.facts).filter(|(_, facts)| wrong(facts)).map(|(&row, _)| row).collect()
    }

    /// Adds the losses up; gives the slope of each pair.
    fn add_to(&self, sums: &mut PairSums, objective: &Objective) -> Vec<Sides> {
        let mut slopes = Vec::with_capacity(self.facts.len());
        for (facts, (_, likelihood)) in self.facts.iter().zip(&self.likelihoods) {
            let pair = objective.of(facts);
            let add = |sum: &mut Sides, found: Sides| {
                sum.chosen += found.chosen;
                sum.rejected += found.rejected;
            };
            sums.loss += pair.loss;
            sums.likelihood += likelihood;
            add(&mut sums.record.rewards, pair.rewards);
            add(&mut sums.record.logps, pair.logps);
            sums.record.margin += pair.rewards.chosen - pair.rewards.rejected;
            sums.record.accuracy += f64::from(u8::from(pair.preferred));
            slopes.push(pair.slopes);
        }
        slopes
    }
}
