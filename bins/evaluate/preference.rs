//! Preference pairs: how often the chosen answer is the more likely one, and how that changed from the base.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use artifact::{
    Committed, FileRecord, Identity, OutputFolder, PairScores, TokenReader, TokenRow, files, write_pair_scores,
};
use cli::{Outcome, Report};
use metrics::{Bootstrap, FEWEST_ROWS, Interval, MeanOf, confidence_interval};
use model::Decoder;
use report::{Block, Document, Figure, Section, Setting, Table, Tone, Verdict, count, decimal, percentage, signed};
use retune::tokens::Limits;
use serde::Serialize;
use training::Row;
use training::preference::{Sides, log_probabilities};

use crate::data_counts::DataCounts;
use crate::document::{course, loss_curves};
use crate::fit::Run;

/// Pairs that go through the model together.
const BATCH: usize = 8;
/// Pairs in a list.
const SHOWN: usize = 15;

/// The pairs of a file of tokens.
pub(crate) struct Pairs {
    rows: Vec<Row>,
    scores: Vec<PairScores>,
}

/// What is measured of one model.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PairFigures {
    /// Share of pairs whose chosen answer is the more likely one.
    preference_accuracy: f64,
    /// Mean log-probability of the chosen answer less that of the rejected.
    margin: f64,
    /// Mean log-probability of the chosen answers, summed over tokens.
    logps_chosen: f64,
    /// Of the rejected answers.
    logps_rejected: f64,
    /// Nats per token of the chosen answers.
    loss: f64,
}

/// What tuning changed: the rewards that DPO speaks of, for a beta of one.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Rewards {
    /// Mean gain in log-probability of the chosen answers over the base.
    chosen: f64,
    /// Of the rejected answers.
    rejected: f64,
    /// Share of pairs whose chosen answer gained more than the rejected one.
    accuracy: f64,
    /// By how much, in the mean.
    margin: f64,
    /// The range of that mean over resampled pairs.
    margin_interval: Option<Interval>,
}

/// The content of metrics.json and of `--json`.
#[derive(Debug, Serialize)]
struct Summary {
    split: String,
    pairs: usize,
    tuned: PairFigures,
    baseline: Option<PairFigures>,
    rewards: Option<Rewards>,
}

/// Whether the files of tokens, by split, hold preference pairs.
pub(crate) fn holds_pairs(tokens: &[(String, PathBuf)]) -> Result<bool> {
    let Some((_, path)) = tokens.first() else { return Ok(false) };
    Ok(TokenReader::open(path)?.holds_pairs())
}

impl Pairs {
    /// Reads the pairs.
    pub(crate) fn read(path: &Path, limits: Limits) -> Result<Self> {
        let mut found = Self { rows: Vec::new(), scores: Vec::new() };
        for (index, row) in TokenReader::open(path)?.read_all()?.into_iter().enumerate() {
            let number = index as u64 + 1;
            let place = || format!("{} row {number}", path.display());
            limits.check(&row, path, index + 1)?;
            found.scores.push(blank(&row, path, number));
            let unsigned = |values: Vec<i32>| values.into_iter().map(|value| value as u32).collect();
            let row = Row::new(unsigned(row.input_ids), row.labels, unsigned(row.position_ids));
            found.rows.push(row.with_context(place)?);
        }
        if found.rows.is_empty() {
            return Err(anyhow!("{} holds no pair: nothing can be measured", path.display()));
        }
        Ok(found)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Measures a model.
    pub(crate) fn measure(&self, decoder: &Decoder) -> Result<Vec<Sides>> {
        Ok(log_probabilities(decoder, &self.rows, BATCH)?)
    }
}

/// A pair's origin and size, its scores still open.
fn blank(row: &TokenRow, path: &Path, number: u64) -> PairScores {
    let middle = row.chosen_length.unwrap_or_default() as usize;
    let trained = |labels: &[i32]| labels.iter().skip(1).filter(|&&label| label >= 0).count() as u64;
    let (chosen, rejected) = row.labels.split_at(middle.min(row.labels.len()));
    let origin = row.examples.first();
    PairScores {
        id: origin.map_or_else(|| format!("row-{number}"), |example| example.id.clone()),
        source_file: origin.map_or_else(
            || path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            |example| example.source_file.clone(),
        ),
        source_row: origin.map_or(number, |example| example.source_row),
        chosen_tokens: trained(chosen),
        rejected_tokens: trained(rejected),
        ..PairScores::default()
    }
}

/// Writes what was measured, and says it.
pub(crate) fn write(
    (folder, split, model): (OutputFolder, String, String),
    (identity, inputs, counts, run): (Identity, &[FileRecord], &DataCounts, Option<&Run>),
    pairs: Pairs,
    (tuned, baseline): (&[Sides], Option<&[Sides]>),
) -> Result<Outcome> {
    let mut scores = pairs.scores;
    for (index, score) in scores.iter_mut().enumerate() {
        (score.logps_chosen, score.logps_rejected) = (tuned[index].chosen, tuned[index].rejected);
        score.baseline_logps_chosen = baseline.map(|sides| sides[index].chosen);
        score.baseline_logps_rejected = baseline.map(|sides| sides[index].rejected);
    }
    let tokens: u64 = scores.iter().map(|score| score.chosen_tokens).sum();
    let summary = Summary {
        split,
        pairs: scores.len(),
        tuned: figures(tuned, tokens),
        baseline: baseline.map(|sides| figures(sides, tokens)),
        rewards: baseline.map(|sides| rewards(tuned, sides)),
    };
    let document = summary.document(model, &scores, (inputs, counts, run));
    let mut outputs = vec![
        folder.stage_bytes(files::METRICS_JSON, &files::to_json(&summary))?,
        write_pair_scores(folder.stage(files::EXAMPLES)?, &scores)?,
    ];
    outputs.extend(retune::pages::stage(&folder, &document)?);
    let notes: String = document.verdict.notes.iter().map(|note| format!("\n  {note}")).collect();
    let page = folder.path().join(files::REPORT_HTML);
    let text = format!("{}{notes}\nreport: {}", document.verdict.sentence, page.display());
    let report = Report::new(text, &summary);
    folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: report.json.clone() })?;
    Ok(Outcome::Done(report))
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn share(values: impl ExactSizeIterator<Item = bool>) -> f64 {
    mean(values.map(|holds| f64::from(u8::from(holds))))
}

fn figures(sides: &[Sides], chosen_tokens: u64) -> PairFigures {
    let chosen = mean(sides.iter().map(|pair| pair.chosen));
    PairFigures {
        preference_accuracy: share(sides.iter().map(|pair| pair.chosen > pair.rejected)),
        margin: mean(sides.iter().map(|pair| pair.chosen - pair.rejected)),
        logps_chosen: chosen,
        logps_rejected: mean(sides.iter().map(|pair| pair.rejected)),
        loss: -chosen * sides.len() as f64 / chosen_tokens.max(1) as f64,
    }
}

fn rewards(tuned: &[Sides], base: &[Sides]) -> Rewards {
    let gains: Vec<Sides> = tuned
        .iter()
        .zip(base)
        .map(|(tuned, base)| Sides { chosen: tuned.chosen - base.chosen, rejected: tuned.rejected - base.rejected })
        .collect();
    let PairFigures { preference_accuracy: accuracy, margin, logps_chosen: chosen, logps_rejected: rejected, .. } =
        figures(&gains, 1);
    let mean = MeanOf { name: "margin".to_owned(), signature: String::new(), higher_is_better: true };
    let margins = mean.score(gains.iter().map(|gain| gain.chosen - gain.rejected).collect());
    let margin_interval = confidence_interval(&mean, &margins, &Bootstrap::default());
    Rewards { chosen, rejected, accuracy, margin, margin_interval }
}

impl Summary {
    fn sentence(&self) -> String {
        let accuracy = percentage(self.tuned.preference_accuracy);
        match (self.baseline, self.rewards) {
            (Some(base), Some(rewards)) => {
                let interval = rewards.margin_interval.map_or_else(String::new, |Interval { lower, upper }| {
                    format!("; 95 % interval {} … {}", signed(lower), signed(upper))
                });
                format!(
                    "The chosen answer is the more likely one in {accuracy} of {} pairs, under the base in {}; tuning raised \
                     it above the rejected one in {} (margin {} nats{interval}).",
                    self.pairs,
                    percentage(base.preference_accuracy),
                    percentage(rewards.accuracy),
                    signed(rewards.margin)
                )
            }
            _ => format!("The chosen answer is the more likely one in {accuracy} of {} pairs.", self.pairs),
        }
    }

    /// How the change from the base is meant, with a word on what it cannot tell.
    fn judged(&self) -> (Tone, Option<String>) {
        let Some(rewards) = self.rewards else { return (Tone::Neutral, None) };
        match rewards.margin_interval {
            _ if self.pairs < FEWEST_ROWS => {
                let pairs = cli::format::plural(self.pairs as u64, "pair");
                (
                    Tone::Caution,
                    Some(format!("{pairs} cannot tell tuned model and base apart ({FEWEST_ROWS} are the least).")),
                )
            }
            Some(Interval { lower, .. }) if lower > 0.0 => (Tone::Good, None),
            Some(Interval { upper, .. }) if upper < 0.0 => (Tone::Bad, None),
            _ => (Tone::Caution, Some("No difference to the base that chance could not make.".to_owned())),
        }
    }

    fn document(
        &self,
        model: String,
        scores: &[PairScores],
        (inputs, counts, run): (&[FileRecord], &DataCounts, Option<&Run>),
    ) -> Document {
        let (tone, note) = self.judged();
        let fit = run.into_iter().flat_map(|run| std::iter::once(&run.fit.sentence).chain(&run.fit.advice)).cloned();
        let notes = note.into_iter().chain(fit).collect();
        let curves = run.filter(|run| !run.rows.is_empty());
        let curves = curves.map(|run| [loss_curves(run, "loss of the objective"), course(run)]).into_iter().flatten();
        let setting = |name: &str, value: String| Setting { name: name.to_owned(), value };
        let mut settings = vec![
            setting("model", model.clone()),
            setting("split", self.split.clone()),
            setting("retune", cli::VERSION.to_owned()),
        ];
        settings.extend(inputs.iter().map(|input| setting(&format!("sha256 of {}", input.name), input.sha256.clone())));
        Document {
            title: format!("Evaluation of {model}"),
            subtitle: format!("retune-evaluate · {} pairs · {}", count(self.pairs as u64), self.split),
            verdict: Verdict { tone, sentence: self.sentence(), notes },
            sections: std::iter::once(self.result(tone))
                .chain(curves)
                .chain([misjudged(scores)])
                .chain(counts.section())
                .chain([Section::new("To repeat this", "The inputs by content: equal hashes give equal figures.")
                    .with(Block::Settings { settings })])
                .collect(),
        }
    }

    fn result(&self, tone: Tone) -> Section {
        let figure = |label: &str, value: fn(&PairFigures) -> f64, show: fn(f64) -> String, tone| Figure {
            label: label.to_owned(),
            value: show(value(&self.tuned)),
            detail: self.baseline.as_ref().map(|base| format!("base {}", show(value(base)))),
            tone,
        };
        let figures = vec![
            figure("Preference accuracy", |of| of.preference_accuracy, percentage, tone),
            figure("Margin", |of| of.margin, decimal, Tone::Neutral),
            figure("Chosen", |of| of.logps_chosen, decimal, Tone::Neutral),
            figure("Rejected", |of| of.logps_rejected, decimal, Tone::Neutral),
        ];
        let lead = "Accuracy is the share of pairs whose chosen answer is the more likely one; margin, chosen and rejected are \
                    mean log-probabilities of whole answers, in nats. Longer answers are less likely, so what tuning changed \
                    says more than the share itself.";
        Section::new("Result", lead).with(Block::Figures { figures })
    }
}

/// The pairs that the model gets most wrong.
fn misjudged(scores: &[PairScores]) -> Section {
    let gain = |score: &PairScores| {
        let base = score.baseline_logps_chosen.zip(score.baseline_logps_rejected);
        score.logps_chosen - score.logps_rejected - base.map_or(0.0, |(chosen, rejected)| chosen - rejected)
    };
    let mut worst: Vec<&PairScores> = scores.iter().collect();
    worst.sort_by(|a, b| gain(a).total_cmp(&gain(b)));
    let mut table = Table::new("", &["Source", "Id", "#Chosen", "#Rejected", "#Margin"]);
    for score in worst.into_iter().take(SHOWN) {
        table.push([
            format!("{}:{}", score.source_file, score.source_row),
            score.id.chars().take(12).collect(),
            decimal(score.logps_chosen),
            decimal(score.logps_rejected),
            signed(gain(score)),
        ]);
    }
    let lead = "The pairs in which the rejected answer is ahead most, over the base where there is one: look here first for \
                answers that are the wrong way round.";
    Section::new("Most misjudged pairs", lead).with(Block::Table(table))
}
