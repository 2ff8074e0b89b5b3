//! The command line of `retune-ingest`.

use std::path::PathBuf;

use artifact::Split;
use clap::{Parser, ValueEnum};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  retune-ingest chats.jsonl --out data
      JSONL of a known shape: split 90/5/5 by content, exact duplicates set aside
  retune-ingest questions.csv --out data --map prompt=question,completion=answer
      name the columns
  retune-ingest tickets.csv --out data --map 'prompt=Classify: {text}\\nTopic:,completion=category'
      a template makes a classification table into examples
  retune-ingest squad.json --out data --records 'data[].paragraphs[].qas[]' \\
      --map 'prompt={context}\\n\\n{question},completion=answers[0].text'
      records inside records, with the fields of what is around them
  retune-ingest train.en.gz --aligned train.de.gz --out data
      line-aligned texts: one line is the prompt, its partner the completion
  retune-ingest stories.txt --text-split '<|endoftext|>' --out data
      running text, cut at a separator
  zcat big.jsonl.gz | retune-ingest - --out data --dry-run
      look first: the whole report, nothing written";

/// Make examples of any data set, with every row accounted for
///
/// Reads JSONL, JSON, CSV, TSV, Parquet, Arrow IPC and text, plain or compressed with gzip, zstd,
/// bzip2 or xz, and writes
/// train.parquet, validation.parquet, test.parquet and rejects.parquet. Shapes known: alpaca, sharegpt, messages,
/// prompt-completion, text, preference. What a row cannot be used for, and why, stands in rejects.parquet.
#[derive(Parser, Debug, Serialize)]
#[command(name = "retune-ingest", after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders, quoted globs, or `-` for standard input
    #[arg(required = true, value_name = "INPUT")]
    #[serde(skip)]
    pub(crate) inputs: Vec<String>,

    /// Shape of the records; auto finds it for each file
    #[arg(long, value_enum, default_value_t = Format::Auto, help_heading = "Reading")]
    pub(crate) format: Format,
    /// How records lie in the files, where endings and first bytes do not tell: jsonl, json, csv, tsv, parquet, arrow, text
    #[arg(long, value_name = "KIND", value_parser = dataset::inputs::Container::NAMES, help_heading = "Reading")]
    pub(crate) input_format: Option<String>,
    /// Character encoding of the files; auto tells UTF-8, UTF-16 and, for tables and text, Latin-1 by their bytes
    #[arg(long, value_name = "NAME", value_parser = dataset::inputs::Encoding::NAMES, help_heading = "Reading")]
    pub(crate) encoding: Option<String>,
    /// Where the records lie inside a document: `data[].paragraphs[].qas[]`; `*` takes each value of an object
    #[arg(long, value_name = "PATH", help_heading = "Reading")]
    pub(crate) records: Option<String>,
    /// Which field stands for what: TARGET=COLUMN, TARGET=a.b[0], TARGET='text with {column}'; several by commas
    #[arg(long, value_name = "TARGET=SOURCE", help_heading = "Reading")]
    pub(crate) map: Vec<String>,
    /// Columns to keep beside each example, several by commas; NAME=COLUMN renames
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', help_heading = "Reading")]
    pub(crate) keep: Vec<String>,
    /// What one text is: document (a file), line, or a separator
    #[arg(long, value_name = "HOW", default_value = "document", help_heading = "Reading")]
    pub(crate) text_split: String,
    /// For each INPUT a text whose lines answer its lines, as in translation
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Reading")]
    #[serde(skip)]
    pub(crate) aligned: Vec<String>,
    /// A record that cannot be parsed stops the run (fail) or is set aside (reject)
    #[arg(long, value_enum, default_value_t = BadRecord::Fail, help_heading = "Reading")]
    pub(crate) on_bad_record: BadRecord,

    /// Least number of characters of an example
    #[arg(long, value_name = "N", help_heading = "Filters")]
    pub(crate) min_chars: Option<u64>,
    /// Largest number of characters of an example
    #[arg(long, value_name = "N", help_heading = "Filters")]
    pub(crate) max_chars: Option<u64>,
    /// Duplicates to set aside: exact content, or nearly the same words (MinHash, similarity 0.8)
    #[arg(long, value_enum, default_value_t = Dedup::Exact, help_heading = "Filters")]
    pub(crate) dedup: Dedup,
    /// Files of any known kind whose texts must not occur in the data: a run of 13 words in common counts
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Filters")]
    #[serde(skip)]
    pub(crate) decontaminate: Vec<String>,

    /// Shares of the splits, by hash of the content: a row stays in its split when others are added
    #[arg(long, value_name = "SHARES", default_value = "train=0.9,validation=0.05,test=0.05", help_heading = "Splits")]
    pub(crate) split: String,
    /// Put all rows in one split
    #[arg(long = "as", value_name = "SPLIT", conflicts_with = "split", help_heading = "Splits")]
    pub(crate) all_as: Option<Part>,
    /// What is never in two splits: equal content, equal prompt, or rows of equal value in the column of this name
    #[arg(long, value_name = "content|prompt|COLUMN", default_value = "content", help_heading = "Splits")]
    pub(crate) split_by: String,

    /// Report and write nothing
    #[arg(long)]
    #[serde(skip)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) output: cli::Output,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) common: cli::Common,
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}

impl Args {
    /// All files that decide the result, aside from the inputs proper.
    pub(crate) fn other_files(&self) -> impl Iterator<Item = PathBuf> {
        self.decontaminate.iter().map(PathBuf::from)
    }
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    Auto,
    Alpaca,
    Sharegpt,
    Messages,
    PromptCompletion,
    Text,
    Preference,
}

impl Format {
    pub(crate) fn shape(self) -> Option<dataset::shape::Shape> {
        use dataset::shape::Shape;
        Some(match self {
            Self::Auto => return None,
            Self::Alpaca => Shape::Alpaca,
            Self::Sharegpt => Shape::Sharegpt,
            Self::Messages => Shape::Messages,
            Self::PromptCompletion => Shape::PromptCompletion,
            Self::Text => Shape::Text,
            Self::Preference => Shape::Preference,
        })
    }
}

/// `--on-bad-record`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BadRecord {
    Fail,
    Reject,
}

/// `--dedup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dedup {
    Off,
    Exact,
    Near,
}

/// `--as`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

impl From<Part> for Split {
    fn from(part: Part) -> Self {
        match part {
            Part::Train => Self::Train,
            Part::Validation => Self::Validation,
            Part::Test => Self::Test,
        }
    }
}
