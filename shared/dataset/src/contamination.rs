//! Rows that overlap with texts which must stay unseen, such as a benchmark's questions.
//!
//! As in the appendix of GPT-3 (Brown et al. 2020): a row is contaminated where it shares a run of thirteen words
//! with one of the texts. A text of fewer words counts as a whole, if it has at least [`SHORTEST`].

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use artifact::Example;
use serde_json::Value;

use crate::duplicates::AlreadyHashed;
use crate::error::Result;
use crate::inputs::Input;
use crate::normal::{example_words, runs, words};
use crate::records;

/// Words in a run.
pub const RUN_WORDS: usize = 13;
/// Texts shorter than this say too little to tell an overlap from chance.
pub const SHORTEST: usize = 6;

/// The runs of words that must not occur.
#[derive(Clone, Debug, Default)]
pub struct Unseen {
    /// By the number of words in the run, ascending.
    runs: Vec<(usize, HashSet<u64, BuildHasherDefault<AlreadyHashed>>)>,
}

impl Unseen {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let mut found = Vec::new();
        words(text, &mut |word| found.push(word));
        if found.len() < SHORTEST {
            return;
        }
        let length = found.len().min(RUN_WORDS);
        let at = match self.runs.binary_search_by_key(&length, |(length, _)| *length) {
            Ok(at) => at,
            Err(at) => {
                self.runs.insert(at, (length, HashSet::default()));
                at
            }
        };
        self.runs[at].1.extend(runs(&found, length));
    }

    /// Adds each text inside a value.
    fn add_all(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Array(values) => values.iter().for_each(|value| self.add_all(value)),
            Value::Object(fields) => fields.values().for_each(|value| self.add_all(value)),
            _ => {}
        }
    }

    /// Whether nothing was added that could be found.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many words of a run the example shares with a text, if it does.
    pub fn overlap(&self, example: &Example) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let words = example_words(example);
        let fits = self.runs.iter().rev().filter(|(length, _)| *length <= words.len());
        for (length, known) in fits {
            if runs(&words, *length).any(|run| known.contains(&run)) {
                return Some(*length);
            }
        }
        None
    }
}

/// Reads all texts of the given files, of whatever shape: each text in each record counts by itself.
///
/// # Errors
/// As reading inputs does; a record that cannot be parsed is an error too.
pub fn read(files: &[Input]) -> Result<Unseen> {
    let mut unseen = Unseen::default();
    records::for_each(files, &mut |_, record| {
        record.fields.values().for_each(|value| unseen.add_all(value));
        Ok(())
    })?;
    Ok(unseen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::{Kind, Message};

    fn asks(text: &str) -> Example {
        Example {
            id: String::new(),
            kind: Kind::Completion,
            messages: vec![Message::new("user", text), Message::new("assistant", "Yes.")],
            tools: None,
            text: None,
            chosen: Vec::new(),
            rejected: Vec::new(),
            source_file: String::new(),
            source_row: 0,
            extra: Vec::new(),
        }
    }

    #[test]
    fn long_runs_and_short_texts_are_found() {
        let mut unseen = Unseen::default();
        unseen.add("one two three four five six seven eight nine ten eleven twelve thirteen fourteen");
        unseen.add("What is the capital of France?");
        unseen.add("Yes.");
        let found = |text: &str| unseen.overlap(&asks(text));
        assert_eq!(
            found("So: two three four five six seven eight nine ten, eleven twelve thirteen FOURTEEN"),
            Some(13)
        );
        assert_eq!(found("Tell me, what is the capital of france"), Some(6));
        assert_eq!(found("two three four five six seven eight nine ten eleven twelve"), None);
    }
}
