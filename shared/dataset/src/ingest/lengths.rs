//! What a run shows of its rows: how long they are, a sample of them, the longest and those with most findings.

use artifact::{Example, Split};
use serde::Serialize;

use crate::quality::Finding;
use crate::records::excerpt;

/// Rows by their number of characters, in classes that double: class N holds 2ᴺ to 2ᴺ⁺¹ − 1, class 0 also none.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Histogram {
    /// Rows of each class, up to the last that has any.
    pub classes: Vec<u64>,
    /// Characters of the longest row.
    pub longest: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, characters: u64) {
        let class = characters.max(1).ilog2() as usize;
        if self.classes.len() <= class {
            self.classes.resize(class + 1, 0);
        }
        self.classes[class] += 1;
        self.longest = self.longest.max(characters);
    }
}

/// A row as the report shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// `file:row`.
    pub place: String,
    /// Where it went.
    pub split: Split,
    /// Characters of all its texts.
    pub characters: u64,
    /// What the rules found.
    pub findings: Vec<String>,
    /// Its beginning.
    pub text: String,
}

/// A few rows worth a look. Which of them does not depend on the order of reading: the sample is of those with the
/// smallest identities, which are as good as drawn by chance.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    sample: Vec<(u128, Shown)>,
    longest: Vec<(u64, Shown)>,
    worst: Vec<(usize, Shown)>,
}

/// Rows of each kind.
const SHOWN: usize = 6;
/// Characters of a row.
const EXCERPT: usize = 700;

impl Gallery {
    pub(super) fn look(
        &mut self,
        place: impl Fn() -> String,
        example: &Example,
        (identity, characters, split): (u128, u64, Split),
        findings: &[Finding],
    ) {
        let shown = || Shown {
            place: place(),
            split,
            characters,
            findings: findings.iter().map(|finding| format!("{}: {}", finding.code, finding.detail)).collect(),
            text: beginning(example),
        };
        keep(&mut self.sample, u128::MAX - identity, shown);
        keep(&mut self.longest, characters, shown);
        if !findings.is_empty() {
            keep(&mut self.worst, findings.len(), shown);
        }
    }

    /// A sample of the rows.
    pub fn sample(&self) -> impl Iterator<Item = &Shown> {
        self.sample.iter().map(|(_, shown)| shown)
    }

    /// The longest rows.
    pub fn longest(&self) -> impl Iterator<Item = &Shown> {
        self.longest.iter().map(|(_, shown)| shown)
    }

    /// The rows with most findings.
    pub fn worst(&self) -> impl Iterator<Item = &Shown> {
        self.worst.iter().map(|(_, shown)| shown)
    }
}

/// Keeps the largest few, the first of equals before later ones.
fn keep<K: Ord + Copy>(kept: &mut Vec<(K, Shown)>, key: K, shown: impl FnOnce() -> Shown) {
    if kept.len() == SHOWN && kept.last().is_some_and(|(least, _)| *least >= key) {
        return;
    }
    let at = kept.partition_point(|(other, _)| *other >= key);
    kept.insert(at, (key, shown()));
    kept.truncate(SHOWN);
}

fn beginning(example: &Example) -> String {
    if let Some(text) = &example.text {
        return excerpt(text, EXCERPT);
    }
    let mut whole = String::new();
    let sides = [("", &example.messages), ("chosen ", &example.chosen), ("rejected ", &example.rejected)];
    for (side, message) in sides.iter().flat_map(|(side, turns)| turns.iter().map(move |turn| (side, turn))) {
        let said = message.content.as_deref().or(message.tool_calls.as_deref()).unwrap_or_default();
        whole.push_str(&format!("[{side}{}] {}\n", message.role, excerpt(said, EXCERPT)));
        if whole.len() > 2 * EXCERPT {
            break;
        }
    }
    excerpt(whole.trim_end(), EXCERPT)
}
