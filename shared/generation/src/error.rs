//! What can go wrong while generating.

use model::ModelError;

/// Generation failed.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The model refused its input or its arithmetic failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The logits could not be read.
    #[error("the logits could not be read: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A prompt without a token.
    #[error("prompt {} has no token: expected at least one, such as the start-of-text token", prompt + 1)]
    EmptyPrompt {
        /// Zero-based prompt.
        prompt: usize,
    },
    /// The model's output is not a number.
    #[error(
        "the model gave a logit that is not a number for prompt {} after {tokens} new tokens: its weights are damaged or its arithmetic overflowed",
        prompt + 1
    )]
    NotANumber {
        /// Zero-based prompt.
        prompt: usize,
        /// New tokens before it.
        tokens: usize,
    },
    /// Tokens could not be turned into text.
    #[error("tokens could not be turned into text: {0}")]
    Text(Box<dyn std::error::Error + Send + Sync>),
    /// An option outside its range.
    #[error("{option} is {found}: expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}
