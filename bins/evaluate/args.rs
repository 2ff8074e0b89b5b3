//! The command line of `retune-evaluate`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure loss, perplexity and token accuracy of a model on tokens, beside its base, and say whether it overfits.
///
/// Reads a folder of retune-tokenize (or any Parquet file with the columns input_ids, labels and position_ids) and a
/// Hugging Face model folder. Writes metrics.json, examples.parquet with the loss of each example, suspects.parquet with
/// rows that stand out, and report.html (the same as report.md and report.json). The verdict on overfitting comes from the
/// metrics.parquet that retune-train left beside the tuned model. With --compare it sets finished runs side by side.
#[derive(Debug, Parser)]
#[command(
    name = "retune-evaluate",
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-evaluate tokens --model base --adapter model --baseline --out eval   tuned adapter beside its base
  retune-evaluate tokens --model model --baseline=base --out eval             whole tuned model beside its base
  retune-evaluate tokens --model base --split train --out eval                on the training rows
  retune-evaluate held-out.parquet --model base --out eval                    tokens that another tool wrote
  retune-evaluate tokens --model base --adapter model --baseline --data data --general wiki.txt --out eval
  retune-evaluate --compare run/a run/b                                       what changed between two runs"
)]
pub(crate) struct Args {
    /// Folder written by retune-tokenize, or a Parquet file with the columns input_ids, labels and position_ids
    #[arg(value_name = "TOKENS", required_unless_present = "compare", conflicts_with = "compare")]
    pub(crate) tokens: Option<PathBuf>,

    /// The model, or the base under the adapter: a Hugging Face folder, or a name on a hub such as org/name
    #[arg(long, value_name = "DIR|NAME", required_unless_present = "compare", conflicts_with = "compare")]
    pub(crate) model: Option<String>,

    /// The tuned adapter: a PEFT folder, such as retune-train writes
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) adapter: Option<PathBuf>,

    /// Which splits of the folder to measure, several by commas; the figures at the top are those of the first
    #[arg(long, value_enum, value_delimiter = ',', default_value = "validation")]
    pub(crate) split: Vec<SplitName>,

    /// Measure the base too: the model without its adapter, or for a whole tuned model the one in =DIR|NAME
    #[arg(long, value_name = "DIR|NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) baseline: Option<String>,

    /// The folder of retune-ingest that was tokenized: figures for each value of the columns that it kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// General text, such as an encyclopedia's: what tuning made the model forget of it; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) general: Vec<PathBuf>,

    /// Multiple-choice questions (prompt, choices, answer) to be answered by log-likelihood; a space is put before a choice
    /// that begins with none
    #[arg(long, value_name = "FILE")]
    pub(crate) choices: Option<PathBuf>,

    /// Set finished runs side by side instead: folders of evaluate, test or train, or with such folders in them. The tables go
    /// to standard output, long values cut to its width; --json and --out have them whole
    #[arg(long, value_name = "RUN", num_args = 2..)]
    pub(crate) compare: Vec<PathBuf>,

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

/// A split on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitName {
    /// What the model learnt from
    Train,
    /// What decided when to stop
    Validation,
    /// What nobody looked at
    Test,
    /// Every one that the folder has, validation first
    All,
}

impl SplitName {
    /// The splits that some words name, each once, in order.
    pub(crate) fn splits(names: &[Self]) -> Vec<artifact::Split> {
        use artifact::Split;
        let mut splits: Vec<Split> = Vec::new();
        for name in names {
            let named: &[Split] = match name {
                Self::Train => &[Split::Train],
                Self::Validation => &[Split::Validation],
                Self::Test => &[Split::Test],
                Self::All => &[Split::Validation, Split::Test, Split::Train],
            };
            splits.extend(named.iter().filter(|split| !splits.contains(split)).copied().collect::<Vec<_>>());
        }
        splits
    }
}
