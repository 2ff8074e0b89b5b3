//! What the splits have in common: prompts that stand in more than one, and held-out rows that share a run of words
//! with the training split. Such rows make a test too easy; they are told, never taken out.
//!
//! A run is the first [`RUN_WORDS`] words of a sentence or line, or a whole text of at least [`SHORTEST`] words. Of each
//! row the [`SKETCH`] runs of smallest hash count, so that rows which share most of their sentences are found whatever
//! their length, and the cost does not depend on it.

use artifact::{Example, Split};
use serde::Serialize;

use crate::contamination::{RUN_WORDS, SHORTEST};
use crate::duplicates::Origin;
use crate::error::Result;
use crate::normal::{mix, said, words_until};
use crate::store::{Scratch, Sorted};

/// Runs of a row that are compared.
pub const SKETCH: usize = 8;
/// Held-out rows that are named.
const NAMED: usize = 5;

/// What the splits have in common.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Leaks {
    /// Different prompts that stand in more than one split.
    pub prompts: u64,
    /// Rows of the validation and test splits whose prompt is also in the training split.
    pub held_out_rows: u64,
    /// Rows of the validation and test splits that share a run of words with the training split.
    pub overlapping_rows: u64,
    /// The first of them, as `file:row`.
    pub overlapping: Vec<String>,
}

/// Hashes of the runs that stand for an example.
pub(crate) fn sketch(example: &Example) -> Vec<u64> {
    let mut starts: Vec<(u64, &str)> = Vec::new();
    for text in said(example) {
        let bytes = text.as_bytes();
        let mut push = |at: usize| {
            // The cut falls behind an ASCII byte: it is a border of characters.
            let rest = &text[at..];
            let rest =
                rest.trim_start_matches(|character: char| character.is_ascii() && !character.is_ascii_alphanumeric());
            if rest.len() >= 24 {
                let mut first = [0; 16];
                first.copy_from_slice(&rest.as_bytes()[..16]);
                first.make_ascii_lowercase();
                let number = u128::from_le_bytes(first);
                starts.push((mix((number >> 64) as u64 ^ mix(number as u64)), rest));
            }
        };
        push(0);
        for end in memchr::memchr3_iter(b'.', b'?', b'\n', bytes) {
            if end + 1 < bytes.len() && (bytes[end] == b'\n' || bytes[end + 1].is_ascii_whitespace()) {
                push(end + 1);
            }
        }
    }
    if starts.len() > SKETCH {
        starts.select_nth_unstable_by_key(SKETCH - 1, |(hash, _)| *hash);
        starts.truncate(SKETCH);
    }
    let mut runs: Vec<u64> = starts.into_iter().filter_map(|(_, rest)| run(rest)).collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// The hash of the first words; `None` where there are too few to tell an overlap from chance.
fn run(text: &str) -> Option<u64> {
    let (mut hash, mut count) = (0u64, 0);
    words_until(text, &mut |word| {
        hash = mix(hash.rotate_left(7) ^ word);
        count += 1;
        count < RUN_WORDS
    });
    (count >= RUN_WORDS || (count >= SHORTEST && text.len() < 400)).then_some(hash)
}

/// Gathers what is compared at the end.
pub(crate) struct Watch {
    prompts: Sorted,
    runs: Sorted,
    several: bool,
}

impl Watch {
    /// `several` is whether rows can fall to more than one split.
    pub(crate) fn new(scratch: &Scratch, several: bool) -> Self {
        Self { prompts: Sorted::new(scratch.clone()), runs: Sorted::new(scratch.clone()), several }
    }

    pub(crate) fn add(&mut self, prompt: Option<u128>, sketch: &[u64], split: Split, origin: Origin) -> Result<()> {
        if !self.several {
            return Ok(());
        }
        if let Some(prompt) = prompt {
            self.prompts.push((prompt & !3) | split as u128)?;
        }
        // Rows of the training split come before all others of an equal run.
        let row = if split == Split::Train { 0 } else { u128::from(origin.packed()) + 1 };
        for hash in sketch {
            self.runs.push(u128::from(*hash) << 64 | row)?;
        }
        Ok(())
    }

    pub(crate) fn finish(self, name: impl Fn(Origin) -> String) -> Result<Leaks> {
        let mut leaks = Leaks::default();
        let (mut current, mut rows) = (None, [0u64; 3]);
        let mut count = |rows: [u64; 3]| {
            leaks.prompts += u64::from(rows.iter().filter(|rows| **rows > 0).count() > 1);
            leaks.held_out_rows += if rows[0] > 0 { rows[1] + rows[2] } else { 0 };
        };
        self.prompts.drain(|entry| {
            if current != Some(entry >> 2) {
                count(std::mem::take(&mut rows));
                current = Some(entry >> 2);
            }
            rows[(entry & 3) as usize] += 1;
        })?;
        count(rows);
        let mut overlapping = std::collections::BTreeSet::new();
        let mut trained = None;
        self.runs.drain(|entry| {
            let (hash, row) = ((entry >> 64) as u64, entry as u64);
            match row.checked_sub(1) {
                None => trained = Some(hash),
                Some(row) if trained == Some(hash) => {
                    overlapping.insert(row);
                }
                Some(_) => {}
            }
        })?;
        leaks.overlapping_rows = overlapping.len() as u64;
        leaks.overlapping = overlapping.into_iter().take(NAMED).map(|row| name(Origin::unpacked(row))).collect();
        Ok(leaks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::{Kind, Message};

    fn asks(question: &str, answer: &str) -> Example {
        Example {
            id: String::new(),
            kind: Kind::Chat,
            messages: vec![Message::new("user", question), Message::new("assistant", answer)],
            tools: None,
            text: None,
            chosen: Vec::new(),
            rejected: Vec::new(),
            source_file: String::new(),
            source_row: 0,
            extra: Vec::new(),
        }
    }

    const LONG: &str = "A train leaves the station at nine in the morning and travels north for two hours without a stop. \
        How far is it by noon?";

    #[test]
    fn shared_sentences_are_found_in_other_surroundings() {
        let one = sketch(&asks(LONG, "Far."));
        let other = sketch(&asks(&format!("Please solve this.\n\n{}", LONG.to_uppercase()), "120 km"));
        assert!(one.iter().any(|run| other.contains(run)), "{one:?} {other:?}");
        let stranger = sketch(&asks("Which of these words is a noun, and which of them is none at all?", "Far."));
        assert!(!stranger.iter().any(|run| one.contains(run)));
        assert!(sketch(&asks("Hi", "Hello")).is_empty());
    }

    #[test]
    fn held_out_rows_are_named_and_counted_once() {
        let mut watch = Watch::new(&Scratch::default(), true);
        let origin = |row| Origin { file: 0, row };
        watch.add(Some(8), &[5, 6], Split::Test, origin(1)).unwrap();
        watch.add(Some(8), &[5, 6, 7], Split::Train, origin(2)).unwrap();
        watch.add(Some(12), &[9], Split::Validation, origin(3)).unwrap();
        watch.add(Some(16), &[9], Split::Test, origin(4)).unwrap();
        let leaks = watch.finish(|origin| format!("x:{}", origin.row)).unwrap();
        let expected = Leaks { prompts: 1, held_out_rows: 1, overlapping_rows: 1, overlapping: vec!["x:1".into()] };
        assert_eq!(leaks, expected);
    }
}
