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
    /// Negative log-likelihood of the tokens that stand for text, nats: special tokens stand for none.
    pub text_loss_sum: f64,
    /// Bytes of that text in UTF-8.
    pub text_bytes: u64,
    /// Words of that text: what stands between white space.
    pub text_words: u64,
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
    /// Bits that a byte of the trained text costs; the tokenizer does not enter, so models with different ones compare.
    #[serde(flatten)]
    pub text: Option<TextFigures>,
}

/// Figures of text that do not depend on how it is cut into tokens, as lm-evaluation-harness defines them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TextFigures {
    /// −log₂-likelihood per byte.
    pub bits_per_byte: f64,
    /// exp(−log-likelihood per byte).
    pub byte_perplexity: f64,
    /// exp(−log-likelihood per word).
    pub word_perplexity: f64,
    /// Bytes of text.
    pub text_bytes: u64,
    /// Words of text.
    pub text_words: u64,
}

impl LossTotals {
    /// The sums of one example, added in token order.
    pub fn of_tokens(losses: &[f32], correct: &[bool]) -> Self {
        Self {
            loss_sum: losses.iter().map(|&loss| f64::from(loss)).sum(),
            tokens: losses.len() as u64,
            correct: correct.iter().filter(|&&correct| correct).count() as u64,
            ..Self::default()
        }
    }

    /// Adds another example's sums.
    pub fn add(&mut self, other: &Self) {
        self.loss_sum += other.loss_sum;
        self.tokens += other.tokens;
        self.correct += other.correct;
        self.text_loss_sum += other.text_loss_sum;
        self.text_bytes += other.text_bytes;
        self.text_words += other.text_words;
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
                text: self.text(),
            }
        })
    }

    fn text(&self) -> Option<TextFigures> {
        let per_byte = self.text_loss_sum / self.text_bytes as f64;
        (self.text_bytes > 0).then(|| TextFigures {
            bits_per_byte: per_byte / std::f64::consts::LN_2,
            byte_perplexity: per_byte.exp(),
            word_perplexity: (self.text_loss_sum / self.text_words.max(1) as f64).exp(),
            text_bytes: self.text_bytes,
            text_words: self.text_words,
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
        assert!(LossTotals::default().summary().is_none() && summary.text.is_none());
    }

    #[test]
    fn bytes_and_words_follow_the_harness() {
        let ln2 = std::f64::consts::LN_2;
        let totals =
            LossTotals { text_loss_sum: 8.0 * ln2, text_bytes: 4, text_words: 2, tokens: 1, ..LossTotals::default() };
        let text = totals.summary().and_then(|summary| summary.text).expect("text");
        assert!((text.bits_per_byte - 2.0).abs() < 1e-12 && (text.byte_perplexity - 4.0).abs() < 1e-12);
        assert!((text.word_perplexity - 16.0).abs() < 1e-9);
    }
}
