//! What a person wants to know of the tokens before training on them.

use crate::EncodedExample;
use serde::Serialize;
use std::collections::BTreeMap;

/// Longest examples that are named.
const NAMED: usize = 5;

/// Counts over the examples of one split. Lengths are in tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Examples that became tokens.
    pub examples: u64,
    /// Rows written; packing puts several examples in one.
    pub rows: u64,
    /// Tokens written.
    pub tokens: u64,
    /// Tokens that the model learns to write.
    pub trained_tokens: u64,
    /// `trained_tokens ÷ tokens`.
    pub trained_fraction: f64,
    /// Characters of text behind the tokens, divided by the tokens.
    pub characters_per_token: f64,
    /// Part of the rows' capacity that stays empty.
    pub packing_waste: f64,
    /// Tokens that stand for what the vocabulary cannot spell.
    pub unknown_tokens: u64,
    /// Trained turns whose first token also covers the end of the prompt.
    pub straddling_tokens: u64,
    /// Special tokens that the data itself spells inside messages.
    pub injected_tokens: u64,
    /// Shortest, median, 95th percentile and longest example.
    pub lengths: Lengths,
    /// Examples by length.
    pub histogram: Vec<Bar>,
    /// The longest examples, as `file:row`.
    pub longest: Vec<Longest>,
}

/// Order statistics of the examples' lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// Shortest.
    pub shortest: usize,
    /// Median.
    pub median: usize,
    /// 95th percentile.
    pub percentile_95: usize,
    /// Longest.
    pub longest: usize,
}

/// One bar of the histogram: examples of `from` up to `to` tokens, `to` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// Least length.
    pub from: usize,
    /// First length beyond.
    pub to: usize,
    /// Examples.
    pub examples: u64,
}

/// A long example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Longest {
    /// Its length in tokens.
    pub tokens: usize,
    /// Where it came from.
    pub source_file: String,
    /// Row in that file, from one.
    pub source_row: u64,
}

/// Gathers [`Statistics`] example by example.
#[derive(Clone, Debug, Default)]
pub struct StatisticsBuilder {
    counts: Statistics,
    characters: u64,
    lengths: BTreeMap<usize, u64>,
}

impl StatisticsBuilder {
    /// Counts one example (or one piece of one that was split).
    pub fn add(&mut self, example: &EncodedExample, source_file: &str, source_row: u64) {
        let length = example.len();
        self.counts.examples += 1;
        self.counts.tokens += length as u64;
        self.counts.trained_tokens += example.trained() as u64;
        self.counts.unknown_tokens += example.unknown as u64;
        self.counts.straddling_tokens += example.straddling as u64;
        self.counts.injected_tokens += example.injected as u64;
        self.characters += u64::from(example.text_characters);
        *self.lengths.entry(length).or_default() += 1;
        let longest = &mut self.counts.longest;
        if longest.len() < NAMED || longest.last().is_some_and(|last| last.tokens < length) {
            longest.push(Longest { tokens: length, source_file: source_file.into(), source_row });
            // Stable: of equally long examples the first in the input stays.
            longest.sort_by_key(|entry| std::cmp::Reverse(entry.tokens));
            longest.truncate(NAMED);
        }
    }

    /// The result, for `rows` rows of `capacity` tokens.
    pub fn finish(self, rows: u64, capacity: usize) -> Statistics {
        let Self { mut counts, characters, lengths } = self;
        let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        counts.rows = rows;
        counts.trained_fraction = ratio(counts.trained_tokens, counts.tokens);
        counts.characters_per_token = ratio(characters, counts.tokens);
        counts.packing_waste = if rows == 0 { 0.0 } else { 1.0 - ratio(counts.tokens, rows * capacity as u64) };
        counts.lengths = order_statistics(&lengths, counts.examples);
        counts.histogram = histogram(&lengths);
        counts
    }
}

fn order_statistics(lengths: &BTreeMap<usize, u64>, examples: u64) -> Lengths {
    let at = |fraction: f64| {
        let wanted = (fraction * examples as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        lengths
            .iter()
            .find(|(_, count)| {
                seen += **count;
                seen >= wanted
            })
            .map_or(0, |(length, _)| *length)
    };
    Lengths { shortest: at(0.0), median: at(0.5), percentile_95: at(0.95), longest: at(1.0) }
}

/// At most 24 bars of equal, round width.
fn histogram(lengths: &BTreeMap<usize, u64>) -> Vec<Bar> {
    let Some((longest, _)) = lengths.last_key_value() else { return Vec::new() };
    let mut width = 1;
    while longest / width >= 24 {
        width *= 2;
    }
    let mut bars: Vec<Bar> =
        (0..=longest / width).map(|bar| Bar { from: bar * width, to: (bar + 1) * width, examples: 0 }).collect();
    for (length, count) in lengths {
        bars[length / width].examples += count;
    }
    bars
}

/// The histogram as one line of block characters, for a terminal.
pub fn sparkline(bars: &[Bar]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = bars.iter().map(|bar| bar.examples).max().unwrap_or(0).max(1);
    let block = |bar: &Bar| match bar.examples {
        0 => ' ',
        // Even one example is seen.
        count => BLOCKS[((count * 8).div_ceil(most) as usize).clamp(1, 8) - 1],
    };
    bars.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lengths_and_bars_agree() {
        let mut builder = StatisticsBuilder::default();
        for length in [1usize, 10, 10, 40, 100] {
            let ids: Vec<u32> = (0..length as u32).collect();
            let labels = ids.iter().map(|id| if *id == 0 { crate::NOT_TRAINED } else { 1 }).collect();
            let example = EncodedExample { input_ids: ids, labels, text_characters: 322, ..EncodedExample::default() };
            builder.add(&example, "a.jsonl", length as u64);
        }
        let counts = builder.finish(2, 100);
        assert_eq!((counts.examples, counts.tokens, counts.trained_tokens), (5, 161, 156));
        assert_eq!(counts.lengths, Lengths { shortest: 1, median: 10, percentile_95: 100, longest: 100 });
        assert_eq!(counts.histogram.iter().map(|bar| bar.examples).sum::<u64>(), 5);
        assert_eq!(counts.longest[0].tokens, 100);
        assert!((counts.packing_waste - 0.195).abs() < 1e-12);
        assert_eq!(sparkline(&counts.histogram).chars().count(), counts.histogram.len());
        assert_eq!(StatisticsBuilder::default().finish(0, 8).histogram, []);
    }
}
