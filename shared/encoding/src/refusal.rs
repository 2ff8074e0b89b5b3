//! Why one example cannot become tokens. Some reasons concern the example (it goes to the rejects), some the template
//! or the options (the stage fails, because every row would suffer).

use crate::EncodingError;
use artifact::Code;

/// One example was not encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The template renders the beginning of the conversation otherwise once more messages follow.
    #[error(
        "the chat template of {origin} rewrites earlier turns: message {message} reads …{alone}… when the conversation \
         ends there, and …{followed}… when it goes on"
    )]
    Rewritten {
        /// Where the template comes from.
        origin: String,
        /// Zero-based message.
        message: usize,
        /// The text where the two renderings part, as rendered up to this message.
        alone: String,
        /// The same place in the whole conversation.
        followed: String,
    },
    /// What the assistant says is not in the rendered text.
    #[error("the chat template of {origin} leaves out or changes what message {message} says: {content:?}")]
    ContentLost {
        /// Where the template comes from.
        origin: String,
        /// Zero-based message.
        message: usize,
        /// The beginning of the content.
        content: String,
    },
    /// The template does not close an assistant turn with a special token.
    #[error(
        "the chat template of {origin} does not end the assistant's turn (message {message}) with a token of the \
         vocabulary at which generation can stop: {tail:?} follows the answer"
    )]
    NoStop {
        /// Where the template comes from.
        origin: String,
        /// Zero-based message.
        message: usize,
        /// What follows the content.
        tail: String,
    },
    /// The model has no end token to close a text with.
    #[error("the tokenizer names no eos_token, or its vocabulary lacks it, so a text has no end to learn")]
    NoEnd,
    /// The text begins with more than one start token.
    #[error(
        "the encoded text begins with {found} times {token}; exactly one is right: remove it from the data, or from the \
         template"
    )]
    DoubledStart {
        /// The start token.
        token: String,
        /// How many there are.
        found: usize,
    },
    /// The template or the tokenizer failed on this example.
    #[error(transparent)]
    Failed(#[from] EncodingError),
    /// The example's own fields are wrong.
    #[error("{0}")]
    BadRecord(String),
    /// No token of the example would be trained.
    #[error("no token would be trained: {0}")]
    NothingTrained(String),
}

impl Refusal {
    /// Whether the reason lies in this example alone, so that it belongs in the rejects.
    pub fn concerns_the_row_alone(&self) -> bool {
        match self {
            // Where the template doubles it, no row is left, which fails the stage.
            Self::BadRecord(_) | Self::NothingTrained(_) | Self::DoubledStart { .. } => true,
            // Templates raise exceptions about the conversation at hand: role order, unknown roles.
            Self::Failed(EncodingError::Template { hint, .. }) => hint.is_empty(),
            Self::Failed(EncodingError::Tokenizer { .. }) => true,
            _ => false,
        }
    }

    /// Whether a turn of its own would be rendered whole: only what follows it makes the template change it.
    pub(crate) fn is_about_earlier_turns(&self) -> bool {
        matches!(self, Self::Rewritten { .. } | Self::ContentLost { .. })
    }

    /// The code under which the row is rejected.
    pub fn code(&self) -> Code {
        match self {
            Self::NothingTrained(_) => Code::NothingTrained,
            _ => Code::BadRecord,
        }
    }

    /// The way out.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Rewritten { .. } => Some(
                "make each turn an example of its own with --rewritten-turns split, train on the last answer of each \
                 conversation with --train-on last, or pass a template that keeps earlier turns as they were with \
                 --chat-template FILE; where the prompt alone differs, the template may have a switch, such as \
                 --template-variable enable_thinking=false",
            ),
            Self::ContentLost { .. } => Some(
                "pass a template that prints the content as it is with --chat-template FILE; where it drops \
                     earlier thoughts alone, make each turn an example of its own with --rewritten-turns split",
            ),
            Self::NoStop { .. } => Some(
                "pass a template that prints eos_token (or the model's end-of-turn token) after each answer with \
                 --chat-template FILE; without one the model would never learn to stop",
            ),
            Self::NoEnd => Some("add eos_token to tokenizer_config.json"),
            Self::Failed(error) => error.hint(),
            Self::BadRecord(_) | Self::NothingTrained(_) | Self::DoubledStart { .. } => None,
        }
    }
}
