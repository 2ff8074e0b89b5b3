//! The command line of `retune-evaluate`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure loss, perplexity and token accuracy of a model on tokens, beside its base, and say whether it overfits.
///
/// Reads a folder of retune-tokenize (or any Parquet file with the columns input_ids, labels and position_ids) and a
/// Hugging Face model folder. Writes metrics.json, examples.parquet with the loss of each example, and report.html. The
/// verdict on overfitting comes from the metrics.parquet that retune-train left beside the tuned model.
#[derive(Debug, Parser)]
#[command(
    name = "retune-evaluate",
    version,
    after_help = "\
Examples:
  retune-evaluate tokens --model base --adapter model --baseline --out eval   tuned adapter beside its base
  retune-evaluate tokens --model model --baseline=base --out eval             whole tuned model beside its base
  retune-evaluate tokens --model base --split train --out eval                on the training rows
  retune-evaluate held-out.parquet --model base --out eval                    tokens that another tool wrote"
)]
pub(crate) struct Args {
    /// Folder written by retune-tokenize, or a Parquet file with the columns input_ids, labels and position_ids
    #[arg(value_name = "TOKENS")]
    pub(crate) tokens: PathBuf,

    /// The model, or the base under the adapter: a local Hugging Face folder
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) model: String,

    /// The tuned adapter: a PEFT folder, such as retune-train writes
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,

    /// Which split of the folder to measure
    #[arg(long, value_enum, default_value_t = SplitName::Validation)]
    pub(crate) split: SplitName,

    /// Measure the base too: the model without its adapter, or for a whole tuned model the one in =DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) baseline: Option<String>,

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
}

impl From<SplitName> for artifact::Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Validation => Self::Validation,
            SplitName::Test => Self::Test,
        }
    }
}
