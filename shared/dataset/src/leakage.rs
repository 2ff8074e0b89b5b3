//! Rows of a test that training has seen: the same example, the same prompt, or nearly the same words.
//!
//! The test is held in memory and training examples stream past it, so that memory grows with the test alone. Words are
//! compared without case and punctuation. Overlap is counted as in the appendix of PaLM (Chowdhery et al. 2022): a row
//! counts where training has at least 70 % of its runs of eight words.

use std::collections::HashMap;

use artifact::Example;

use crate::normal::{runs, words};

/// Words in a run.
pub const RUN_WORDS: usize = 8;
/// The share of a row's runs from which on it counts.
pub const LARGEST_SHARE: f64 = 0.7;

/// What a test row has in common with training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeakKind {
    /// Prompt and answer.
    SameExample,
    /// The prompt.
    SamePrompt,
    /// Most runs of words.
    Overlap,
}

impl LeakKind {
    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameExample => "same_example",
            Self::SamePrompt => "same_prompt",
            Self::Overlap => "overlap",
        }
    }
}

/// A test row that training has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Index of the test row.
    pub row: usize,
    /// What is the same.
    pub kind: LeakKind,
    /// Share of its runs of words that training has.
    pub share: f64,
    /// The first training example that has it.
    pub source_file: String,
    /// Where in that file.
    pub source_row: u64,
}

/// One row of the test.
#[derive(Debug, Default)]
struct Row {
    /// Its runs of words, and whether training has each.
    runs: Vec<(u64, bool)>,
    found: Option<(LeakKind, String, u64)>,
    /// The first example with a run of it.
    first: Option<(String, u64)>,
}

/// A test, and what was found of it so far.
#[derive(Debug, Default)]
pub struct LeakageCheck {
    rows: Vec<Row>,
    ids: HashMap<String, Vec<usize>>,
    prompts: HashMap<u64, Vec<usize>>,
    whole: HashMap<u64, Vec<usize>>,
    runs: HashMap<u64, Vec<(usize, usize)>>,
    /// Training examples seen: [`LeakageCheck::see`] counts, the others leave it to the caller.
    pub examples: u64,
}

fn hashes(texts: &[&str]) -> Vec<u64> {
    let mut found = Vec::new();
    texts.iter().for_each(|text| words(text, &mut |word| found.push(word)));
    found
}

/// One hash for all words.
fn whole(words: &[u64]) -> Option<u64> {
    (!words.is_empty()).then(|| runs(words, words.len()).next()).flatten()
}

impl LeakageCheck {
    /// Adds a test row.
    pub fn add(&mut self, id: &str, prompt: &str, reference: &str) {
        let row = self.rows.len();
        let (asked, all) = (hashes(&[prompt]), hashes(&[prompt, reference]));
        self.ids.entry(id.to_owned()).or_default().push(row);
        if let Some(hash) = whole(&asked) {
            self.prompts.entry(hash).or_default().push(row);
        }
        if let Some(hash) = whole(&all) {
            self.whole.entry(hash).or_default().push(row);
        }
        let mut own: Vec<(u64, bool)> = Vec::new();
        if all.len() > RUN_WORDS {
            own.extend(runs(&all, RUN_WORDS).map(|run| (run, false)));
            own.sort_unstable();
            own.dedup();
        }
        for (place, (run, _)) in own.iter().enumerate() {
            self.runs.entry(*run).or_default().push((row, place));
        }
        self.rows.push(Row { runs: own, ..Row::default() });
    }

    /// Shows a training example.
    pub fn see(&mut self, example: &Example) {
        let last = example.messages.iter().rposition(|message| message.role == "assistant");
        let asked = &example.messages[..last.unwrap_or(example.messages.len())];
        let said = |messages: &[artifact::Message]| -> Vec<String> {
            messages.iter().filter_map(|message| message.content.clone()).collect()
        };
        let answer = last.and_then(|place| example.messages[place].content.clone()).or_else(|| example.text.clone());
        let place = (example.source_file.as_str(), example.source_row);
        self.examples += 1;
        self.see_id(&example.id, place.0, place.1);
        self.see_texts(&said(asked).join("\n"), answer.as_deref().unwrap_or_default(), place);
    }

    /// Shows a training example of which no more than the id is known.
    pub fn see_id(&mut self, id: &str, source_file: &str, source_row: u64) {
        for row in self.ids.get(id).cloned().unwrap_or_default() {
            self.found(row, LeakKind::SameExample, (source_file, source_row));
        }
    }

    /// Shows a prompt and its answer.
    pub fn see_texts(&mut self, prompt: &str, answer: &str, place: (&str, u64)) {
        let (asked, all) = (hashes(&[prompt]), hashes(&[prompt, answer]));
        let rows = |map: &HashMap<u64, Vec<usize>>, words: &[u64]| {
            whole(words).and_then(|hash| map.get(&hash).cloned()).unwrap_or_default()
        };
        for row in rows(&self.whole, &all) {
            self.found(row, LeakKind::SameExample, place);
        }
        for row in rows(&self.prompts, &asked) {
            self.found(row, LeakKind::SamePrompt, place);
        }
        if all.len() < RUN_WORDS {
            return;
        }
        for run in runs(&all, RUN_WORDS) {
            for &(row, index) in self.runs.get(&run).map(Vec::as_slice).unwrap_or_default() {
                let row = &mut self.rows[row];
                row.runs[index].1 = true;
                row.first.get_or_insert_with(|| (place.0.to_owned(), place.1));
            }
        }
    }

    fn found(&mut self, row: usize, kind: LeakKind, (file, number): (&str, u64)) {
        let found = &mut self.rows[row].found;
        if found.as_ref().is_none_or(|(known, ..)| kind < *known) {
            *found = Some((kind, file.to_owned(), number));
        }
    }

    /// The rows that training has seen, in the order of the test.
    pub fn finish(self) -> Vec<Leak> {
        let leak = |(index, row): (usize, Row)| {
            let seen = row.runs.iter().filter(|(_, seen)| *seen).count();
            let share = seen as f64 / row.runs.len().max(1) as f64;
            let overlap = || row.first.filter(|_| share >= LARGEST_SHARE).map(|(file, n)| (LeakKind::Overlap, file, n));
            let (kind, source_file, source_row) = row.found.or_else(overlap)?;
            Some(Leak { row: index, kind, share, source_file, source_row })
        };
        self.rows.into_iter().enumerate().filter_map(leak).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_and_strangers_are_not() {
        let mut check = LeakageCheck::default();
        check.add("a", "Where is my parcel?", "On its way.");
        check.add("b", "How do I cancel?", "Write to us.");
        check.add("c", "one two three four five six seven eight nine ten eleven", "twelve thirteen");
        check.add("d", "Something else altogether", "Indeed.");
        check.add("e", "", "");
        check.see_texts("where is my PARCEL", "on its way", ("train.jsonl", 4));
        check.see_texts("How do I cancel?", "Call us.", ("train.jsonl", 5));
        check.see_texts("zero one two three four five six seven eight nine ten eleven", "twelve", ("train.jsonl", 6));
        check.see_texts("", "", ("train.jsonl", 7));
        let found: Vec<_> = check.finish().into_iter().map(|leak| (leak.row, leak.kind, leak.source_row)).collect();
        let expected = [(0, LeakKind::SameExample, 4), (1, LeakKind::SamePrompt, 5), (2, LeakKind::Overlap, 6)];
        assert_eq!(found, expected);
    }
}
