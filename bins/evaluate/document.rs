//! The report of an evaluation: verdict, figures, curves, the examples that stand out, how to repeat it.

use artifact::{ExampleLoss, FileRecord, MetricsRow};
use metrics::{CurvePoint, FEWEST_ROWS, FitVerdict, SuspectReason};
use report::{
    BarChart, Block, Document, Figure, LineChart, Marker, Point, Section, Series, Setting, Table, Tone, Verdict, count,
    decimal, percentage, signed,
};

use crate::data_counts::DataCounts;
use crate::fit::Run;
use crate::groups::Group;
use crate::summary::{Summary, figures};
use crate::suspects::SuspectRow;

/// Examples shown in each list.
const SHOWN: usize = 15;
/// A rise of the loss on general text that counts as forgetting, in percent.
const FORGETS: f64 = 2.0;

/// Everything that the report is made of.
pub(crate) struct Findings<'a> {
    pub(crate) model: String,
    pub(crate) summary: &'a Summary,
    pub(crate) run: Option<&'a Run>,
    pub(crate) examples: &'a [ExampleLoss],
    pub(crate) suspects: &'a [SuspectRow],
    pub(crate) data: &'a DataCounts,
    pub(crate) inputs: &'a [FileRecord],
}

/// The verdict in a sentence, with evidence and advice.
pub(crate) fn verdict(summary: &Summary, run: Option<&Run>) -> Verdict {
    let better = summary.baseline.map(|baseline| (baseline.loss - summary.tuned.loss, baseline));
    let few = summary.examples < FEWEST_ROWS;
    let against = match better {
        Some((gain, baseline)) if few => format!(
            "{} of {} cannot tell whether the tuned model predicts better than its base ({FEWEST_ROWS} are the least): loss {} against {} ({} nats).",
            cli::format::plural(summary.examples as u64, "example"),
            summary.place(),
            decimal(summary.tuned.loss),
            decimal(baseline.loss),
            signed(-gain)
        ),
        Some((gain, baseline)) if gain > 0.0 => format!(
            "The tuned model predicts {} better than its base: loss {} against {} ({} nats).",
            summary.place(),
            decimal(summary.tuned.loss),
            decimal(baseline.loss),
            signed(-gain)
        ),
        Some((gain, baseline)) => format!(
            "The tuned model does not predict {} better than its base: loss {} against {} ({} nats).",
            summary.place(),
            decimal(summary.tuned.loss),
            decimal(baseline.loss),
            signed(-gain)
        ),
        None => format!(
            "Loss {} (perplexity {}) on {}.",
            decimal(summary.tuned.loss),
            decimal(summary.tuned.perplexity),
            summary.place()
        ),
    };
    let worse = better.is_some_and(|(gain, _)| gain <= 0.0);
    let mut tone = match run.map(|run| run.fit.verdict) {
        _ if worse && !few => Tone::Bad,
        Some(FitVerdict::Diverged | FitVerdict::NotLearning) => Tone::Bad,
        Some(FitVerdict::Overfitted) => Tone::Caution,
        _ if better.is_some() && few => Tone::Caution,
        _ if better.is_some() => Tone::Good,
        _ => Tone::Neutral,
    };
    let mut notes = Vec::new();
    match run {
        Some(run) => {
            notes.push(run.fit.sentence.clone());
            notes.extend(run.fit.advice.iter().cloned());
        }
        None => notes
            .push("No verdict on overfitting: the model folder has no metrics.parquet of a training run.".to_owned()),
    }
    if let Some((general, base)) = summary.general.as_ref().and_then(|general| Some((general, general.baseline?))) {
        let rise = general.tuned.loss - base.loss;
        let share = 100.0 * rise / base.loss;
        notes.push(if share > FORGETS {
            // Better at the task and worse at all else is no plain success.
            tone = if tone == Tone::Good { Tone::Caution } else { tone };
            // Not beside the advice to train longer.
            let improving = run.is_some_and(|run| run.fit.verdict == FitVerdict::StillImproving);
            let shorter = if improving { "" } else { ", fewer epochs," };
            format!(
                "It forgot: loss on general text rose from {} to {} ({share:+.1} %). A lower learning rate{shorter} or some general text among the training rows keeps more.",
                decimal(base.loss),
                decimal(general.tuned.loss)
            )
        } else {
            format!("Little forgotten: loss on general text went from {} to {}.", decimal(base.loss), decimal(general.tuned.loss))
        });
    }
    Verdict { tone, sentence: against, notes }
}

impl Findings<'_> {
    /// The whole report.
    pub(crate) fn document(&self) -> Document {
        let mut sections = vec![self.result()];
        if let Some(run) = self.run.filter(|run| !run.rows.is_empty()) {
            sections.push(loss_curves(run, "nats per trained token"));
            sections.push(course(run));
        }
        if !self.summary.splits.is_empty() {
            sections.push(group_section("By split", "The same figures in each split.", "Split", &self.summary.splits));
        }
        if !self.summary.sources.is_empty() {
            let lead = "Where the model is strong and where it is weak.";
            sections.push(group_section("By source", lead, "Source", &self.summary.sources));
        }
        for (column, groups) in &self.summary.columns {
            let lead = "The examples by this column, as ingest kept it; the largest group first.";
            sections.push(group_section(&format!("By {column}"), lead, column, groups));
        }
        sections.extend(self.general());
        sections.extend(self.choices());
        sections.push(self.lengths());
        sections.extend(self.suspicious());
        sections.extend(self.standing_out());
        sections.extend(self.data.section());
        sections.push(self.settings());
        Document {
            title: format!("Evaluation of {}", self.model),
            subtitle: format!(
                "retune-evaluate · {} · {} of {}",
                cli::format::plural(self.summary.tuned.trained_tokens, "trained token"),
                cli::format::plural(self.summary.examples as u64, "example"),
                self.summary.place()
            ),
            verdict: self.verdict(),
            sections,
        }
    }

    /// The verdict, with a word on what may be wrong with the data.
    fn verdict(&self) -> Verdict {
        let mut verdict = verdict(self.summary, self.run);
        let suspects = self.summary.suspects.likely_mislabelled;
        if suspects > 0 {
            let rows = cli::format::plural(suspects as u64, "row");
            verdict.notes.push(format!("{rows} may be mislabelled: look at the first under Suspects."));
        }
        verdict
    }

    fn result(&self) -> Section {
        let (tuned, baseline) = (&self.summary.tuned, self.summary.baseline.as_ref());
        let tone = match baseline {
            Some(_) if self.summary.examples < FEWEST_ROWS => Tone::Neutral,
            Some(baseline) if tuned.loss < baseline.loss => Tone::Good,
            Some(_) => Tone::Bad,
            None => Tone::Neutral,
        };
        let figure = |label: &str, value: String, base: Option<String>, tone| Figure {
            label: label.to_owned(),
            value,
            detail: base.map(|base| format!("base {base}")),
            tone,
        };
        let figures = vec![
            figure("Loss", decimal(tuned.loss), baseline.map(|base| decimal(base.loss)), tone),
            figure("Perplexity", decimal(tuned.perplexity), baseline.map(|base| decimal(base.perplexity)), tone),
            figure(
                "Token accuracy",
                percentage(tuned.token_accuracy),
                baseline.map(|base| percentage(base.token_accuracy)),
                Tone::Neutral,
            ),
            figure("Trained tokens", count(tuned.trained_tokens), None, Tone::Neutral),
        ];
        let lead = "Loss is the mean negative log-likelihood of a trained token, in nats: every token weighs the same, \
                    and where training teaches the token that ends an answer, it counts too. Perplexity is exp(loss). Lower is better for both.";
        Section::new("Result", lead).with(Block::Figures { figures }).with(Block::Table(self.summary.table()))
    }

    fn general(&self) -> Option<Section> {
        let general = self.summary.general.as_ref()?;
        let lead = format!(
            "{} that training did not aim at: what the model knew before and still knows.",
            cli::format::plural(general.documents as u64, "text")
        );
        let table = figures(&general.tuned, general.baseline.as_ref());
        Some(Section::new("General text", lead).with(Block::Table(table)))
    }

    fn choices(&self) -> Option<Section> {
        let found = self.summary.choices.as_ref()?;
        let few = match found.tuned.questions {
            questions if questions < FEWEST_ROWS => {
                let asked = cli::format::plural(questions as u64, "question");
                format!(" {asked} cannot tell the models apart ({FEWEST_ROWS} are the least).")
            }
            _ => String::new(),
        };
        let lead = format!(
            "The answer is the choice that the model finds most likely; acc_norm divides its log-likelihood by its number of \
             characters, as lm-evaluation-harness does. ± is the standard error.{few}"
        );
        let mut table = Table::new("", &["Model", "#acc", "#±", "#acc_norm", "#±", "#Questions"]);
        for (name, summary) in [("base", found.baseline), ("tuned", Some(found.tuned))] {
            let Some(summary) = summary else { continue };
            let mut row = vec![name.to_owned()];
            row.extend([summary.acc, summary.acc_stderr, summary.acc_norm, summary.acc_norm_stderr].map(decimal));
            row.push(count(summary.questions as u64));
            table.push(row);
        }
        Some(Section::new("Multiple choice", lead).with(Block::Table(table)))
    }

    fn lengths(&self) -> Section {
        let mut series: Vec<(&str, Vec<u64>)> = Vec::new();
        for example in self.examples {
            match series.iter_mut().find(|(split, _)| *split == example.split) {
                Some((_, lengths)) => lengths.push(example.trained_tokens),
                None => series.push((&example.split, vec![example.trained_tokens])),
            }
        }
        let chart = BarChart::histogram("Trained tokens of an example", "tokens", "examples", 20, &series);
        Section::new("Lengths", "How much of each example the loss is measured on.").with(Block::Bars(chart))
    }

    /// Examples to look at, reason by reason.
    fn suspicious(&self) -> Option<Section> {
        if self.suspects.is_empty() {
            return None;
        }
        let lead = "Examples that stand out by their losses over training; suspects.parquet lists them all with their ids, \
                    to be looked at, mended, or left out with retune-ingest --exclude.";
        let mut section = Section::new("Suspects", lead);
        let kinds = [
            (SuspectReason::LikelyMislabelled, "Likely mislabelled: the loss stays far above the others'"),
            (SuspectReason::Forgotten, "Forgotten: known once, not known at the end"),
            (SuspectReason::TooEasy, "Too easy: nothing to learn from them"),
        ];
        for (reason, caption) in kinds {
            let rows: Vec<&SuspectRow> = self.suspects.iter().filter(|row| row.reason == reason).collect();
            if rows.is_empty() {
                continue;
            }
            let mut table = Table::new(format!("{caption} ({})", rows.len()), &["Source", "Split", "Id", "Evidence"]);
            for row in rows.into_iter().take(SHOWN) {
                table.push([
                    format!("{}:{}", row.source_file, row.source_row),
                    row.split.clone(),
                    row.id.chars().take(12).collect(),
                    row.detail.clone(),
                ]);
            }
            section = section.with(Block::Table(table));
        }
        Some(section)
    }

    /// Lists of examples: the hardest, and those that tuning made worse.
    fn standing_out(&self) -> Vec<Section> {
        let mut hardest: Vec<&ExampleLoss> = self.examples.iter().collect();
        hardest.sort_by(|a, b| b.loss.total_cmp(&a.loss));
        hardest.truncate(SHOWN);
        let lead = "The examples that the model finds hardest: look here first for wrong labels and odd records.";
        let mut sections = vec![Section::new("Hardest examples", lead).with(Block::Table(example_table(&hardest)))];
        let rise = |example: &ExampleLoss| example.baseline_loss.map_or(0.0, |base| example.loss - base);
        let mut worse: Vec<&ExampleLoss> = self.examples.iter().filter(|example| rise(example) > 0.0).collect();
        worse.sort_by(|a, b| rise(b).total_cmp(&rise(a)));
        let total = worse.len();
        worse.truncate(SHOWN);
        if total > 0 {
            let lead = format!(
                "{} that the base predicted better than the tuned model does, the largest difference first.",
                cli::format::plural(total as u64, "example")
            );
            sections.push(Section::new("Made worse by tuning", lead).with(Block::Table(example_table(&worse))));
        }
        sections
    }

    fn settings(&self) -> Section {
        let setting = |name: &str, value: String| Setting { name: name.to_owned(), value };
        let mut settings = vec![
            setting("model", self.model.clone()),
            setting("split", self.summary.split.clone()),
            setting("retune", cli::VERSION.to_owned()),
        ];
        for (name, value) in self.run.into_iter().flat_map(|run| &run.options).filter(|(_, value)| !value.is_null()) {
            settings.push(retune::pages::setting(&format!("training: {name}"), value));
        }
        settings.extend(
            self.inputs.iter().map(|input| setting(&format!("sha256 of {}", input.name), input.sha256.clone())),
        );
        Section::new("To repeat this", "The inputs by content: equal hashes give equal figures.")
            .with(Block::Settings { settings })
    }
}

fn group_section(title: &str, lead: &str, column: &str, groups: &[Group]) -> Section {
    let mut table = Table::new("", &[column, "#Examples", "#Trained tokens", "#Base loss", "#Tuned loss", "#Accuracy"]);
    for group in groups {
        table.push([
            group.value.clone(),
            count(group.examples as u64),
            count(group.tuned.trained_tokens),
            group.baseline.map_or("–".to_owned(), |baseline| decimal(baseline.loss)),
            decimal(group.tuned.loss),
            percentage(group.tuned.token_accuracy),
        ]);
    }
    Section::new(title, lead).with(Block::Table(table))
}

fn example_table(examples: &[&ExampleLoss]) -> Table {
    let mut table =
        Table::new("", &["Source", "Id", "#Trained tokens", "#Base loss", "#Tuned loss", "#Token accuracy"]);
    for example in examples {
        table.push([
            format!("{}:{}", example.source_file, example.source_row),
            example.id.chars().take(12).collect(),
            count(example.trained_tokens),
            example.baseline_loss.map_or("–".to_owned(), decimal),
            decimal(example.loss),
            percentage(example.token_accuracy),
        ]);
    }
    table
}

fn points(curve: &[CurvePoint]) -> Vec<Point> {
    curve.iter().map(|point| Point { x: point.step as f64, y: point.loss }).collect()
}

/// The curves of loss; `unit` is what it is counted in.
pub(crate) fn loss_curves(run: &Run, unit: &str) -> Section {
    let (train, validation) = (run.curve(|row| row.loss), run.curve(|row| row.validation_loss));
    let mut markers = Vec::new();
    if let Some(best) = run.fit.best {
        let label = match run.fit.verdict {
            FitVerdict::Overfitted => format!("best step {}: overfits from here", best.step),
            _ => format!("best step {}", best.step),
        };
        markers.push(Marker { x: best.step as f64, label });
    }
    if let Some(step) = run.result_step.filter(|&step| run.fit.best.is_none_or(|best| best.step != step)) {
        markers.push(Marker { x: step as f64, label: format!("step {step}: the result") });
    }
    let ends = |name: &str, curve: &[CurvePoint]| match (curve.first(), curve.last()) {
        (Some(first), Some(last)) => {
            format!("{name} loss goes from {} to {}. ", decimal(first.loss), decimal(last.loss))
        }
        _ => String::new(),
    };
    let chart = LineChart {
        title: "Loss by step".to_owned(),
        description: format!("{}{}{}", ends("Training", &train), ends("Validation", &validation), run.fit.sentence),
        x_label: "optimizer step".to_owned(),
        y_label: unit.to_owned(),
        series: vec![
            Series { name: "training".to_owned(), points: points(&train), dots: false },
            Series { name: "validation".to_owned(), points: points(&validation), dots: true },
        ],
        markers,
    };
    let lead = "Where the validation curve turns upwards, the model begins to learn its training rows by heart.";
    Section::new("Loss over training", lead).with(Block::Chart(chart))
}

/// Learning rate and gradient norm.
pub(crate) fn course(run: &Run) -> Section {
    let chart = |title: &str, y_label: &str, value: fn(&MetricsRow) -> Option<f64>| {
        Block::Chart(LineChart {
            title: title.to_owned(),
            description: format!("{title} at each optimizer step."),
            x_label: "optimizer step".to_owned(),
            y_label: y_label.to_owned(),
            series: vec![Series { name: title.to_lowercase(), points: points(&run.curve(value)), dots: false }],
            markers: Vec::new(),
        })
    };
    Section::new("Course of training", "Spikes of the gradient norm point to a learning rate that is too high.")
        .with(chart("Learning rate", "per step", |row| row.loss.map(|_| row.learning_rate)))
        .with(chart("Gradient norm", "before clipping", |row| row.grad_norm))
}
