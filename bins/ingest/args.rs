//! The command line of `retune-ingest`.

use std::path::PathBuf;

use artifact::Split;
use clap::{Parser, ValueEnum};
use dataset::inputs::InputSet;
use serde::Serialize;

/// The value of `--split` that takes the splits from the names of the files.
pub(crate) const FILES: &str = "files";

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
      look first: the whole report, nothing written
  retune-ingest web/*.jsonl.zst --out data --language en --reject gopher,c4 --dedup near --pii mask --report
      web text as published filters take it, with a page that shows what they did
  retune-ingest rows.parquet --out - --rejects rejects.parquet | another-tool
      an Arrow IPC stream of the examples, their split as the last column";

/// Make examples of any data set, with every row accounted for
///
/// Reads JSONL, JSON, CSV, TSV, Parquet, Arrow IPC and text, plain or compressed with gzip, zstd,
/// bzip2 or xz, and writes
/// train.parquet, validation.parquet, test.parquet and rejects.parquet. Shapes known: alpaca, sharegpt, messages,
/// prompt-completion, text, preference. What a row cannot be used for, and why, stands in rejects.parquet.
#[derive(Parser, Debug, Serialize)]
#[command(name = "retune-ingest", allow_negative_numbers = true, after_help = EXAMPLES)]
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
    /// What one text is: document (a file), line, or a separator [default: document]
    #[arg(long, value_name = "HOW", help_heading = "Reading")]
    pub(crate) text_split: Option<String>,
    /// For each INPUT a text whose lines answer its lines, as in translation
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Reading")]
    #[serde(skip)]
    pub(crate) aligned: Vec<String>,
    /// A record that cannot be parsed stops the run (fail) or is set aside (reject)
    #[arg(long, value_enum, default_value_t = BadRecord::Fail, help_heading = "Reading")]
    pub(crate) on_bad_record: BadRecord,

    /// Least number of characters of an example
    #[arg(long, value_name = "N", help_heading = "Quality")]
    pub(crate) min_chars: Option<u64>,
    /// Largest number of characters of an example
    #[arg(long, value_name = "N", help_heading = "Quality")]
    pub(crate) max_chars: Option<u64>,
    /// Rules whose findings are counted, with examples: names or groups (turns, unicode, gopher, c4, fineweb), all, none
    #[arg(long, value_name = "RULES", default_value = dataset::quality::Rules::DEFAULT, help_heading = "Quality")]
    pub(crate) check: String,
    /// Rules whose findings set a row aside
    #[arg(long, value_name = "RULES", default_value = "none", help_heading = "Quality")]
    pub(crate) reject: String,
    /// What is done to all texts first: nfc or nfkc (Unicode normal forms), control (characters taken out)
    #[arg(long, value_name = "HOW", default_value = "none", help_heading = "Quality")]
    pub(crate) clean: String,
    /// Languages that may stay, such as en,de; rows that are of another for certain are set aside
    #[arg(long, value_name = "CODES", default_value = "", hide_default_value = true, help_heading = "Quality")]
    pub(crate) language: String,
    /// E-mail addresses, phone numbers, cards and keys: counted (flag), replaced (mask) or their rows set aside (reject)
    #[arg(long, value_enum, default_value_t = Pii::Off, help_heading = "Quality")]
    pub(crate) pii: Pii,

    /// Duplicates to set aside: exact content, or nearly the same words (MinHash)
    #[arg(long, value_enum, default_value_t = Dedup::Exact, help_heading = "Duplicates")]
    pub(crate) dedup: Dedup,
    /// Near duplicates: words in a run [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Duplicates")]
    pub(crate) near_ngram: Option<u16>,
    /// Near duplicates: least share of runs in common [default: 0.8]
    #[arg(long, value_name = "X", help_heading = "Duplicates")]
    pub(crate) near_similarity: Option<f64>,
    /// Near duplicates: bands of the signature; texts that agree in one are compared [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512), help_heading = "Duplicates")]
    pub(crate) near_bands: Option<u16>,
    /// Near duplicates: hashes in a band [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Duplicates")]
    pub(crate) near_rows: Option<u16>,
    /// Files of any known kind whose texts must not occur in the data: a run of 13 words in common counts
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Duplicates")]
    #[serde(skip)]
    pub(crate) decontaminate: Vec<String>,
    /// Tables with a column `id`, such as suspects.parquet of retune-evaluate: the rows of these ids are set aside
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Duplicates")]
    #[serde(skip)]
    pub(crate) exclude: Vec<String>,

    /// Shares of the splits, by hash of the content: a row stays in its split when others are added; `files` takes the
    /// splits from the names of files and folders [default: train=0.9,validation=0.05,test=0.05, or files where all INPUTs
    /// are folders of an earlier ingest]
    #[arg(long, value_name = "SHARES", help_heading = "Splits")]
    #[serde(skip)]
    split: Option<String>,
    /// Put all rows in one split
    #[arg(long = "as", value_name = "SPLIT", conflicts_with = "split", help_heading = "Splits")]
    pub(crate) all_as: Option<Part>,
    /// What is never in two splits: equal content, equal prompt, or rows of equal value in the column of this name
    #[arg(long, value_name = "content|prompt|COLUMN", default_value = "content", help_heading = "Splits")]
    pub(crate) split_by: String,
    /// Give each value of this column its shares of the splits, to less than one row
    #[arg(long, value_name = "COLUMN", help_heading = "Splits")]
    pub(crate) stratify: Option<String>,
    /// How often rows of a file count: PATTERN=WEIGHT, several by commas; 0.1 takes one in ten, 2 writes each twice
    #[arg(long, value_name = "WEIGHTS", default_value = "", hide_default_value = true, help_heading = "Splits")]
    pub(crate) mix: String,
    /// Answer for one part of N: the rows of N runs, I from 1 to N, are the rows of one
    #[arg(long, value_name = "I/N", help_heading = "Splits")]
    pub(crate) shard: Option<String>,

    /// Report and write nothing
    #[arg(long)]
    #[serde(skip)]
    pub(crate) dry_run: bool,
    /// Write report.html too: counts by source and reason, lengths, samples, the worst rows
    #[arg(long)]
    pub(crate) report: bool,
    /// With `--out -`: where the rejected rows go; without it they are counted and not kept
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) rejects: Option<PathBuf>,
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
    /// `--split` as given. Without it rows are shared out, but those of an earlier ingest stay in their splits.
    pub(crate) fn split(&self, found: &InputSet) -> &str {
        let by_content = self.split_by == "content" && self.stratify.is_none();
        match &self.split {
            Some(split) => split,
            None if found.of_earlier_ingest && by_content => FILES,
            None => "train=0.9,validation=0.05,test=0.05",
        }
    }

    /// All files that decide the result, aside from the inputs proper.
    pub(crate) fn other_files(&self) -> impl Iterator<Item = PathBuf> {
        self.decontaminate.iter().chain(&self.exclude).map(PathBuf::from)
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

/// `--pii`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pii {
    Off,
    Flag,
    Mask,
    Reject,
}

impl From<Pii> for dataset::quality::Pii {
    fn from(pii: Pii) -> Self {
        match pii {
            Pii::Off => Self::Off,
            Pii::Flag => Self::Flag,
            Pii::Mask => Self::Mask,
            Pii::Reject => Self::Reject,
        }
    }
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
