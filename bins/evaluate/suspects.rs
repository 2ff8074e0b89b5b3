//! Examples that stand out, from their losses over training and under both models: a table to feed back to ingest.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use artifact::{ExamplePoint, FinishedFile, OutputFolder, PlainColumn, files, read_example_history, write_plain_table};
use metrics::{Course, SuspectReason, find_suspects};
use serde::Serialize;

use crate::run::Measured;

/// An example that stands out.
#[derive(Debug, Clone)]
pub(crate) struct SuspectRow {
    pub(crate) id: String,
    pub(crate) split: String,
    pub(crate) source_file: String,
    pub(crate) source_row: u64,
    pub(crate) reason: SuspectReason,
    pub(crate) detail: String,
    course: Course,
}

/// How many there are of each kind.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct SuspectCounts {
    /// Loss far above the others', hardly lowered by training.
    pub(crate) likely_mislabelled: usize,
    /// Known once, not known at the end.
    pub(crate) forgotten: usize,
    /// Nothing to learn from it.
    pub(crate) too_easy: usize,
}

/// Split, id, file and row of an example.
type Name = (String, String, String, u64);

/// The losses of every example that training or this evaluation measured.
#[derive(Debug, Default)]
pub(crate) struct Courses(BTreeMap<Name, Course>);

impl Courses {
    /// From the table that training wrote, where there is one.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self> {
        let mut sums: BTreeMap<(Name, u64), (f64, f64)> = BTreeMap::new();
        for point in path.map(read_example_history).transpose()?.unwrap_or_default() {
            let ExamplePoint { step, split, id, source_file, source_row, trained_tokens, loss } = point;
            let name = (split.as_str().to_owned(), id, source_file, source_row);
            // An example that was cut in pieces is one example.
            let sum = sums.entry((name, step)).or_default();
            sum.0 += loss * f64::from(trained_tokens);
            sum.1 += f64::from(trained_tokens);
        }
        let mut courses = Self::default();
        for ((name, step), (loss, tokens)) in sums {
            courses.0.entry(name).or_default().points.push((step, loss / tokens));
        }
        Ok(courses)
    }

    /// How many examples of a split training measured; none where it kept no such table.
    pub(crate) fn examples(&self, split: &str) -> Option<usize> {
        Some(self.0.keys().filter(|name| name.0 == split).count()).filter(|&examples| examples > 0)
    }

    /// Adds what both models say now.
    pub(crate) fn add(&mut self, measured: &Measured) {
        for (index, example) in measured.tuned.iter().enumerate() {
            let name = (measured.split.clone(), example.id.clone(), example.source_file.clone(), example.source_row);
            let course = self.0.entry(name).or_default();
            course.tuned = example.totals.summary().map(|summary| summary.loss);
            let base = measured.baseline.as_ref().and_then(|base| base[index].totals.summary());
            course.baseline = base.map(|summary| summary.loss);
        }
    }

    /// Those that stand out, split by split.
    pub(crate) fn suspects(self) -> Vec<SuspectRow> {
        let mut splits: BTreeMap<String, (Vec<Name>, Vec<Course>)> = BTreeMap::new();
        for (name, course) in self.0 {
            let split = splits.entry(name.0.clone()).or_default();
            split.0.push(name);
            split.1.push(course);
        }
        let mut rows = Vec::new();
        for (names, courses) in splits.into_values() {
            rows.extend(find_suspects(&courses).into_iter().map(|suspect| {
                let (split, id, source_file, source_row) = names[suspect.index].clone();
                let (reason, detail, course) = (suspect.reason, suspect.detail, courses[suspect.index].clone());
                SuspectRow { id, split, source_file, source_row, reason, detail, course }
            }));
        }
        rows
    }
}

/// Counts by reason.
pub(crate) fn counts(rows: &[SuspectRow]) -> SuspectCounts {
    let of = |reason| rows.iter().filter(|row| row.reason == reason).count();
    SuspectCounts {
        likely_mislabelled: of(SuspectReason::LikelyMislabelled),
        forgotten: of(SuspectReason::Forgotten),
        too_easy: of(SuspectReason::TooEasy),
    }
}

/// Writes suspects.parquet.
pub(crate) fn write(folder: &OutputFolder, rows: &[SuspectRow]) -> Result<FinishedFile> {
    let text =
        |value: fn(&SuspectRow) -> &str| PlainColumn::Text(rows.iter().map(|row| value(row).to_owned()).collect());
    let number = |value: fn(&SuspectRow) -> Option<f64>| PlainColumn::Number(rows.iter().map(value).collect());
    Ok(write_plain_table(
        folder.stage(files::SUSPECTS)?,
        vec![
            ("id", text(|row| &row.id)),
            ("split", text(|row| &row.split)),
            ("reason", text(|row| row.reason.as_str())),
            ("detail", text(|row| &row.detail)),
            ("source_file", text(|row| &row.source_file)),
            ("source_row", PlainColumn::Count(rows.iter().map(|row| row.source_row).collect())),
            ("baseline_loss", number(|row| row.course.baseline)),
            ("first_loss", number(|row| row.course.points.first().map(|point| point.1))),
            ("lowest_loss", number(|row| row.course.points.iter().map(|point| point.1).reduce(f64::min))),
            ("last_loss", number(|row| row.course.points.last().map(|point| point.1))),
            ("tuned_loss", number(|row| row.course.tuned)),
        ],
    )?)
}
