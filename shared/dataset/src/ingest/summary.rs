//! What happened, for people and for `--json`.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use artifact::{Code, Reject, Split};
use serde::Serialize;

use super::plan::FilePlan;
use crate::duplicates::AlreadyHashed;

/// Counts of a whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Rows read.
    pub read: u64,
    /// Rows written to a split.
    pub written: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Each split that gets rows.
    pub splits: BTreeMap<Split, SplitSummary>,
    /// Rejected rows by code.
    pub rejects: BTreeMap<&'static str, RejectSummary>,
    /// Prompts that stand in more than one split.
    pub shared_prompts: Leaks,
    /// Each file, in the order read.
    pub files: Vec<FileSummary>,
}

/// Counts of a split.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SplitSummary {
    /// Rows.
    pub rows: u64,
    /// Characters of all their texts.
    pub characters: u64,
}

/// Counts of a reason.
#[derive(Clone, Debug, Serialize)]
pub struct RejectSummary {
    /// Rows rejected for it.
    pub rows: u64,
    /// The first of them, as `file:row: detail`.
    pub example: String,
}

/// Prompts in more than one split: the same question in training and test makes a test too easy.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Leaks {
    /// Different prompts that stand in more than one split.
    pub prompts: u64,
    /// Rows of the validation and test splits whose prompt is also in the training split.
    pub held_out_rows: u64,
}

/// Counts of a file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileSummary {
    /// Its name.
    pub file: String,
    /// How its records lie.
    pub container: &'static str,
    /// Their shape.
    pub format: &'static str,
    /// Rows read.
    pub rows: u64,
    /// Rows written.
    pub written: u64,
    /// Columns found that nobody asked for.
    pub unused_columns: Vec<String>,
    /// What else was found out.
    pub notes: Vec<String>,
}

impl Summary {
    pub(super) fn begin(splits: &[Split]) -> Self {
        let splits = splits.iter().map(|split| (*split, SplitSummary::default())).collect();
        Self { splits, ..Self::default() }
    }

    pub(super) fn begin_file(&mut self, plan: &FilePlan, container: &'static str) {
        self.files.push(FileSummary {
            file: plan.name.clone(),
            container,
            format: plan.shape.as_str(),
            unused_columns: plan.unused.clone(),
            notes: plan.notes.clone(),
            ..FileSummary::default()
        });
    }

    pub(super) fn count_written(&mut self, split: Split, characters: u64) {
        let counts = self.splits.entry(split).or_default();
        counts.rows += 1;
        counts.characters += characters;
        self.written += 1;
        if let Some(file) = self.files.last_mut() {
            file.written += 1;
        }
    }

    pub(super) fn count_rejected(&mut self, code: Code, reject: &Reject) {
        self.rejected += 1;
        let first = || format!("{}:{}: {}", reject.source_file, reject.source_row, reject.detail);
        let counts = self.rejects.entry(code.as_str()).or_insert_with(|| RejectSummary { rows: 0, example: first() });
        counts.rows += 1;
    }

    /// The example of the reason that took most.
    pub(super) fn first_reject(&self) -> String {
        let most = self.rejects.values().max_by_key(|counts| counts.rows);
        most.map_or_else(String::new, |counts| crate::records::excerpt(&counts.example, 300))
    }

    /// Counts by code in one line.
    pub fn reasons(&self) -> String {
        let counts = self.rejects.iter().map(|(code, counts)| format!("{} {code}", counts.rows));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// Which splits each prompt stands in.
#[derive(Default)]
pub(super) struct PromptSplits {
    rows: HashMap<u64, [u32; 3], BuildHasherDefault<AlreadyHashed>>,
}

impl PromptSplits {
    pub(super) fn add(&mut self, prompt: u128, split: Split) {
        self.rows.entry(prompt as u64).or_default()[split as usize] += 1;
    }

    pub(super) fn leaks(&self) -> Leaks {
        let mut leaks = Leaks::default();
        for [train, validation, test] in self.rows.values() {
            leaks.prompts += u64::from([train, validation, test].iter().filter(|rows| ***rows > 0).count() > 1);
            if *train > 0 {
                leaks.held_out_rows += u64::from(validation + test);
            }
        }
        leaks
    }
}
