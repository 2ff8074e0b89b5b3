//! One split: examples in, rows of tokens out, everything accounted for. Examples are encoded in parallel and handled
//! in their order, so the result does not depend on the number of threads.

use anyhow::{Result, anyhow};
use artifact::{Code, Example, ExampleReader, PackedExample, Reject, RejectWriter, TokenRow, TokenWriter};
use cli::{Hint, Progress, Unit};
use encoding::{
    EncodedExample, ExampleEncoder, Fitted, Overflow, PACKING_WINDOW, Packer, Packing, Refusal, Statistics,
    StatisticsBuilder, fit,
};
use rayon::prelude::*;
use std::path::Path;

/// Rows handed to the writer at once.
const WRITE_BATCH: usize = 256;
/// Examples that an error names.
const LISTED: usize = 10;

/// What a split's examples have in common.
pub(crate) struct Rules<'run> {
    pub(crate) encoder: &'run ExampleEncoder,
    pub(crate) max_length: usize,
    pub(crate) overflow: Overflow,
    pub(crate) packing: Packing,
    /// Rows of the model's embedding.
    pub(crate) vocabulary: Option<usize>,
}

/// What became of a split.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) rejected: u64,
    pub(crate) truncated: u64,
    pub(crate) split: u64,
    pub(crate) statistics: Statistics,
    /// Examples that the policy `error` does not let pass: `file:row: N tokens`.
    pub(crate) too_long: Vec<String>,
    pub(crate) too_long_count: u64,
    pub(crate) longest: usize,
    /// Why the first example that was left out was.
    pub(crate) first_reason: Option<String>,
}

/// One example's tokens with where they came from.
struct Piece {
    encoded: EncodedExample,
    id: String,
    source_file: String,
    source_row: u64,
}

/// Works through a split.
pub(crate) struct SplitWork<'run> {
    rules: &'run Rules<'run>,
    packer: Packer<Piece>,
    writer: TokenWriter,
    rejects: &'run mut RejectWriter,
    ready: Vec<TokenRow>,
    statistics: StatisticsBuilder,
    outcome: Outcome,
}

impl<'run> SplitWork<'run> {
    /// Begins a split.
    pub(crate) fn new(rules: &'run Rules<'run>, writer: TokenWriter, rejects: &'run mut RejectWriter) -> Self {
        let packer = Packer::new(rules.packing, rules.max_length, PACKING_WINDOW);
        let (ready, statistics, outcome) = Default::default();
        Self { rules, packer, writer, rejects, ready, statistics, outcome }
    }

    /// Encodes the whole table at `path`.
    pub(crate) fn run(mut self, path: &Path, label: &str) -> Result<(Outcome, TokenWriter)> {
        let mut reader = ExampleReader::open(path)?;
        let bar = Progress::new(label, Some(reader.rows()), Unit::Rows);
        while let Some(examples) = reader.next_batch()? {
            let encoder = self.rules.encoder;
            let encoded: Vec<Result<EncodedExample, Refusal>> =
                examples.par_iter().map(|example| encoder.encode(example)).collect();
            bar.advance(examples.len() as u64);
            for (example, encoded) in examples.into_iter().zip(encoded) {
                self.take(example, encoded)?;
            }
        }
        bar.finish();
        let Self { packer, mut ready, mut writer, statistics, mut outcome, rules, .. } = self;
        ready.extend(packer.finish().into_iter().map(token_row));
        writer.write(&ready)?;
        outcome.statistics = statistics.finish(writer.rows(), rules.max_length);
        Ok((outcome, writer))
    }

    fn take(&mut self, example: Example, encoded: Result<EncodedExample, Refusal>) -> Result<()> {
        self.outcome.read += 1;
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(refusal) if refusal.concerns_the_row_alone() => {
                return self.reject(&example, refusal.code(), refusal.to_string(), true);
            }
            Err(refusal) => return fail(&example, refusal),
        };
        self.check_vocabulary(&example, &encoded)?;
        let length = encoded.len();
        self.outcome.longest = self.outcome.longest.max(length);
        match fit(encoded, self.rules.max_length, self.rules.overflow) {
            Fitted::Kept { pieces, lost } => {
                self.outcome.written += 1;
                self.outcome.split += u64::from(pieces.len() > 1);
                if lost > 0 {
                    self.outcome.truncated += 1;
                    let detail = format!("{length} tokens: the last {lost} were cut off, the rest was kept");
                    self.reject(&example, Code::TooLong, detail, false)?;
                }
                pieces.into_iter().try_for_each(|piece| self.pack(piece, &example))
            }
            Fitted::TooLong if self.rules.overflow == Overflow::Error => {
                self.outcome.too_long_count += 1;
                if self.outcome.too_long.len() < LISTED {
                    let Example { source_file, source_row, .. } = &example;
                    self.outcome.too_long.push(format!("{source_file}:{source_row}: {length} tokens"));
                }
                Ok(())
            }
            Fitted::TooLong => {
                let detail = format!("{length} tokens, at most {} fit", self.rules.max_length);
                self.reject(&example, Code::TooLong, detail, true)
            }
        }
    }

    fn pack(&mut self, encoded: EncodedExample, example: &Example) -> Result<()> {
        let Example { id, source_file, source_row, .. } = example;
        self.statistics.add(&encoded, source_file, *source_row);
        let length = encoded.len();
        let piece = Piece { encoded, id: id.clone(), source_file: source_file.clone(), source_row: *source_row };
        self.ready.extend(self.packer.push(piece, length).into_iter().map(token_row));
        if self.ready.len() >= WRITE_BATCH {
            self.writer.write(&self.ready)?;
            self.ready.clear();
        }
        Ok(())
    }

    /// Writes a reject; `left_out` says that nothing of the example is among the tokens.
    fn reject(&mut self, example: &Example, code: Code, detail: String, left_out: bool) -> Result<()> {
        if left_out {
            self.outcome.rejected += 1;
            let Example { source_file, source_row, .. } = example;
            self.outcome.first_reason.get_or_insert_with(|| format!("{source_file}:{source_row}: {detail}"));
        }
        let reject = Reject {
            record: serde_json::to_string(example)?,
            source_file: example.source_file.clone(),
            source_row: example.source_row,
            code: code.as_str().into(),
            detail,
            cluster: None,
        };
        Ok(self.rejects.write(&[reject])?)
    }

    /// A tokenizer with more entries than the model has embeddings does not belong to it.
    fn check_vocabulary(&self, example: &Example, encoded: &EncodedExample) -> Result<()> {
        let Some(vocabulary) = self.rules.vocabulary else { return Ok(()) };
        let Some(id) = encoded.input_ids.iter().find(|id| **id as usize >= vocabulary) else { return Ok(()) };
        let token = self.rules.encoder.tokenizer().token(*id).unwrap_or_default();
        Err(anyhow!(
            "{}:{}: token {id} ({token:?}) is beyond the model's vocabulary of {vocabulary} in config.json",
            example.source_file,
            example.source_row
        ))
        .hint("the tokenizer does not fit the model: take tokenizer.json from the model's own source")
    }
}

fn fail(example: &Example, refusal: Refusal) -> Result<()> {
    let hint = refusal.hint().map(str::to_owned);
    let error = anyhow!("{}:{}: {refusal}", example.source_file, example.source_row);
    Err(error).hint_from(|_| hint)
}

/// Packed examples, one after the other, each counting its positions from zero.
fn token_row(pieces: Vec<Piece>) -> TokenRow {
    let mut row = TokenRow::default();
    for piece in pieces {
        let Piece { encoded, id, source_file, source_row } = piece;
        row.examples.push(PackedExample {
            id,
            source_file,
            source_row,
            start: row.input_ids.len() as u32,
            length: encoded.len() as u32,
            spans: encoded.spans,
        });
        row.position_ids.extend(0..encoded.input_ids.len() as i32);
        row.input_ids.extend(encoded.input_ids.iter().map(|id| *id as i32));
        row.labels.extend(encoded.labels);
        row.char_start.extend(encoded.characters.iter().map(|(start, _)| *start as i32));
        row.char_end.extend(encoded.characters.iter().map(|(_, end)| *end as i32));
    }
    row
}
