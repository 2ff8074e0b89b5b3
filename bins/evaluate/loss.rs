//! Loss of each example: rows of tokens through the model, their losses back to the examples they pack.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use artifact::{IGNORED, TokenReader, TokenRow};
use cli::{Hint, Progress, Unit};
use encoding::Tokenizer;
use metrics::LossTotals;
use model::{Batch, Decoder, Segments};
use retune::tokens::Limits;

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
#[derive(Debug)]
struct Prepared {
    input_ids: Vec<u32>,
    position_ids: Vec<u32>,
    /// Begins and end of its segments, from 0 to its length.
    boundaries: Vec<usize>,
    /// What each position predicts: the next label of the same segment.
    targets: Vec<i32>,
    /// For each position with a target, which example it belongs to.
    owners: Vec<usize>,
    /// For each position with a target, whether the token it asks for stands for text.
    is_text: Vec<bool>,
}

/// Tokens to be measured, read and checked.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    rows: Vec<Prepared>,
    examples: Vec<ExampleTotals>,
}

impl Tokens {
    /// Reads a token file and checks it against the model; with a tokenizer, the bytes of trained text are counted.
    pub(crate) fn read(path: &Path, limits: Limits, tokenizer: Option<&Tokenizer>) -> Result<Self> {
        let mut reader = TokenReader::open(path)?;
        let mut tokens = Self::default();
        let mut known = HashMap::new();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        while let Some(batch) = reader.next_batch()? {
            for row in batch {
                let number = tokens.rows.len() as u64 + 1;
                limits.check(&row, path, number as usize)?;
                let prepared = tokens.prepare(&row, (&file, number), &mut known, tokenizer)?;
                tokens.rows.push(prepared);
            }
        }
        if tokens.rows.iter().all(|row| row.owners.is_empty()) {
            return Err(anyhow!("{} has no trained token: nothing can be measured", path.display()))
                .hint("every label is -100, or the split is empty; look at it with retune-inspect");
        }
        Ok(tokens)
    }

    /// Texts added with [`Tokens::add`], or examples of the file.
    pub(crate) fn documents(&self) -> usize {
        self.examples.len()
    }

    /// Rows in the file.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Adds one sequence of a text of its own: `targets[i]` is what position `i` should predict. `example` names it; a
    /// further sequence of the same text leaves it out.
    pub(crate) fn add(&mut self, input_ids: Vec<u32>, targets: Vec<i32>, example: Option<ExampleTotals>) {
        self.examples.extend(example);
        let asked = targets.iter().filter(|target| **target != IGNORED).count();
        self.rows.push(Prepared {
            position_ids: (0..input_ids.len() as u32).collect(),
            boundaries: vec![0, input_ids.len()],
            owners: vec![self.examples.len() - 1; asked],
            is_text: vec![true; asked],
            input_ids,
            targets,
        });
    }

    fn prepare(
        &mut self,
        row: &TokenRow,
        (file, number): (&str, u64),
        known: &mut HashMap<(String, String, u64), usize>,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Prepared> {
        let length = row.input_ids.len();
        let mut boundaries = row.starts();
        boundaries.push(length);
        let mut targets = vec![IGNORED; length];
        for segment in boundaries.windows(2) {
            let trained = &row.labels[(segment[0] + 1).min(segment[1])..segment[1]];
            targets[segment[0]..segment[0] + trained.len()].copy_from_slice(trained);
        }
        let input_ids: Vec<u32> = row.input_ids.iter().map(|&id| id as u32).collect();
        let (mut owners, mut is_text) = (Vec::new(), Vec::new());
        for (segment, origin) in boundaries.windows(2).zip(row.origins(file, number)) {
            let key = (origin.id.clone(), origin.source_file.clone(), origin.source_row);
            let index = *known.entry(key).or_insert(self.examples.len());
            if index == self.examples.len() {
                let artifact::Origin { id, source_file, source_row } = origin;
                self.examples.push(ExampleTotals { id, source_file, source_row, totals: LossTotals::default() });
            }
            let (ids, targets) = (&input_ids[segment[0]..segment[1]], &targets[segment[0]..segment[1]]);
            let asked = targets.iter().filter(|target| **target != IGNORED);
            is_text.extend(asked.clone().map(|&target| tokenizer.is_some_and(|t| !t.is_special(target as u32))));
            owners.extend(asked.map(|_| index));
            if let Some(tokenizer) = tokenizer {
                let (bytes, words) = trained_text(ids, targets, tokenizer)?;
                self.examples[index].totals.text_bytes += bytes;
                self.examples[index].totals.text_words += words;
            }
        }
        let position_ids = row.position_ids.iter().map(|&position| position as u32).collect();
        Ok(Prepared { input_ids, position_ids, boundaries, targets, owners, is_text })
    }

    /// Runs the model over all rows and returns the examples with their sums, by file and row.
    pub(crate) fn measure(&self, decoder: &Decoder, label: &str) -> Result<Vec<ExampleTotals>> {
        let mut examples = self.measure_in_order(decoder, label)?;
        let sorted = |example: &ExampleTotals| (example.source_file.clone(), example.source_row, example.id.clone());
        examples.sort_by_cached_key(sorted);
        Ok(examples)
    }

    /// As [`Tokens::measure`], in the order in which they were added.
    pub(crate) fn measure_in_order(&self, decoder: &Decoder, label: &str) -> Result<Vec<ExampleTotals>> {
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
        Ok(examples)
    }
}

/// Bytes and words of the text that a segment's targets stand for. A token's text may depend on those before it, so that
/// each run of targets is what decoding adds to what stands before.
fn trained_text(ids: &[u32], targets: &[i32], tokenizer: &Tokenizer) -> Result<(u64, u64)> {
    let (mut bytes, mut words) = (0, 0);
    let mut position = 0;
    while position < targets.len() {
        if targets[position] == IGNORED {
            position += 1;
            continue;
        }
        let run = targets[position..].iter().take_while(|target| **target != IGNORED).count();
        let (from, until) = (position + 1, position + run + 1);
        let (before, after) = (tokenizer.decode(&ids[..from], true)?, tokenizer.decode(&ids[..until], true)?);
        let added = after.get(before.len()..).unwrap_or_default();
        bytes += after.len().saturating_sub(before.len()) as u64;
        words += added.split_whitespace().count() as u64;
        position += run;
    }
    Ok((bytes, words))
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
    let owners = rows.iter().flat_map(|row| row.owners.iter().zip(&row.is_text));
    for (((&owner, &is_text), &loss), &correct) in owners.zip(&scored.losses).zip(&scored.correct) {
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
        let totals = &mut examples[owner].totals;
        totals.add(&LossTotals::of_tokens(&[loss], &[correct]));
        totals.text_loss_sum += if is_text { f64::from(loss) } else { 0.0 };
    }
    Ok(())
}
