//! Loss of each example: rows of tokens through the model, their losses back to the examples they pack.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use artifact::{IGNORED, TokenReader, TokenRow};
use cli::{Hint, Progress, Unit};
use metrics::LossTotals;
use model::{Batch, Decoder, ModelConfig, Segments};

/// Rows share a pass until they hold this many tokens. Fixed, so that no option enters the result.
const TOKENS_AT_ONCE: usize = 2048;

/// One example: where it came from, and its sums.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExampleTotals {
    /// The example's id, or its place where another tool wrote the table.
    pub(crate) id: String,
    /// The file it came from.
    pub(crate) source_file: String,
    /// Where in that file, counted from one.
    pub(crate) source_row: u64,
    /// Its sums.
    pub(crate) totals: LossTotals,
}

/// A row laid out for the model.
struct Prepared {
    input_ids: Vec<u32>,
    position_ids: Vec<u32>,
    /// Begins and end of its segments, from 0 to its length.
    boundaries: Vec<usize>,
    /// What each position predicts: the next label of the same segment.
    targets: Vec<i32>,
    /// For each position with a target, which example it belongs to.
    owners: Vec<usize>,
}

/// Tokens to be measured, read and checked.
pub(crate) struct Tokens {
    rows: Vec<Prepared>,
    examples: Vec<ExampleTotals>,
}

impl Tokens {
    /// Reads a token file and checks it against the model.
    pub(crate) fn read(path: &Path, config: &ModelConfig) -> Result<Self> {
        let mut reader = TokenReader::open(path)?;
        let mut tokens = Self { rows: Vec::new(), examples: Vec::new() };
        let mut known = HashMap::new();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        while let Some(batch) = reader.next_batch()? {
            for row in batch {
                let number = tokens.rows.len() as u64 + 1;
                check(&row, config).map_err(|error| error.context(format!("{} row {number}", path.display())))?;
                let prepared = tokens.prepare(&row, &file, number, &mut known);
                tokens.rows.push(prepared);
            }
        }
        if tokens.rows.iter().all(|row| row.owners.is_empty()) {
            return Err(anyhow!("{} has no trained token: nothing can be measured", path.display()))
                .hint("every label is -100, or the split is empty; look at it with retune-inspect");
        }
        Ok(tokens)
    }

    /// Rows in the file.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    fn prepare(
        &mut self,
        row: &TokenRow,
        file: &str,
        number: u64,
        known: &mut HashMap<(String, String, u64), usize>,
    ) -> Prepared {
        let length = row.input_ids.len();
        let continues = |i: usize| row.position_ids[i] == row.position_ids[i - 1] + 1;
        let mut boundaries: Vec<usize> = (0..length).filter(|&i| i == 0 || !continues(i)).collect();
        boundaries.push(length);
        let targets: Vec<i32> =
            (1..=length).map(|i| if i < length && continues(i) { row.labels[i] } else { IGNORED }).collect();
        let pieces = pieces(row, &boundaries, file, number);
        let owner_of: Vec<usize> = pieces
            .into_iter()
            .flat_map(|(example, count)| {
                let key = (example.id.clone(), example.source_file.clone(), example.source_row);
                let index = *known.entry(key).or_insert(self.examples.len());
                if index == self.examples.len() {
                    self.examples.push(example);
                }
                std::iter::repeat_n(index, count)
            })
            .collect();
        let owners = targets.iter().enumerate().filter(|(_, target)| **target != IGNORED).map(|(i, _)| owner_of[i]);
        Prepared {
            owners: owners.collect(),
            input_ids: row.input_ids.iter().map(|&id| id as u32).collect(),
            position_ids: row.position_ids.iter().map(|&position| position as u32).collect(),
            boundaries,
            targets,
        }
    }

    /// Runs the model over all rows and returns the examples with their sums, by file and row.
    pub(crate) fn measure(&self, decoder: &Decoder, label: &str) -> Result<Vec<ExampleTotals>> {
        let bar = Progress::new(label, Some(self.rows.len() as u64), Unit::Rows);
        let mut examples = self.examples.clone();
        let mut from = 0;
        while from < self.rows.len() {
            let mut tokens = 0;
            let together = self.rows[from..].iter().take_while(|row| {
                let fits = tokens == 0 || tokens + row.input_ids.len() <= TOKENS_AT_ONCE;
                tokens += row.input_ids.len();
                fits
            });
            let until = from + together.count();
            pass(decoder, &self.rows[from..until], &mut examples)?;
            bar.advance((until - from) as u64);
            from = until;
        }
        let sorted = |example: &ExampleTotals| (example.source_file.clone(), example.source_row, example.id.clone());
        examples.sort_by_cached_key(sorted);
        Ok(examples)
    }
}

/// One pass of the model over a few rows.
fn pass(decoder: &Decoder, rows: &[Prepared], examples: &mut [ExampleTotals]) -> Result<()> {
    let mut batch = (Vec::new(), Vec::new(), vec![0], Vec::new());
    for row in rows {
        let start = batch.0.len();
        batch.0.extend_from_slice(&row.input_ids);
        batch.1.extend_from_slice(&row.position_ids);
        batch.2.extend(row.boundaries[1..].iter().map(|boundary| start + boundary));
        batch.3.extend_from_slice(&row.targets);
    }
    if rows.iter().all(|row| row.owners.is_empty()) {
        return Ok(());
    }
    let segments = Segments::new(batch.2).map_err(|error| anyhow!("{error}"))?;
    let scored = decoder.score(&Batch { input_ids: batch.0, position_ids: batch.1, segments }, &batch.3)?;
    let owners = rows.iter().flat_map(|row| &row.owners);
    for ((&owner, &loss), &correct) in owners.zip(&scored.losses).zip(&scored.correct) {
        if !loss.is_finite() {
            let example = &examples[owner];
            return Err(anyhow!(
                "the loss of example {} ({}:{}) is not a finite number",
                example.id,
                example.source_file,
                example.source_row
            ))
            .hint("the model's weights are damaged, or training diverged");
        }
        examples[owner].totals.add(&LossTotals::of_tokens(&[loss], &[correct]));
    }
    Ok(())
}

/// The examples of a row and how many tokens each has: as the table says, or its segments where it says nothing.
fn pieces(row: &TokenRow, boundaries: &[usize], file: &str, number: u64) -> Vec<(ExampleTotals, usize)> {
    let example = |id: String, source_file: &str, source_row: u64| ExampleTotals {
        id,
        source_file: source_file.to_owned(),
        source_row,
        totals: LossTotals::default(),
    };
    let told: usize = row.examples.iter().map(|example| example.length as usize).sum();
    if !row.examples.is_empty() && told == row.input_ids.len() {
        let pieces = row
            .examples
            .iter()
            .map(|packed| (example(packed.id.clone(), &packed.source_file, packed.source_row), packed.length as usize));
        return pieces.collect();
    }
    let segments = boundaries.windows(2).enumerate();
    segments.map(|(i, ends)| (example(format!("row-{number}-{}", i + 1), file, number), ends[1] - ends[0])).collect()
}

/// Refuses tokens that cannot be this model's.
fn check(row: &TokenRow, config: &ModelConfig) -> Result<()> {
    const OTHER_TOKENIZER: &str =
        "the tokens were made with another model's tokenizer; run retune-tokenize with the same --model";
    let largest = row.input_ids.iter().chain(&row.labels).copied().max().unwrap_or(0);
    if largest as usize >= config.vocabulary() {
        let found = anyhow!("token {largest} is outside of the model's vocabulary of {} tokens", config.vocabulary());
        return Err(found).hint(OTHER_TOKENIZER);
    }
    if row.position_ids.iter().any(|&position| position < 0) {
        return Err(anyhow!("position_ids must be 0 or more")).hint("write them anew, or leave the column out");
    }
    let length = row.position_ids.iter().copied().max().unwrap_or(0) as usize + 1;
    if length > config.context() {
        let context = config.context();
        return Err(anyhow!("an example of {length} tokens is longer than the model's context of {context}"))
            .hint("run retune-tokenize with --max-length and --overflow truncate, split or drop");
    }
    Ok(())
}
