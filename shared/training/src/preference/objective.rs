//! What a preference pair is asked for: losses over the log-probabilities of a chosen and a rejected answer, each with its
//! derivatives. No tensor is needed: an answer's log-probability is a number, and so is its part in the gradient.
//!
//! DPO: arXiv:2305.18290; its smoothed form section 3.1 of "A note on DPO with noisy preferences" (Mitchell, 2023), its
//! unbiased one arXiv:2403.00409; hinge arXiv:2305.10425; IPO arXiv:2310.12036, normalised by length as TRL does; the
//! added likelihood of the chosen answer arXiv:2404.19733. ORPO: arXiv:2403.07691.

use serde::{Deserialize, Serialize};

use crate::TrainingError;

/// What training makes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "loss")]
pub enum Objective {
    /// The negative log-likelihood of the trained tokens.
    #[default]
    Sft,
    /// Direct preference optimisation, against the model as it was when training began.
    Dpo(Dpo),
    /// Odds ratio preference optimisation, beside the likelihood of the chosen text; needs no reference.
    Orpo {
        /// Weight of the odds ratio.
        beta: f64,
    },
}

/// Settings of DPO.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Dpo {
    /// How much departing from the reference costs.
    pub beta: f64,
    /// Shape of the loss.
    pub loss_type: DpoLoss,
    /// Chance that a pair is labelled the wrong way round.
    pub label_smoothing: f64,
    /// Weight of the chosen answer's negative log-likelihood beside the preference.
    pub rpo_alpha: f64,
}

/// Shape of DPO's loss over the scaled difference of the log-ratios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpoLoss {
    /// The negative log-sigmoid.
    #[default]
    Sigmoid,
    /// What lacks to a margin of one.
    Hinge,
    /// The squared distance to a margin.
    Ipo,
    /// The sigmoid, corrected for labels that are wrong with the chance of `label_smoothing`.
    Robust,
}

/// A number for the chosen answer and one for the rejected.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sides {
    /// Of the chosen answer.
    pub chosen: f64,
    /// Of the rejected answer.
    pub rejected: f64,
}

/// What is known of a pair when its loss is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairFacts {
    /// Log-probabilities of the answers.
    pub(crate) logps: Sides,
    /// The same under the reference; not looked at by ORPO.
    pub(crate) reference: Sides,
    /// Tokens of the answers.
    pub(crate) tokens: Sides,
}

/// Loss of a pair, its derivatives by the log-probabilities, and the rewards that its policy implies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairLoss {
    pub(crate) loss: f64,
    pub(crate) slopes: Sides,
    pub(crate) rewards: Sides,
    /// The log-probabilities as they are reported: summed for DPO, per token for ORPO.
    pub(crate) logps: Sides,
    /// Whether the chosen answer has the higher reward.
    pub(crate) preferred: bool,
}

impl Objective {
    /// Whether the rows are pairs.
    pub fn is_preference(&self) -> bool {
        !matches!(self, Self::Sft)
    }

    /// Whether the pairs need their log-probabilities under the reference.
    pub fn needs_reference(&self) -> bool {
        matches!(self, Self::Dpo(_))
    }

    /// Weight of the negative log-likelihood per token of the chosen side, and whether its prompt counts.
    pub(crate) fn likelihood(&self) -> Option<(f64, bool)> {
        match self {
            Self::Dpo(dpo) if dpo.rpo_alpha > 0.0 => Some((dpo.rpo_alpha, false)),
            // TRL counts the prompt too.
            Self::Orpo { .. } => Some((1.0, true)),
            _ => None,
        }
    }

    /// Into how many losses a micro-batch of so many rows is parted: each answer of a pair has its own, and the prompt where
    /// it counts.
    pub(crate) fn losses(&self, rows: usize) -> usize {
        match self {
            Self::Sft => 1,
            _ => rows * if matches!(self.likelihood(), Some((_, true))) { 3 } else { 2 },
        }
    }

    /// The loss of a pair, without its likelihood.
    pub(crate) fn of(&self, facts: &PairFacts) -> PairLoss {
        match self {
            Self::Sft => unreachable!("rows of SFT are no pairs"),
            Self::Dpo(dpo) => dpo.of(facts),
            Self::Orpo { beta } => odds_ratio(*beta, facts),
        }
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        let range = |name, found: f64, holds: bool, expected| {
            if holds { Ok(()) } else { Err(TrainingError::Option { name, found, expected }) }
        };
        match *self {
            Self::Sft => Ok(()),
            Self::Orpo { beta } => range("beta", beta, beta >= 0.0 && beta.is_finite(), "0 or more"),
            Self::Dpo(Dpo { beta, loss_type, label_smoothing, rpo_alpha }) => {
                range("beta", beta, beta > 0.0 && beta.is_finite(), "a number above 0")?;
                let smoothed = matches!(loss_type, DpoLoss::Sigmoid | DpoLoss::Robust);
                let most = if smoothed { 0.5 } else { f64::MIN_POSITIVE };
                let expected = if smoothed { "from 0 to below 0.5" } else { "0 with this loss type" };
                range("dpo_label_smoothing", label_smoothing, (0.0..most).contains(&label_smoothing), expected)?;
                range("rpo_alpha", rpo_alpha, rpo_alpha >= 0.0 && rpo_alpha.is_finite(), "0 or more")
            }
        }
    }
}

impl Dpo {
    fn of(&self, facts: &PairFacts) -> PairLoss {
        let Self { beta, label_smoothing: smoothing, .. } = *self;
        let ratios = Sides {
            chosen: facts.logps.chosen - facts.reference.chosen,
            rejected: facts.logps.rejected - facts.reference.rejected,
        };
        let delta = beta * (ratios.chosen - ratios.rejected);
        // Derivatives by `delta` of −log σ(delta) and −log σ(−delta).
        let (towards, away) = (-sigmoid(-delta), sigmoid(delta));
        let (loss, slope) = match self.loss_type {
            DpoLoss::Sigmoid => (
                -(1.0 - smoothing) * log_sigmoid(delta) - smoothing * log_sigmoid(-delta),
                (1.0 - smoothing) * towards + smoothing * away,
            ),
            DpoLoss::Robust => {
                let scale = 1.0 / (1.0 - 2.0 * smoothing);
                (
                    scale * (-(1.0 - smoothing) * log_sigmoid(delta) + smoothing * log_sigmoid(-delta)),
                    scale * ((1.0 - smoothing) * towards - smoothing * away),
                )
            }
            DpoLoss::Hinge => ((1.0 - delta).max(0.0), if delta < 1.0 { -1.0 } else { 0.0 }),
            DpoLoss::Ipo => return self.ipo(facts, ratios),
        };
        let slopes = Sides { chosen: beta * slope, rejected: -beta * slope };
        self.with_rewards(loss, slopes, facts, ratios)
    }

    fn ipo(&self, facts: &PairFacts, ratios: Sides) -> PairLoss {
        let Sides { chosen, rejected } = facts.tokens;
        let distance = ratios.chosen / chosen - ratios.rejected / rejected - 1.0 / (2.0 * self.beta);
        let slopes = Sides { chosen: 2.0 * distance / chosen, rejected: -2.0 * distance / rejected };
        self.with_rewards(distance * distance, slopes, facts, ratios)
    }

    fn with_rewards(&self, loss: f64, slopes: Sides, facts: &PairFacts, ratios: Sides) -> PairLoss {
        let rewards = Sides { chosen: self.beta * ratios.chosen, rejected: self.beta * ratios.rejected };
        // What 32-bit arithmetic cannot tell apart is equal: a policy that is its reference prefers nothing.
        let sides = [facts.logps, facts.reference].into_iter().flat_map(|sides| [sides.chosen, sides.rejected]);
        let resolution = self.beta * f64::from(f32::EPSILON) * sides.map(f64::abs).sum::<f64>();
        let preferred = rewards.chosen - rewards.rejected > resolution;
        PairLoss { loss, slopes, rewards, logps: facts.logps, preferred }
    }
}

/// ORPO's part of the loss, over log-probabilities per token.
fn odds_ratio(beta: f64, facts: &PairFacts) -> PairLoss {
    let logps = Sides {
        chosen: facts.logps.chosen / facts.tokens.chosen,
        rejected: facts.logps.rejected / facts.tokens.rejected,
    };
    // log(1 − p), and the derivative of the log-odds log p − log(1 − p) by log p: 1 / (1 − p).
    let log_rest = |logp: f64| (-logp.min(-f64::EPSILON).exp_m1()).ln();
    let steepness = |logp: f64| 1.0 / -logp.min(-f64::EPSILON).exp_m1();
    let log_odds = (logps.chosen - logps.rejected) - (log_rest(logps.chosen) - log_rest(logps.rejected));
    let slope = -beta * sigmoid(-log_odds);
    PairLoss {
        loss: -beta * log_sigmoid(log_odds),
        slopes: Sides {
            chosen: slope * steepness(logps.chosen) / facts.tokens.chosen,
            rejected: -slope * steepness(logps.rejected) / facts.tokens.rejected,
        },
        rewards: Sides { chosen: beta * logps.chosen, rejected: beta * logps.rejected },
        logps,
        preferred: logps.chosen > logps.rejected,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log σ(x)` without overflow.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dpo(loss_type: DpoLoss, label_smoothing: f64) -> Objective {
        Objective::Dpo(Dpo { beta: 0.1, loss_type, label_smoothing, rpo_alpha: 0.0 })
    }

    #[test]
    fn untrained_pairs_cost_what_the_formula_says() {
        let logps = Sides { chosen: -12.0, rejected: -7.0 };
        let facts = PairFacts { logps, reference: logps, tokens: Sides { chosen: 4.0, rejected: 3.0 } };
        let loss = |objective: Objective| objective.of(&facts).loss;
        assert!((loss(dpo(DpoLoss::Sigmoid, 0.0)) - 2f64.ln()).abs() < 1e-12);
        assert!((loss(dpo(DpoLoss::Sigmoid, 0.3)) - 2f64.ln()).abs() < 1e-12);
        assert!((loss(dpo(DpoLoss::Robust, 0.3)) - 2f64.ln()).abs() < 1e-12);
        assert!((loss(dpo(DpoLoss::Hinge, 0.0)) - 1.0).abs() < 1e-12);
        assert!((loss(dpo(DpoLoss::Ipo, 0.0)) - 25.0).abs() < 1e-12);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(dpo(DpoLoss::Sigmoid, 0.1).check().is_ok());
        for (objective, name) in [
            (dpo(DpoLoss::Sigmoid, 0.5), "dpo_label_smoothing"),
            (dpo(DpoLoss::Ipo, 0.1), "dpo_label_smoothing"),
            (Objective::Orpo { beta: f64::NAN }, "beta"),
        ] {
            assert!(objective.check().unwrap_err().to_string().contains(name), "{objective:?}");
        }
    }

    proptest! {
        #[test]
        fn slopes_are_the_derivatives(
            logps in (-40.0..-0.5f64, -40.0..-0.5f64),
            reference in (-40.0..-0.5f64, -40.0..-0.5f64),
            tokens in (1u8..9, 1u8..9),
        ) {
            let objectives = [
                dpo(DpoLoss::Sigmoid, 0.0),
                dpo(DpoLoss::Sigmoid, 0.2),
                dpo(DpoLoss::Robust, 0.2),
                dpo(DpoLoss::Hinge, 0.0),
                dpo(DpoLoss::Ipo, 0.0),
                Objective::Orpo { beta: 0.3 },
            ];
            for objective in objectives {
                let of = |chosen: f64, rejected: f64| objective.of(&PairFacts {
                    logps: Sides { chosen, rejected },
                    reference: Sides { chosen: reference.0, rejected: reference.1 },
                    tokens: Sides { chosen: f64::from(tokens.0), rejected: f64::from(tokens.1) },
                });
                let step = 1e-5;
                let found = of(logps.0, logps.1).slopes;
                let chosen = (of(logps.0 + step, logps.1).loss - of(logps.0 - step, logps.1).loss) / (2.0 * step);
                let rejected = (of(logps.0, logps.1 + step).loss - of(logps.0, logps.1 - step).loss) / (2.0 * step);
                let near = |found: f64, expected: f64| (found - expected).abs() < 1e-5 * (1.0 + expected.abs());
                prop_assert!(near(found.chosen, chosen), "{objective:?}: {found:?}, {chosen}");
                prop_assert!(near(found.rejected, rejected), "{objective:?}: {found:?}, {rejected}");
            }
        }
    }
}
