//! What was measured, as metrics.json holds it, and as a table for the terminal.

use artifact::ExampleLoss;
use metrics::{LossSummary, LossTotals, Overfitting};
use report::{Table, decimal, percentage, signed, table_text};
use serde::Serialize;

use crate::loss::ExampleTotals;

/// What stands for the split where a bare file was given.
pub(crate) const FILE: &str = "file";

/// The content of metrics.json and of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// The split, or [`FILE`].
    pub(crate) split: String,
    /// Examples measured.
    pub(crate) examples: usize,
    /// The tuned model.
    pub(crate) tuned: LossSummary,
    /// The base, where asked for.
    pub(crate) baseline: Option<LossSummary>,
    /// Each source file by itself, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<SourceSummary>,
    /// The verdict on the training run, where its figures were found.
    pub(crate) fit: Option<Overfitting>,
}

/// One source file.
#[derive(Debug, Serialize)]
pub(crate) struct SourceSummary {
    /// The file.
    pub(crate) source_file: String,
    /// Its examples.
    pub(crate) examples: usize,
    /// The tuned model.
    pub(crate) tuned: LossSummary,
    /// The base, where asked for.
    pub(crate) baseline: Option<LossSummary>,
}

/// The sums of many examples.
pub(crate) fn total<'a>(examples: impl IntoIterator<Item = &'a ExampleTotals>) -> LossTotals {
    examples.into_iter().fold(LossTotals::default(), |mut sum, example| {
        sum.add(&example.totals);
        sum
    })
}

/// Each source file by itself; nothing where there is only one.
pub(crate) fn by_source(tuned: &[ExampleTotals], baseline: Option<&[ExampleTotals]>) -> Vec<SourceSummary> {
    // Examples are sorted by file.
    let of = |examples: &[ExampleTotals], file: &str| {
        let chosen = examples.iter().filter(|example| example.source_file == file);
        total(chosen).summary()
    };
    let groups: Vec<&[ExampleTotals]> = tuned.chunk_by(|a, b| a.source_file == b.source_file).collect();
    if groups.len() < 2 {
        return Vec::new();
    }
    let summaries = groups.into_iter().filter_map(|group| {
        let source_file = group[0].source_file.clone();
        Some(SourceSummary {
            examples: group.len(),
            tuned: total(group).summary()?,
            baseline: baseline.and_then(|examples| of(examples, &source_file)),
            source_file,
        })
    });
    summaries.collect()
}

/// Rows of examples.parquet; an example without a trained token has none.
pub(crate) fn example_losses(tuned: &[ExampleTotals], baseline: Option<&[ExampleTotals]>) -> Vec<ExampleLoss> {
    let rows = tuned.iter().enumerate().filter_map(|(index, example)| {
        let own = example.totals.summary()?;
        let base = baseline.and_then(|examples| examples[index].totals.summary());
        Some(ExampleLoss {
            id: example.id.clone(),
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

impl Summary {
    /// What was measured, in words.
    pub(crate) fn place(&self) -> String {
        if self.split == FILE { "the given file".to_owned() } else { format!("the {} split", self.split) }
    }

    /// Tuned beside base, one line a figure.
    pub(crate) fn table(&self) -> Table {
        let mut table = match self.baseline {
            Some(_) => Table::new("Tuned model beside its base", &["", "#base", "#tuned", "#difference"]),
            None => Table::new("The model", &["", "#value"]),
        };
        type Figure = (&'static str, fn(&LossSummary) -> f64, fn(f64) -> String);
        let figures: [Figure; 3] = [
            ("loss (nats per trained token)", |summary| summary.loss, decimal),
            ("perplexity", |summary| summary.perplexity, decimal),
            ("token accuracy", |summary| summary.token_accuracy, percentage),
        ];
        for (name, value, format) in figures {
            let tuned = value(&self.tuned);
            match &self.baseline {
                Some(baseline) => {
                    let base = value(baseline);
                    let difference = if name == "token accuracy" {
                        format!("{} points", signed(100.0 * (tuned - base)))
                    } else {
                        signed(tuned - base)
                    };
                    table.push([name.to_owned(), format(base), format(tuned), difference]);
                }
                None => table.push([name.to_owned(), format(tuned)]),
            }
        }
        table
    }

    /// What the terminal shows.
    pub(crate) fn text(&self, verdict: &str, report: &str) -> String {
        format!(
            "{}\n{} over {} of {}\n{verdict}\nreport: {report}",
            table_text(&self.table()).trim_end(),
            cli::format::plural(self.tuned.trained_tokens, "trained token"),
            cli::format::plural(self.examples as u64, "example"),
            self.place()
        )
    }
}
