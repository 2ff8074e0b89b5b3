//! The command line of `retune-tokenize`.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use encoding::{Day, NewTokenizer, Overflow, Packing, Render, TrainOn};
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// Turn examples into tokens: chat template, loss mask, packing.
///
/// Reads a folder of retune-ingest (or Parquet files with the same columns) and a model's tokenizer; writes rows of
/// input_ids, labels and position_ids that any Hugging Face trainer can read, each token with its source, and the
/// tokenizer with the chat template in use. Every row that is left out or shortened is in rejects.parquet.
#[derive(Debug, Parser)]
#[command(
    name = "retune-tokenize",
    version,
    after_help = "\
Examples:
  retune-tokenize data --model base --out tokens
  retune-tokenize data --model base --out tokens --max-length 1024 --overflow truncate
  retune-tokenize data --model base --out tokens --train-on last   (the last answer of each chat)
  retune-tokenize data --model base --out tokens --chat-template chat.jinja
  retune-tokenize data --new-tokenizer bpe:8000 --out tokens       (train a tokenizer on the data)
  retune-tokenize train.parquet --validation held-out.parquet --model base --out tokens"
)]
pub(crate) struct Args {
    /// Folder written by retune-ingest, or a Parquet file with the column messages, text, or prompt and completion
    #[arg(value_name = "DATA")]
    pub(crate) data: PathBuf,

    /// Parquet file of validation examples, where DATA is a file
    #[arg(long, value_name = "FILE")]
    pub(crate) validation: Option<PathBuf>,

    /// Parquet file of test examples, where DATA is a file
    #[arg(long, value_name = "FILE")]
    pub(crate) test: Option<PathBuf>,

    /// The model whose tokenizer and chat template to use: a local Hugging Face folder
    #[arg(long, value_name = "DIR|NAME", required_unless_present = "new_tokenizer")]
    pub(crate) model: Option<String>,

    /// Train a tokenizer on the training split instead: byte-level BPE with SIZE entries
    #[arg(long, value_name = "bpe:SIZE", conflicts_with = "model")]
    pub(crate) new_tokenizer: Option<NewTokenizer>,

    /// Tokens in a row [default: what tokenizer and model allow, at most 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) max_length: Option<u32>,

    /// What to do with examples longer than a row
    #[arg(long, value_name = "POLICY", default_value = "error", help_heading = "Rows",
          value_parser = choice::<Overflow>(&["error", "truncate", "split", "drop"]))]
    pub(crate) overflow: Overflow,

    /// Whether examples share rows
    #[arg(long, value_name = "MODE", default_value = "best-fit", help_heading = "Rows",
          value_parser = choice::<Packing>(&["off", "best-fit"]))]
    pub(crate) pack: Packing,

    /// What is learnt: all that answers the last user message, every assistant turn, the last one, or every token
    #[arg(long, value_name = "PART", default_value = "assistant", help_heading = "Masking",
          value_parser = choice::<TrainOn>(&["completion", "assistant", "last", "all"]))]
    pub(crate) train_on: TrainOn,

    /// What goes through the chat template: chats, prompts with completion too, or nothing
    #[arg(long, value_name = "WHAT", default_value = "auto", help_heading = "Masking",
          value_parser = choice::<Render>(&["auto", "chat", "plain"]))]
    pub(crate) render: Render,

    /// Use this chat template instead of the model's
    #[arg(long, value_name = "FILE", help_heading = "Chat template")]
    pub(crate) chat_template: Option<PathBuf>,

    /// The day that a template prints as today
    #[arg(long, value_name = "YYYY-MM-DD", help_heading = "Chat template")]
    pub(crate) template_date: Option<Day>,

    /// Give the template a variable (JSON, else text), such as enable_thinking=false
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = "Chat template")]
    pub(crate) template_variable: Vec<(String, serde_json::Value)>,

    #[command(flatten)]
    pub(crate) output: cli::Output,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Parses one of the words that the library's enum is written as.
fn choice<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .map(|word| serde_json::from_value(serde_json::Value::String(word)).expect("each word is a variant"))
}

fn variable(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, found `{text}`"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.into()));
    Ok((name.trim().to_owned(), value))
}
