//! When a text ends.

use serde::{Deserialize, Serialize};

/// What ends a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Tokens that end the text; they are not part of it.
    pub tokens: Vec<u32>,
    /// Texts that end the text; it is cut before them.
    pub strings: Vec<String>,
    /// New tokens at most, for each prompt.
    pub max_new_tokens: usize,
    /// Tokens at most, prompt included: the model's context.
    pub context: usize,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// A stop token came: the model considers the text complete.
    StopToken,
    /// A stop string came.
    StopString,
    /// `max_new_tokens` were generated.
    Length,
    /// The context was full before `max_new_tokens`.
    Context,
    /// The prompt alone does not fit into the context; nothing was generated, nothing was cut.
    PromptTooLong,
    /// Generation was asked to stop.
    Interrupted,
}

impl Finish {
    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StopToken => "stop_token",
            Self::StopString => "stop_string",
            Self::Length => "length",
            Self::Context => "context",
            Self::PromptTooLong => "prompt_too_long",
            Self::Interrupted => "interrupted",
        }
    }
}
