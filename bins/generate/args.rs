//! The command line of `retune-generate`.

use std::path::PathBuf;

use clap::Parser;

/// Let a model write: continue one prompt, answer a file of prompts, or hold a conversation.
///
/// The text goes to standard output, all else to standard error. A prompt goes through the model's chat template where
/// it has one, as a message of the user; --raw continues the prompt as it stands.
#[derive(Debug, Parser)]
#[command(
    name = "retune-generate",
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-generate --model base --adapter model --prompt 'Where is my parcel?'
  retune-generate --model base --prompt 'Once upon a time' --raw --max-new-tokens 100
  retune-generate --model base --prompts questions.txt --json       a prompt on each line
  retune-generate --model base --adapter model --chat               /exit ends, /reset forgets
  echo 'Hello' | retune-generate --model base --prompts -"
)]
pub(crate) struct Args {
    /// The model, or the base under the adapter: a Hugging Face folder, or a name on a hub such as org/name
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) model: String,

    /// A tuned adapter: a PEFT folder, such as retune-train writes
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) adapter: Option<PathBuf>,

    /// Answer or continue this text
    #[arg(long, value_name = "TEXT", group = "input", allow_hyphen_values = true, help_heading = "What to write")]
    pub(crate) prompt: Option<String>,

    /// Answer each prompt of a file: one on each line, or JSONL, CSV or Parquet with a column prompt; - for standard
    /// input
    #[arg(long, value_name = "FILE", group = "input", help_heading = "What to write")]
    pub(crate) prompts: Option<PathBuf>,

    /// Hold a conversation at the terminal
    #[arg(long, group = "input", help_heading = "What to write")]
    pub(crate) chat: bool,

    /// Instructions for the model, as a message of the system before all others
    #[arg(long, value_name = "TEXT", help_heading = "What to write")]
    pub(crate) system: Option<String>,

    /// Continue prompts as they stand, without the chat template
    #[arg(long, conflicts_with_all = ["chat", "system", "chat_template"], help_heading = "What to write")]
    pub(crate) raw: bool,

    /// Use this chat template instead of the model's
    #[arg(long, value_name = "FILE", help_heading = "What to write")]
    pub(crate) chat_template: Option<PathBuf>,

    /// New tokens at most, for each prompt
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Generation")]
    pub(crate) max_new_tokens: u32,

    /// 0 takes the most likely token each time; more draws at random
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, help_heading = "Generation")]
    pub(crate) temperature: f32,

    /// Draw among so many of the most likely tokens
    #[arg(long, value_name = "N", help_heading = "Generation")]
    pub(crate) top_k: Option<usize>,

    /// Draw among the most likely tokens that together have this probability
    #[arg(long, value_name = "P", help_heading = "Generation")]
    pub(crate) top_p: Option<f32>,

    /// Draw among tokens at least this share as likely as the most likely one
    #[arg(long, value_name = "P", help_heading = "Generation")]
    pub(crate) min_p: Option<f32>,

    /// Above 1 makes tokens less likely that the text already has
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Generation")]
    pub(crate) repetition_penalty: f32,

    /// A text that ends the answer; may be given several times
    #[arg(long, value_name = "TEXT", help_heading = "Generation")]
    pub(crate) stop: Vec<String>,

    /// Seed of the draws; the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 42, help_heading = "Generation")]
    pub(crate) seed: u64,

    /// Prompts at a time; changes speed and memory, never the text
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Generation")]
    pub(crate) batch_size: u32,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}
