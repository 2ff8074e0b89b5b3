//! The command line of `retune-inspect`.

use artifact::Condition;
use clap::Parser;
use std::path::PathBuf;

/// Say of any artifact what it is, where it came from, and whether it is whole.
///
/// Takes a folder of any stage, a Hugging Face model or PEFT adapter, or a single file: Parquet, safetensors, GGUF,
/// tokenizer.json, or a JSON report. Of a table that a stage wrote as a finding (rejects, suspects, leakage, losses, metrics,
/// predictions, throughput) it counts values, gives the range of numbers and lists the first rows.
#[derive(Debug, Parser)]
#[command(
    name = "retune-inspect",
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-inspect tokens                         what it holds, from which stage, options and inputs
  retune-inspect tokens/train.parquet --row 1   each token: text, trained or not, source
  retune-inspect data/rejects.parquet --row 3   one rejected record and why
  retune-inspect eval/suspects.parquet --where reason=forgotten --row 1
  retune-inspect test/predictions.parquet --where exact_match=0
  retune-inspect model --verify                 hash all files again; exit code 1 on a difference
  retune-inspect data/train.parquet --json | jq .columns"
)]
pub(crate) struct Args {
    /// The artifact: a folder or a file
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// Show this row of a table, counted from one; of a folder, a row of its first table
    #[arg(long, value_name = "N")]
    pub(crate) row: Option<u64>,

    /// Look only at rows with this value in a column of the table, --row counting among them; may be given several times
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = condition)]
    pub(crate) conditions: Vec<Condition>,

    /// Hash every output again, and every input that can be found; exit code 1 where one differs
    #[arg(long)]
    pub(crate) verify: bool,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

/// Reads `COLUMN=VALUE`.
fn condition(text: &str) -> Result<Condition, String> {
    let (column, value) = text.split_once('=').ok_or("expected COLUMN=VALUE, such as code=duplicate")?;
    Ok(Condition { column: column.to_owned(), value: value.to_owned() })
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}
