//! Loss, perplexity and token accuracy from sums over tokens, so that no batch size enters.

use serde::Serialize;

/// Sums over trained tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossTotals {
    /// Negative log-likelihood, nats.
    pub loss_sum: f64,
    /// Trained tokens.
    pub tokens: u64,
    /// Tokens whose most likely prediction was right.
    pub correct: u64,
}

/// What the sums mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossSummary {
    /// Nats per trained token.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Share of trained tokens whose most likely prediction was right, 0 to 1.
    pub token_accuracy: f64,
    /// Tokens that were counted.
    pub trained_tokens: u64,
}

impl LossTotals {
    /// The sums of one example, added in token order.
    pub fn of_tokens(losses: &[f32], correct: &[bool]) -> Self {
        Self {
            loss_sum: losses.iter().map(|&loss| f64::from(loss)).sum(),
            tokens: losses.len() as u64,
            correct: correct.iter().filter(|&&correct| correct).count() as u64,
        }
    }

    /// Adds another example's sums.
    pub fn add(&mut self, other: &Self) {
        self.loss_sum += other.loss_sum;
        self.tokens += other.tokens;
        self.correct += other.correct;
    }

    /// Means over tokens; none where no token was trained.
    pub fn summary(&self) -> Option<LossSummary> {
        (self.tokens > 0).then(|| {
            let loss = self.loss_sum / self.tokens as f64;
            LossSummary {
                loss,
                perplexity: loss.exp(),
                token_accuracy: self.correct as f64 / self.tokens as f64,
                trained_tokens: self.tokens,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_tokens_not_over_examples() {
        let mut totals = LossTotals::of_tokens(&[1.0, 1.0, 1.0], &[true, false, false]);
        totals.add(&LossTotals::of_tokens(&[5.0], &[true]));
        let summary = totals.summary().expect("tokens");
        assert_eq!((summary.loss, summary.token_accuracy, summary.trained_tokens), (2.0, 0.5, 4));
        assert!((summary.perplexity - 2f64.exp()).abs() < 1e-12);
        assert!(LossTotals::default().summary().is_none());
    }
}
