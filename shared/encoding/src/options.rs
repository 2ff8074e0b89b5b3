//! The choices of encoding, as enums that say what they mean.

use serde::{Deserialize, Serialize};

/// Which part of an example the model learns to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// What follows the last user message: all that the assistant writes to answer it, tool calls included.
    Completion,
    /// Every assistant message; of a prompt with completion, the completion.
    #[default]
    Assistant,
    /// The last assistant message alone.
    Last,
    /// Every token.
    All,
}

/// Which examples go through the chat template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Render {
    /// Chats do; a prompt with completion stands as it is.
    #[default]
    Auto,
    /// Both do.
    Chat,
    /// Neither does: prompt, completion and end token are joined as they are.
    Plain,
}

/// What happens to an example longer than the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The stage fails and lists the examples.
    #[default]
    Error,
    /// The end is cut off.
    Truncate,
    /// It is cut into as many pieces as needed. Each begins with the last token of the one before, so that each trained
    /// token is trained in one of them; pieces in which nothing is trained are left out.
    Split,
    /// It is left out.
    Drop,
}

/// How examples share rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One example a row.
    Off,
    /// Each example goes into the fullest row that still has room, longest first.
    #[default]
    BestFit,
}

/// What happens to a conversation whose earlier turns the template rewrites or drops once more follow, as templates of
/// reasoning models do with thoughts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewrittenTurns {
    /// The stage fails and says where.
    #[default]
    Error,
    /// Each trained turn becomes an example of its own: the conversation up to it, with that turn trained.
    Split,
}

/// How an example becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// What is trained.
    pub train_on: TrainOn,
    /// What goes through the chat template.
    pub render: Render,
    /// What happens where the template rewrites earlier turns.
    pub rewritten: RewrittenTurns,
}
