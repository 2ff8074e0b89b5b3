//! Where tokens meet a model: they must have been made with its tokenizer, and fit it.

use std::path::Path;

use anyhow::{Result, anyhow};
use artifact::{TokenRow, files};
use cli::Hint;
use encoding::Tokenizer;
use model::ModelConfig;

/// What a model can read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of token ids.
    vocabulary: usize,
    /// Longest example.
    context: usize,
}

impl Limits {
    /// Those of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Self { vocabulary: config.vocabulary(), context: config.context() }
    }

    /// Refuses a row, the `number`th of `path`, that the model cannot read.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn check(self, row: &TokenRow, path: &Path, number: usize) -> Result<()> {
        let Some((what, hint)) = self.problem(row) else { return Ok(()) };
        let source = source_of(row).map_or_else(String::new, |source| format!(" (from {source})"));
        Err(anyhow!("{} row {number}{source}: {what}", path.display())).hint(hint)
    }

    fn problem(self, row: &TokenRow) -> Option<(String, &'static str)> {
        const OTHER_TOKENIZER: &str =
            "the tokens were made with another model's tokenizer; run retune-tokenize with the same --model";
        let Self { vocabulary, context } = self;
        let largest = row.input_ids.iter().chain(&row.labels).copied().max().unwrap_or(0);
        if largest as usize >= vocabulary {
            let what = format!("token {largest} is outside of the model's vocabulary of {vocabulary} tokens");
            return Some((what, OTHER_TOKENIZER));
        }
        if let Some(position) = row.position_ids.iter().find(|&&position| position < 0) {
            let what = format!("position_ids must be 0 or more, found {position}");
            return Some((what, "write them anew, or leave the column out"));
        }
        let length = row.position_ids.iter().copied().max().unwrap_or(0) as usize + 1;
        let what = format!("an example of {length} tokens is longer than the model's context of {context}");
        let hint = "run retune-tokenize with --max-length and --overflow truncate, split or drop";
        (length > context).then_some((what, hint))
    }
}

/// Where a row came from, as `file:row` of its examples; `None` where another tool wrote the table.
pub fn source_of(row: &TokenRow) -> Option<String> {
    let first = row.examples.first()?;
    let more = row.examples.len() - 1;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{}:{}{more}", first.source_file, first.source_row))
}

/// The tokens must mean by each id what the model learnt by it: where a tokenizer lies beside the tokens, a folder or a file
/// in it, and one in `model`, a token that both know has one id.
///
/// # Errors
/// The first token whose id differs.
pub fn check_tokenizer(tokens: &Path, model: &Path) -> Result<()> {
    let tokens = if tokens.is_dir() { tokens } else { tokens.parent().unwrap_or(tokens) };
    let [own, base] = [tokens, model].map(|folder| std::fs::read(folder.join(files::TOKENIZER)).ok());
    if own.is_none() || own == base {
        return Ok(());
    }
    // What cannot be opened is told by who needs it.
    let [Ok(own), Ok(base)] = [tokens, model].map(Tokenizer::open) else { return Ok(()) };
    let Some((token, found, expected)) = own.disagreement(&base) else { return Ok(()) };
    Err(anyhow!(
        "{} was tokenized with another tokenizer than that of {}: {token:?} is {found} there and {expected} here",
        tokens.display(),
        model.display()
    ))
    .hint("run retune-tokenize with the same --model")
}
