//! What was measured, as metrics.json holds it, and as a table for the terminal.

use std::collections::BTreeMap;

use artifact::ExampleLoss;
use metrics::{LossSummary, LossTotals, Overfitting};
use report::{Table, decimal, percentage, signed, table_text};
use serde::Serialize;

use crate::choices::ChoiceSummary;
use crate::groups::{Group, by_value};
use crate::loss::ExampleTotals;
use crate::run::Measured;
use crate::suspects::SuspectCounts;

/// What stands for the split where a bare file was given.
pub(crate) const FILE: &str = "file";

/// The content of metrics.json and of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// The split whose figures stand at the top, or [`FILE`].
    pub(crate) split: String,
    /// Examples measured in it.
    pub(crate) examples: usize,
    /// The tuned model.
    pub(crate) tuned: LossSummary,
    /// The base, where asked for.
    pub(crate) baseline: Option<LossSummary>,
    /// Each split by itself, where several were measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) splits: Vec<Group>,
    /// Each source file by itself, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<Group>,
    /// Each value of each column that ingest kept.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) columns: BTreeMap<String, Vec<Group>>,
    /// General text, where given.
    pub(crate) general: Option<GeneralSummary>,
    /// Multiple choice, where given.
    pub(crate) choices: Option<ChoicesSummary>,
    /// Examples that stand out.
    pub(crate) suspects: SuspectCounts,
    /// The verdict on the training run, where its figures were found.
    pub(crate) fit: Option<Overfitting>,
}

/// Loss on general text.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct GeneralSummary {
    /// Texts.
    pub(crate) documents: usize,
    /// The tuned model.
    pub(crate) tuned: LossSummary,
    /// The base, where asked for.
    pub(crate) baseline: Option<LossSummary>,
}

/// Multiple choice.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChoicesSummary {
    /// The tuned model.
    pub(crate) tuned: ChoiceSummary,
    /// The base, where asked for.
    pub(crate) baseline: Option<ChoiceSummary>,
}

/// The sums of many examples.
pub(crate) fn total<'a>(examples: impl IntoIterator<Item = &'a ExampleTotals>) -> LossTotals {
    examples.into_iter().fold(LossTotals::default(), |mut sum, example| {
        sum.add(&example.totals);
        sum
    })
}

/// Each source file by itself; nothing where there is only one.
pub(crate) fn by_source(measured: &Measured) -> Vec<Group> {
    let mut groups = by_value(&measured.tuned, measured.baseline.as_deref(), |example| example.source_file.clone());
    groups.sort_by(|a, b| a.value.cmp(&b.value));
    if groups.len() < 2 { Vec::new() } else { groups }
}

/// Rows of examples.parquet; an example without a trained token has none.
pub(crate) fn example_losses(measured: &Measured) -> Vec<ExampleLoss> {
    let rows = measured.tuned.iter().enumerate().filter_map(|(index, example)| {
        let own = example.totals.summary()?;
        let base = measured.baseline.as_ref().and_then(|examples| examples[index].totals.summary());
        Some(ExampleLoss {
            id: example.id.clone(),
            split: measured.split.clone(),
            source_file: example.source_file.clone(),
            source_row: example.source_row,
            trained_tokens: own.trained_tokens,
            loss: own.loss,
            token_accuracy: own.token_accuracy,
            baseline_loss: base.map(|base| base.loss),
            baseline_token_accuracy: base.map(|base| base.token_accuracy),
        })
    });
    rows.collect()
}

/// One line a figure: what it is called, its value, how it is shown.
type Line = (&'static str, fn(&LossSummary) -> Option<f64>, fn(f64) -> String);

const LINES: [Line; 5] = [
    ("loss (nats per trained token)", |summary| Some(summary.loss), decimal),
    ("perplexity", |summary| Some(summary.perplexity), decimal),
    ("token accuracy", |summary| Some(summary.token_accuracy), percentage),
    ("bits per byte", |summary| summary.text.map(|text| text.bits_per_byte), decimal),
    ("word perplexity", |summary| summary.text.map(|text| text.word_perplexity), decimal),
];

/// Tuned beside base, one line a figure.
pub(crate) fn figures(tuned: &LossSummary, baseline: Option<&LossSummary>) -> Table {
    let mut table = match baseline {
        Some(_) => Table::new("Tuned model beside its base", &["", "#base", "#tuned", "#difference"]),
        None => Table::new("The model", &["", "#value"]),
    };
    for (name, value, format) in LINES {
        let Some(own) = value(tuned) else { continue };
        match baseline.map(value) {
            Some(base) => {
                let difference = base.map_or(f64::NAN, |base| own - base);
                let difference = match name {
                    "token accuracy" => format!("{} points", signed(100.0 * difference)),
                    _ => signed(difference),
                };
                table.push([name.to_owned(), format(base.unwrap_or(f64::NAN)), format(own), difference]);
            }
            None => table.push([name.to_owned(), format(own)]),
        }
    }
    table
}

impl Summary {
    /// What was measured, in words.
    pub(crate) fn place(&self) -> String {
        if self.split == FILE { "the given file".to_owned() } else { format!("the {} split", self.split) }
    }

    /// Tuned beside base, one line a figure.
    pub(crate) fn table(&self) -> Table {
        figures(&self.tuned, self.baseline.as_ref())
    }

    /// What the terminal shows.
    pub(crate) fn text(&self, verdict: &str, curves: &str, report: &str) -> String {
        let SuspectCounts { likely_mislabelled, forgotten, too_easy } = self.suspects;
        let suspects = match likely_mislabelled + forgotten + too_easy {
            0 => String::new(),
            _ => format!(
                "\nsuspects.parquet: {likely_mislabelled} likely mislabelled, {forgotten} forgotten, {too_easy} too easy"
            ),
        };
        let choices = self.choices.as_ref().map_or_else(String::new, |found| {
            let base = found
                .baseline
                .map_or_else(String::new, |base| format!(" (base {:.4}, {:.4})", base.acc, base.acc_norm));
            format!("\nmultiple choice: acc {:.4}, acc_norm {:.4}{base}", found.tuned.acc, found.tuned.acc_norm)
        });
        format!(
            "{}\n{} over {} of {}{choices}{curves}\n{verdict}{suspects}\nreport: {report}",
            table_text(&self.table()).trim_end(),
            cli::format::plural(self.tuned.trained_tokens, "trained token"),
            cli::format::plural(self.examples as u64, "example"),
            self.place()
        )
    }
}
