//! What happened, for people and for `--json`.

use std::collections::BTreeMap;

use artifact::Split;
use serde::Serialize;

use super::plan::FilePlan;
use crate::duplicates::Near;
use crate::exclusion::Exclusion;
use crate::leaks::Leaks;
use crate::shape::Unread;

use super::lengths::{Gallery, Histogram};

/// Counts of a whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Rows read.
    pub read: u64,
    /// Rows written to a split.
    pub written: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Copies written of rows that count more than once.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// Each split that gets rows.
    pub splits: BTreeMap<Split, SplitSummary>,
    /// Rejected rows by code.
    pub rejects: BTreeMap<&'static str, Reason>,
    /// What rules found in rows, kept ones too, by their code.
    pub findings: BTreeMap<&'static str, Reason>,
    /// Of the ids of `--exclude`, those that rows have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
    /// What the splits have in common.
    pub shared_prompts: Leaks,
    /// The parameters of near duplicates, where they were looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<Near>,
    /// Each file, in the order read.
    pub files: Vec<FileSummary>,
    /// Rows worth a look.
    #[serde(skip)]
    pub gallery: Gallery,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Counts of a split.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SplitSummary {
    /// Rows.
    pub rows: u64,
    /// Characters of all their texts.
    pub characters: u64,
    /// How long they are.
    pub lengths: Histogram,
}

/// Counts of a reason.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reason {
    /// Rows rejected for it, or in which it was found.
    pub rows: u64,
    /// The first of them, as `file:row: detail`.
    pub example: String,
    /// A few more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<String>,
}

impl Reason {
    /// Examples of a reason beside the first.
    const MORE: usize = 3;

    fn count(&mut self, place: &str, detail: &str) {
        self.rows += 1;
        if self.rows == 1 {
            self.example = format!("{place}: {detail}");
        } else if self.more.len() < Self::MORE {
            self.more.push(format!("{place}: {detail}"));
        }
    }
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
    /// Rows rejected, by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// How often a row counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Columns found that nobody asked for.
    pub unused_columns: Vec<String>,
    /// Keys of turns that no example takes, each with its turns.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unused_turn_keys: BTreeMap<String, u64>,
    /// Roles that are spelled otherwise than in examples, as `found → taken as`, each with its turns.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed_roles: BTreeMap<String, u64>,
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
            weight: Some(plan.weight).filter(|weight| *weight != 1.0),
            unused_columns: plan.unused.clone(),
            notes: plan.notes.clone(),
            ..FileSummary::default()
        });
    }

    pub(super) fn count_unread(&mut self, unread: &Unread, late: &[String]) {
        let Some(file) = self.files.last_mut() else { return };
        let keys = std::mem::take(&mut file.unused_turn_keys);
        let mut all = Unread { keys, roles: std::mem::take(&mut file.renamed_roles) };
        all.add(unread);
        (file.unused_turn_keys, file.renamed_roles) = (all.keys, all.roles);
        for column in late {
            if !file.unused_columns.contains(column) {
                file.unused_columns.push(column.clone());
            }
        }
    }

    pub(super) fn count_written(&mut self, split: Split, characters: u64, copies: u64) {
        let counts = self.splits.entry(split).or_default();
        counts.rows += copies;
        counts.characters += copies * characters;
        counts.lengths.add(characters);
        self.written += copies;
        self.repeated += copies.saturating_sub(1);
        if let Some(file) = self.files.last_mut() {
            file.written += copies;
        }
    }

    pub(super) fn count_rejected(&mut self, code: &'static str, place: &str, detail: &str) {
        self.rejected += 1;
        self.rejects.entry(code).or_default().count(place, detail);
        if let Some(file) = self.files.last_mut() {
            *file.rejected.entry(code).or_default() += 1;
        }
    }

    pub(super) fn count_found(&mut self, code: &'static str, place: &str, detail: &str) {
        self.findings.entry(code).or_default().count(place, detail);
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
