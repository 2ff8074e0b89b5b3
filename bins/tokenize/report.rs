//! What the stage tells: lines for people, one JSON document for programs and for the manifest.

use crate::split::{Outcome, Rules};
use artifact::Split;
use cli::format::{count, percent, plural};
use encoding::{Statistics, sparkline};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The summary of a run.
#[derive(Serialize)]
pub(crate) struct Summary {
    /// Tokens in a row at most.
    pub(crate) max_length: usize,
    /// Entries of the vocabulary.
    pub(crate) vocabulary_size: usize,
    /// Where the chat template comes from.
    pub(crate) chat_template: String,
    /// Texts of the tokens at which generation is to stop.
    pub(crate) stop_tokens: Vec<String>,
    /// The token that begins every text, if the model wants one.
    pub(crate) start_token: Option<String>,
    /// What became of each split.
    pub(crate) splits: Vec<SplitSummary>,
}

/// What became of one split.
#[derive(Serialize)]
pub(crate) struct SplitSummary {
    /// train, validation or test.
    pub(crate) split: &'static str,
    /// Examples read.
    pub(crate) examples_read: u64,
    /// Examples that were left out; each is in rejects.parquet.
    pub(crate) rejected: u64,
    /// Examples whose end was cut off; each is in rejects.parquet.
    pub(crate) truncated: u64,
    /// Examples cut into pieces.
    pub(crate) split_up: u64,
    /// Pieces of these in which nothing is trained; they are left out, and their examples are in rejects.parquet.
    pub(crate) untrained_pieces: u64,
    /// Tokens that are in no other piece than those.
    pub(crate) untrained_tokens: u64,
    /// Conversations whose turns became examples of their own.
    pub(crate) turn_by_turn: u64,
    /// Whether each example is a preference pair, whose two sides are in one row.
    #[serde(skip)]
    pairs: bool,
    /// The tokens.
    #[serde(flatten)]
    pub(crate) statistics: Statistics,
}

impl Summary {
    /// Gathers the summary.
    pub(crate) fn new(rules: &Rules<'_>, outcomes: BTreeMap<Split, Outcome>) -> Self {
        let Rules { encoder, max_length, pairs, .. } = *rules;
        let tokenizer = encoder.tokenizer();
        let token = |id: u32| tokenizer.token(id).unwrap_or_default();
        let splits = outcomes
            .into_iter()
            .map(|(split, outcome)| SplitSummary {
                split: split.as_str(),
                examples_read: outcome.read,
                rejected: outcome.rejected,
                truncated: outcome.truncated,
                split_up: outcome.split,
                untrained_pieces: outcome.untrained_pieces,
                untrained_tokens: outcome.untrained_tokens,
                turn_by_turn: outcome.turn_by_turn,
                pairs,
                statistics: outcome.statistics,
            })
            .collect();
        Self {
            max_length,
            vocabulary_size: tokenizer.vocabulary_size(),
            chat_template: encoder.template().origin().to_string(),
            stop_tokens: encoder.stop_tokens().iter().map(|id| token(*id)).collect(),
            start_token: tokenizer.opening().map(token),
            splits,
        }
    }

    /// The lines for people.
    pub(crate) fn text(&self, folder: &str) -> String {
        let mut text = String::new();
        for split in &self.splits {
            split.write(&mut text, self.max_length);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "chat template of {}; generation stops at {}",
            self.chat_template,
            self.stop_tokens.join(" ")
        );
        let _ = write!(text, "wrote {folder}");
        text
    }
}

impl SplitSummary {
    fn write(&self, text: &mut String, max_length: usize) {
        let Statistics { examples, rows, tokens, trained_fraction, packing_waste, .. } = self.statistics;
        let written = self.examples_read - self.rejected;
        let in_pieces = examples > written && !self.pairs;
        let pieces = if in_pieces { format!(" in {}", plural(examples, "piece")) } else { String::new() };
        let row = if self.pairs { format!("2 × {max_length}") } else { max_length.to_string() };
        let _ = writeln!(
            text,
            "{:<11}{}{pieces} → {} of {row}, {} tokens, {} trained, {} of the rows empty",
            self.split,
            plural(written, if self.pairs { "pair" } else { "example" }),
            plural(rows, "row"),
            count(tokens),
            percent(trained_fraction),
            percent(packing_waste),
        );
        self.write_lengths(text);
        let losses = [
            (self.rejected, "left out"),
            (self.truncated, "truncated"),
            (self.split_up, "split up"),
            (self.turn_by_turn, "taken turn by turn"),
        ];
        for (rows, what) in losses.into_iter().filter(|(rows, _)| *rows > 0) {
            let place = if matches!(what, "left out" | "truncated") { " (see rejects.parquet)" } else { "" };
            let _ = writeln!(text, "{:11}{} {what}{place}", "", plural(rows, "example"));
        }
        if self.untrained_pieces > 0 {
            let (pieces, tokens) = (plural(self.untrained_pieces, "piece"), plural(self.untrained_tokens, "token"));
            let _ = writeln!(
                text,
                "{:11}{pieces} of {tokens} left out, as nothing in them is trained (see rejects.parquet)",
                ""
            );
        }
        if self.statistics.unknown_tokens > 0 {
            let _ =
                writeln!(text, "{:11}{} of the vocabulary's unknown token", "", count(self.statistics.unknown_tokens));
        }
    }

    fn write_lengths(&self, text: &mut String) {
        let statistics = &self.statistics;
        if statistics.examples == 0 {
            return;
        }
        let lengths = statistics.lengths;
        let _ = writeln!(
            text,
            "{:11}lengths {} │{}│ {}, median {}, {:.2} characters a token",
            "",
            lengths.shortest,
            sparkline(&statistics.histogram),
            lengths.longest,
            lengths.median,
            statistics.characters_per_token,
        );
        if let Some(first) = statistics.longest.first() {
            let _ = writeln!(text, "{:11}longest {}:{}", "", first.source_file, first.source_row);
        }
    }
}
