//! One split: examples in, rows of tokens out, everything accounted for. Examples are encoded in parallel and handled
//! in their order, window by window, so the result does not depend on the number of threads or of runs that share it.

use crate::args::Shard;
use anyhow::{Result, anyhow};
use artifact::{Code, Example, Kind, PackedExample, Reject, TokenRow};
use cli::Hint;
use encoding::{
    EncodedExample, ExampleEncoder, Fitted, Lost, Overflow, Packer, Packing, Refusal, Render, Statistics,
    StatisticsBuilder, fit, packing_window,
};
use rayon::prelude::*;

/// Examples that an error names.
const LISTED: usize = 10;

/// What a split's examples have in common.
pub(crate) struct Rules<'run> {
    pub(crate) encoder: &'run ExampleEncoder,
    pub(crate) max_length: usize,
    pub(crate) overflow: Overflow,
    pub(crate) packing: Packing,
    /// Which windows of examples are this run's.
    pub(crate) shard: Shard,
    /// Rows of the model's embedding.
    pub(crate) vocabulary: Option<usize>,
    /// Whether the examples are preference pairs.
    pub(crate) pairs: bool,
    /// How examples become text.
    pub(crate) render: Render,
}

/// What became of a split.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// Rows of tokens.
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    /// Examples that went through the chat template.
    pub(crate) rendered: u64,
    pub(crate) truncated: u64,
    pub(crate) split: u64,
    /// Pieces of these that were left out, as nothing in them is trained, and their tokens.
    pub(crate) untrained_pieces: u64,
    pub(crate) untrained_tokens: u64,
    /// Windows of examples, those of other shards too.
    pub(crate) windows: u64,
    /// Examples whose turns became examples of their own.
    pub(crate) turn_by_turn: u64,
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
    /// Examples that are packed together.
    window: u64,
    seen: u64,
    packer: Packer<Piece>,
    /// Preference pairs: each is a row of its own.
    pairs: Vec<TokenRow>,
    rejects: Vec<Reject>,
    statistics: StatisticsBuilder,
    outcome: Outcome,
}

impl<'run> SplitWork<'run> {
    /// Begins a split.
    pub(crate) fn new(rules: &'run Rules<'run>) -> Self {
        let (pairs, rejects, statistics, outcome) = Default::default();
        let window = packing_window(rules.max_length) as u64;
        let packer = Packer::new(rules.packing, rules.max_length);
        Self { rules, window, seen: 0, packer, pairs, rejects, statistics, outcome }
    }

    /// Takes the next examples; gives the rows that are complete now, and the rejects.
    pub(crate) fn take(&mut self, mut examples: Vec<Example>) -> Result<(Vec<TokenRow>, Vec<Reject>)> {
        let mut rows = Vec::new();
        while !examples.is_empty() {
            let room = (self.window - self.seen % self.window) as usize;
            let later = examples.split_off(room.min(examples.len()));
            let number = self.seen / self.window;
            self.seen += examples.len() as u64;
            if self.rules.shard.holds(number) {
                self.encode(examples)?;
            }
            if self.seen.is_multiple_of(self.window) {
                rows.extend(self.flush());
            }
            examples = later;
        }
        Ok((rows, std::mem::take(&mut self.rejects)))
    }

    /// The last rows, and what became of the split.
    pub(crate) fn finish(mut self) -> (Vec<TokenRow>, Outcome) {
        let rows = self.flush();
        let Self { statistics, mut outcome, rules, window, seen, .. } = self;
        outcome.windows = seen.div_ceil(window);
        // A pair is two sequences.
        let row_length = if rules.pairs { 2 * rules.max_length } else { rules.max_length };
        outcome.statistics = statistics.finish(outcome.rows, row_length);
        (rows, outcome)
    }

    fn flush(&mut self) -> Vec<TokenRow> {
        let packed = self.packer.flush();
        let mut rows = std::mem::take(&mut self.pairs);
        rows.par_extend(packed.into_par_iter().map(token_row));
        self.outcome.rows += rows.len() as u64;
        rows
    }

    fn encode(&mut self, examples: Vec<Example>) -> Result<()> {
        let encoder = self.rules.encoder;
        let encode = |example: &Example| match example.kind {
            Kind::Preference => encoder.encode_pair(example).map(Vec::from),
            _ => encoder.encode_turns(example),
        };
        let encoded: Vec<Result<Vec<EncodedExample>, Refusal>> = examples.par_iter().map(encode).collect();
        examples.into_iter().zip(encoded).try_for_each(|(example, encoded)| self.place_or_refuse(&example, encoded))
    }

    fn place_or_refuse(&mut self, example: &Example, encoded: Result<Vec<EncodedExample>, Refusal>) -> Result<()> {
        self.outcome.read += 1;
        let turns = match encoded {
            Ok(turns) => turns,
            Err(refusal) if refusal.concerns_the_row_alone() => {
                return self.reject(example, refusal.code(), refusal.to_string(), true);
            }
            Err(refusal) => return fail(example, refusal),
        };
        for encoded in &turns {
            self.check_vocabulary(example, encoded)?;
        }
        self.check_kind(example)?;
        let plain = match example.kind {
            Kind::Text => true,
            Kind::Completion => self.rules.render != Render::Chat,
            Kind::Chat | Kind::Preference => self.rules.render == Render::Plain,
        };
        self.outcome.rendered += u64::from(!plain);
        if self.rules.pairs {
            return self.place_pair(example, turns);
        }
        self.outcome.turn_by_turn += u64::from(turns.len() > 1);
        self.place(example, turns)
    }

    /// Fits the example (or its turns) to the rows and says what was lost.
    fn place(&mut self, example: &Example, turns: Vec<EncodedExample>) -> Result<()> {
        let max_length = self.rules.max_length;
        let length = turns.iter().map(EncodedExample::len).max().unwrap_or(0);
        self.outcome.longest = self.outcome.longest.max(length);
        let (mut kept, mut lost, mut left_out, count) = (Vec::new(), Lost::default(), 0, turns.len());
        for encoded in turns {
            match fit(encoded, max_length, self.rules.overflow) {
                Fitted::Kept { pieces, lost: Lost { tokens, pieces: untrained } } => {
                    self.outcome.split += u64::from(pieces.len() + untrained > 1);
                    lost.tokens += tokens;
                    lost.pieces += untrained;
                    kept.extend(pieces);
                }
                Fitted::TooLong => left_out += 1,
            }
        }
        if left_out > 0 && self.rules.overflow == Overflow::Error {
            self.note_too_long(example, length);
            return Ok(());
        }
        if kept.is_empty() {
            let detail = format!("{length} tokens, at most {max_length} fit");
            return self.reject(example, Code::TooLong, detail, true);
        }
        self.outcome.written += 1;
        self.note_loss(example, length, lost)?;
        if left_out > 0 {
            let detail =
                format!("{left_out} of its {count} turns have more than {max_length} tokens and were left out");
            self.reject(example, Code::TooLong, detail, false)?;
        }
        kept.into_iter().for_each(|piece| self.pack(piece, example));
        Ok(())
    }

    /// Fits both sides of a preference pair, which is kept as a whole or not at all, and puts them one behind the other.
    fn place_pair(&mut self, example: &Example, sides: Vec<EncodedExample>) -> Result<()> {
        let max_length = self.rules.max_length;
        let length = sides.iter().map(EncodedExample::len).max().unwrap_or(0);
        self.outcome.longest = self.outcome.longest.max(length);
        let (mut kept, mut lost) = (Vec::new(), Lost::default());
        for side in sides {
            match fit(side, max_length, self.rules.overflow) {
                Fitted::Kept { pieces, lost: Lost { tokens, .. } } => {
                    lost.tokens += tokens;
                    kept.extend(pieces);
                }
                Fitted::TooLong if self.rules.overflow == Overflow::Error => {
                    self.note_too_long(example, length);
                    return Ok(());
                }
                Fitted::TooLong => {
                    let detail = format!("{length} tokens, at most {max_length} fit");
                    return self.reject(example, Code::TooLong, detail, true);
                }
            }
        }
        if kept[0].input_ids == kept[1].input_ids {
            let detail = "chosen and rejected are the same tokens, in what fits: there is nothing to prefer";
            return self.reject(example, Code::Empty, detail.into(), true);
        }
        self.outcome.written += 1;
        self.note_loss(example, length, lost)?;
        let chosen_length = Some(kept[0].len() as u32);
        let pieces = kept.into_iter().map(|side| self.piece(side, example)).collect();
        self.pairs.push(TokenRow { chosen_length, ..token_row(pieces) });
        Ok(())
    }

    fn note_too_long(&mut self, example: &Example, length: usize) {
        self.outcome.too_long_count += 1;
        if self.outcome.too_long.len() < LISTED {
            let Example { source_file, source_row, .. } = example;
            self.outcome.too_long.push(format!("{source_file}:{source_row}: {length} tokens"));
        }
    }

    fn note_loss(&mut self, example: &Example, length: usize, lost: Lost) -> Result<()> {
        let Lost { tokens, pieces } = lost;
        if tokens == 0 {
            return Ok(());
        }
        let detail = if pieces == 0 {
            self.outcome.truncated += 1;
            format!("{length} tokens: the last {tokens} were cut off, the rest was kept")
        } else {
            self.outcome.untrained_pieces += pieces as u64;
            self.outcome.untrained_tokens += tokens as u64;
            format!(
                "{length} tokens: {tokens} of them, in pieces where nothing is trained, were left out; the rest was kept"
            )
        };
        self.reject(example, Code::TooLong, detail, false)
    }

    /// Pairs and other examples are trained on in different ways, so a table holds one or the other.
    fn check_kind(&self, example: &Example) -> Result<()> {
        if (example.kind == Kind::Preference) == self.rules.pairs {
            return Ok(());
        }
        let (found, others) =
            if self.rules.pairs { (example.kind.as_str(), "preference pairs") } else { ("preference", "no pairs") };
        let Example { source_file, source_row, .. } = example;
        Err(anyhow!("{source_file}:{source_row}: an example of kind {found} among {others}"))
            .hint("ingest preference pairs into a folder of their own: they are trained on with another objective")
    }

    fn piece(&mut self, encoded: EncodedExample, example: &Example) -> Piece {
        let Example { id, source_file, source_row, .. } = example;
        self.statistics.add(&encoded, source_file, *source_row);
        Piece { encoded, id: id.clone(), source_file: source_file.clone(), source_row: *source_row }
    }

    fn pack(&mut self, encoded: EncodedExample, example: &Example) {
        let length = encoded.len();
        let piece = self.piece(encoded, example);
        self.packer.push(piece, length);
    }

    /// Notes a reject; `left_out` says that nothing of the example is among the tokens.
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
        self.rejects.push(reject);
        Ok(())
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
