//! The command line of `retune-tokenize`.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use encoding::{Day, NewTokenizer, Overflow, Packing, Render, RewrittenTurns, TrainOn};
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
    group = clap::ArgGroup::new("tokenizer").required(true).args(["model", "new_tokenizer"]),
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-tokenize data --model base --out tokens
  retune-tokenize data --model base --out tokens --max-length 1024 --overflow truncate
  retune-tokenize data --model base --out tokens --train-on last   (the last answer of each chat)
  retune-tokenize data --model base --out tokens --chat-template chat.jinja
  retune-tokenize data --new-tokenizer bpe:8000 --out tokens       (train a tokenizer on the data)
  retune-tokenize train.parquet --validation held-out.parquet --model base --out tokens
  retune-ingest chats.jsonl --out - | retune-tokenize - --model base --out - | consumer     (Arrow IPC streams)"
)]
pub(crate) struct Args {
    /// Folder written by retune-ingest, or a Parquet file with the column messages, text, or prompt and completion, or -
    /// for an Arrow IPC stream of these on standard input (its column split, if any, names the split)
    #[arg(value_name = "DATA")]
    pub(crate) data: PathBuf,

    /// Parquet file of validation examples, where DATA is a file
    #[arg(long, value_name = "FILE")]
    pub(crate) validation: Option<PathBuf>,

    /// Parquet file of test examples, where DATA is a file
    #[arg(long, value_name = "FILE")]
    pub(crate) test: Option<PathBuf>,

    /// The model whose tokenizer and chat template to use: a Hugging Face folder, or a name on a hub
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) model: Option<String>,

    /// Train a tokenizer on the training split instead: byte-level BPE (bpe:SIZE) or Unigram (unigram:SIZE)
    #[arg(long, value_name = "KIND:SIZE")]
    pub(crate) new_tokenizer: Option<NewTokenizer>,

    /// A special token of the new tokenizer: TOKEN, or eos=TOKEN, pad=TOKEN, bos=TOKEN; may be repeated
    #[arg(long, value_name = "TOKEN", requires = "new_tokenizer", conflicts_with = "model")]
    pub(crate) special_token: Vec<String>,

    /// Tokens in a row [default: what tokenizer and model allow, at most 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) max_length: Option<u32>,

    /// What to do with examples longer than a row
    #[arg(long, value_name = "POLICY", default_value = "error", help_heading = "Rows",
          value_parser = choice::<Overflow>(&["error", "truncate", "split", "drop"]))]
    pub(crate) overflow: Overflow,

    /// Take the I-th of N parts of the examples, dealt in the windows that are packed together (8192 examples, fewer where
    /// rows are long); the rows of all N runs are those of one run without
    #[arg(long, value_name = "I/N", default_value = "1/1", help_heading = "Rows")]
    pub(crate) shard: Shard,

    /// Whether examples share rows; without, they stand by length, so that neighbours need little padding
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

    /// What to do where the template rewrites or drops earlier turns: fail, or make each trained turn an example
    #[arg(long, value_name = "POLICY", default_value = "error", help_heading = "Masking",
          value_parser = choice::<RewrittenTurns>(&["error", "split"]))]
    pub(crate) rewritten_turns: RewrittenTurns,

    /// Use this chat template instead of the model's
    #[arg(long, value_name = "FILE", help_heading = "Chat template")]
    pub(crate) chat_template: Option<PathBuf>,

    /// The day that a template prints as today
    #[arg(long, value_name = "YYYY-MM-DD", help_heading = "Chat template")]
    pub(crate) template_date: Option<Day>,

    /// Give the template a variable (JSON, else text), such as enable_thinking=false
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = "Chat template")]
    pub(crate) template_variable: Vec<(String, serde_json::Value)>,

    /// Where rejects.parquet goes, where --out is - (an Arrow IPC stream on standard output)
    #[arg(long, value_name = "DIR", help_heading = "Rows")]
    pub(crate) rejects: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: cli::Output,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

/// One of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From zero.
    index: u64,
    count: u64,
}

impl Shard {
    /// How many parts there are.
    pub(crate) fn count(self) -> u64 {
        self.count
    }

    /// Whether the n-th window of examples is in this part.
    pub(crate) fn holds(self, window: u64) -> bool {
        window % self.count == self.index
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
        match numbers {
            Some((i, n)) if (1..=n).contains(&i) => Ok(Self { index: i - 1, count: n }),
            _ => Err(format!("expected I/N with I from 1 to N, such as 2/8, found `{text}`")),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.index + 1, self.count)
    }
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
    let name = name.trim();
    if name.is_empty() || ["messages", "tools", "add_generation_prompt"].contains(&name) {
        return Err(format!("expected the name of a variable that rows do not fill themselves, found `{name}`"));
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.into()));
    Ok((name.to_owned(), value))
}
