//! The report of a test: verdict, scores, gates, answers side by side, how to repeat it.

use artifact::{FileRecord, Predictions};
use metrics::{ClassScore, FEWEST_ROWS};
use report::{
    BarChart, Block, Cell, Column, Comparison, Difference, Document, Figure, Section, Setting, SideText, Table, Tone,
    Verdict, count, decimal, percentage, signed,
};

use crate::leakage::Leakage;
use crate::scorecard::{GenerationFacts, few_rows, gate_table, p_value};
use crate::scoring::{Scored, Scores};

/// Answers shown in each list.
const SHOWN: usize = 12;
/// Classes listed in the table of classes.
const MOST_CLASSES: usize = 100;
/// Characters of all labels that fit as headings side by side.
const WIDEST_HEADINGS: usize = 60;
/// More labels than this make no readable table of all against all.
const LARGEST_TABLE: usize = 30;

/// Everything that the report is made of.
pub(crate) struct Findings<'a> {
    pub(crate) subject: String,
    pub(crate) data: String,
    pub(crate) scores: &'a Scores,
    pub(crate) predictions: &'a Predictions,
    pub(crate) generation: Option<&'a GenerationFacts>,
    pub(crate) leakage: Option<&'a Leakage>,
    /// Sentences on rows of another tool's file that a reader should know of.
    pub(crate) oddities: Vec<String>,
    pub(crate) inputs: &'a [FileRecord],
    pub(crate) options: Vec<Setting>,
}

/// The verdict: gates first, then the comparison with the base on the first metric.
pub(crate) fn verdict(scores: &Scores) -> Verdict {
    let missed: Vec<_> = scores.gates.iter().filter(|gate| !gate.held).collect();
    let first = scores.leading();
    let (tone, comparison) = match (&first.baseline, first.difference) {
        (Some(base), Some(difference)) => compared(first, base.corpus, difference),
        _ if first.has_few_rows() => {
            let (name, value) = (&first.tuned.name, decimal(first.tuned.corpus));
            (Tone::Neutral, format!("{name} is {value} on {}.", few_rows(first.tuned.rows.len())))
        }
        _ => (Tone::Neutral, format!("{} is {}.", first.tuned.name, decimal(first.tuned.corpus))),
    };
    if missed.is_empty() {
        let gates = match scores.gates.len() {
            0 => String::new(),
            1 => " The gate held.".to_owned(),
            several => format!(" All {several} gates held."),
        };
        let tone = if tone == Tone::Neutral && !scores.gates.is_empty() { Tone::Good } else { tone };
        return Verdict::new(tone, format!("{comparison}{gates}"));
    }
    let sentence = match missed.as_slice() {
        [gate] => format!("A gate was missed: {}.", missed_text(gate)),
        several => format!("{} of {} gates were missed.", several.len(), scores.gates.len()),
    };
    let mut notes = vec![comparison];
    if missed.len() > 1 {
        notes.extend(missed.into_iter().map(missed_text));
    }
    Verdict { tone: Tone::Bad, sentence, notes }
}

fn missed_text(gate: &metrics::GateOutcome) -> String {
    match (gate.value, gate.missed_by) {
        (Some(value), Some(by)) => format!("{} (found {}, missed by {})", gate.gate, decimal(value), decimal(by)),
        _ => format!("{} (no value: is --baseline missing?)", gate.gate),
    }
}

fn compared(scored: &Scored, base: f64, difference: metrics::Difference) -> (Tone, String) {
    let (better, sure) = (scored.is_better(), scored.is_sure());
    let figures = format!(
        "{} {} against {} ({}; 95 % interval {} … {})",
        scored.tuned.name,
        decimal(scored.tuned.corpus),
        decimal(base),
        signed(difference.value),
        signed(difference.interval.lower),
        signed(difference.interval.upper)
    );
    match (better, sure) {
        (true, true) => (Tone::Good, format!("The tuned model is better than its base: {figures}.")),
        (false, true) => (Tone::Bad, format!("The tuned model is worse than its base: {figures}.")),
        _ if scored.has_few_rows() => {
            let rows = cli::format::plural(scored.tuned.rows.len() as u64, "row");
            let sentence =
                format!("{rows} cannot tell tuned model and base apart ({FEWEST_ROWS} are the least): {figures}.");
            (Tone::Caution, sentence)
        }
        _ => (
            Tone::Caution,
            format!("No difference between tuned model and base that chance could not make: {figures}."),
        ),
    }
}

impl Findings<'_> {
    /// The whole report.
    pub(crate) fn document(&self) -> Document {
        let mut sections = vec![self.result()];
        if !self.scores.gates.is_empty() {
            let mut table = gate_table(&self.scores.gates);
            for (row, gate) in table.rows.iter_mut().zip(&self.scores.gates) {
                row[1].tone = if gate.held { Tone::Good } else { Tone::Bad };
            }
            let lead = "A missed gate makes the stage exit with 3, which stops a pipeline.";
            sections.push(Section::new("Gates", lead).with(Block::Table(table)));
        }
        sections.extend(self.classes());
        sections.push(self.lengths());
        sections.extend(self.leaked());
        sections.extend(self.answers());
        sections.push(self.settings());
        Document {
            title: format!("Test of {}", self.subject),
            subtitle: format!(
                "retune-test · {} of {}",
                cli::format::plural(self.predictions.id.len() as u64, "row"),
                self.data
            ),
            verdict: self.verdict(),
            sections,
        }
    }

    fn result(&self) -> Section {
        let figures = self.scores.metrics.iter().take(4).map(figure).collect();
        let with_base = self.scores.metrics.iter().any(|scored| scored.baseline.is_some());
        let rows = self.predictions.id.len();
        let few = if rows < FEWEST_ROWS {
            format!(". They are no more than a hint: {}", few_rows(rows))
        } else {
            String::new()
        };
        let p = if with_base {
            "; p is how often chance alone would make a difference as large, up or down (two-sided; never below 1 / \
             (resamples + 1))"
        } else {
            ""
        };
        let caption = format!("Intervals are 95 % bootstrap intervals over rows{p}{few}");
        let mut table = Table::new(caption.as_str(), &["Metric", "#Tuned", "#Interval"]);
        if with_base {
            table = Table::new(
                caption,
                &["Metric", "#Base", "#Tuned", "#Difference", "#Interval", "#p", "#Better", "#Worse", "#Equal"],
            );
        }
        table.rows.extend(self.scores.metrics.iter().map(|scored| score_row(scored, with_base)));
        let signature =
            |scored: &Scored| Setting { name: scored.tuned.name.clone(), value: scored.tuned.signature.clone() };
        let signatures = self.scores.metrics.iter().map(signature).collect();
        let lead = "Scores of the answers against the references, in each metric's usual scale.";
        Section::new("Scores", lead)
            .with(Block::Figures { figures })
            .with(Block::Table(table))
            .with(Block::Text {
                text: "What exactly each number is; equal signatures mean comparable numbers:".to_owned(),
            })
            .with(Block::Settings { settings: signatures })
    }

    /// The verdict on the scores, with a word on what may spoil them.
    fn verdict(&self) -> Verdict {
        let mut verdict = verdict(self.scores);
        let named = |better: bool| -> Vec<&str> {
            let sure = self.scores.metrics.iter().filter(|scored| scored.is_sure() && scored.is_better() == better);
            sure.map(|scored| scored.tuned.name.as_str()).collect()
        };
        for (names, word) in [(named(true), "Better"), (named(false), "Worse")] {
            if names.len() > 1 {
                verdict.notes.push(format!("{word} than the base beyond chance in {}.", names.join(", ")));
            }
        }
        if let Some(found) = self.leakage.filter(|found| found.summary.rows > 0) {
            let (rows, all) = (found.summary.rows, self.predictions.id.len());
            verdict.notes.push(format!("Training has seen {rows} of the {all} test rows: the scores may flatter."));
            if verdict.tone == Tone::Good {
                verdict.tone = Tone::Caution;
            }
        }
        verdict.notes.extend(self.no_labels());
        let ended = |end: &str| self.generation.and_then(|facts| facts.finish.get(end).copied()).unwrap_or(0);
        let cut = ended("length") + ended("context");
        if cut > 0 {
            let answers = cli::format::plural(cut as u64, "answer");
            verdict
                .notes
                .push(format!("{answers} ran into the limit of new tokens or of the context and may be cut off."));
        }
        verdict.notes.extend(self.oddities.iter().cloned());
        verdict
    }

    /// Says so where many answers are no label at all, and labels are few.
    fn no_labels(&self) -> Option<String> {
        let confusion = self.scores.confusion.as_ref()?;
        let labels = confusion.labels().count();
        let outside: usize = confusion.labels().map(|label| confusion.outside(label)).sum();
        let rows = self.predictions.id.len();
        (labels <= LARGEST_TABLE && outside * 10 >= rows).then(|| {
            format!(
                "{outside} of {rows} answers are none of the {labels} labels: longer training, or the labels named in the \
                 prompt, teach the model to keep to them."
            )
        })
    }

    fn classes(&self) -> Option<Section> {
        let confusion = self.scores.confusion.as_ref()?;
        let base = self.scores.baseline_confusion.as_ref().map(metrics::Confusion::classes);
        let columns: &[&str] = match base {
            Some(_) => &["Class", "#Precision", "#Recall", "#F1", "#Base F1", "#Rows"],
            None => &["Class", "#Precision", "#Recall", "#F1", "#Rows"],
        };
        let all = confusion.labels().count();
        let caption =
            if all > MOST_CLASSES { format!("The first {MOST_CLASSES} of {all} classes") } else { "Each class".into() };
        let mut classes = Table::new(caption, columns);
        let found = confusion.classes();
        for class in found.iter().take(MOST_CLASSES) {
            let mut row =
                vec![class.label.clone(), percentage(class.precision), percentage(class.recall), decimal(class.f1)];
            let of_base = |base: &Vec<ClassScore>| base.iter().find(|own| own.label == class.label).map(|own| own.f1);
            row.extend(base.as_ref().map(|base| of_base(base).map_or("–".to_owned(), decimal)));
            row.push(count(class.support as u64));
            classes.push(row);
        }
        let confused = confused(confusion, &found);
        let section = Section::new("Classes", "How well each label is found, and which label is taken for which.");
        let tables = [confusion_table(confusion), Some(confused), Some(classes)];
        let shown = tables.into_iter().flatten().filter(|table| !table.rows.is_empty());
        Some(shown.fold(section, |section, table| section.with(Block::Table(table))))
    }

    /// How long answers are beside what was expected.
    fn lengths(&self) -> Section {
        let words = |text: &String| text.split_whitespace().count() as u64;
        let expected = self.predictions.reference.iter().filter_map(|references| references.first()).map(words);
        let mut series =
            vec![("expected", expected.collect()), ("tuned", self.predictions.prediction.iter().map(words).collect())];
        if let Some(base) = &self.predictions.baseline_prediction {
            series.push(("base", base.iter().map(words).collect()));
        }
        let chart = BarChart::histogram("Length of answers", "words", "answers", 20, &series);
        let lead =
            "An answer much longer or shorter than expected often says that the model does not know where to stop.";
        Section::new("Lengths", lead).with(Block::Bars(chart))
    }

    /// Test rows that training has seen.
    fn leaked(&self) -> Option<Section> {
        let found = self.leakage?;
        let summary = &found.summary;
        let lead = format!(
            "Compared with {}: the same prompt and answer {}, the same prompt {}, at least 70 % of the runs of eight words \
             {}. Rows that training has seen are scored like all others; leakage.parquet lists them all.",
            cli::format::plural(summary.training_examples, "training example"),
            summary.same_example,
            summary.same_prompt,
            summary.overlap
        );
        let mut table = Table::new("", &["Row", "What training has", "Where in training", "#Words in common"]);
        for leak in found.leaks.iter().take(SHOWN) {
            table.push([
                format!("{} · {}", leak.row + 1, short(&self.predictions.id[leak.row])),
                leak.kind.as_str().replace('_', " "),
                format!("{}:{}", leak.source_file, leak.source_row),
                percentage(leak.share),
            ]);
        }
        let section = Section::new("Seen in training", lead);
        Some(if table.rows.is_empty() { section } else { section.with(Block::Table(table)) })
    }

    /// Answers side by side: those that got worse first, then the weakest, then some that got better.
    fn answers(&self) -> Vec<Section> {
        let scored = self.scores.leading();
        let direction = if scored.higher_is_better() { 1.0 } else { -1.0 };
        let gain = |row: usize| {
            scored.baseline.as_ref().map_or(0.0, |base| direction * (scored.tuned.rows[row] - base.rows[row]))
        };
        let value = |row: usize| direction * scored.tuned.rows[row];
        let rows = 0..self.predictions.id.len();
        let mut worse: Vec<usize> = rows.clone().filter(|&row| gain(row) < 0.0).collect();
        worse.sort_by(|&a, &b| gain(a).total_cmp(&gain(b)));
        let best = direction * if direction > 0.0 { scored.scale() } else { 0.0 };
        let mut weak: Vec<usize> = rows.clone().filter(|&row| gain(row) >= 0.0 && value(row) < best).collect();
        weak.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let mut better: Vec<usize> = rows.clone().filter(|&row| gain(row) > 0.0).collect();
        better.sort_by(|&a, &b| gain(b).total_cmp(&gain(a)));
        let mut good: Vec<usize> =
            rows.filter(|&row| gain(row) == 0.0 && value(row) > direction * scored.tuned.corpus).collect();
        good.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
        let name = &scored.tuned.name;
        let lists = [
            (
                "Made worse by tuning",
                worse,
                Tone::Bad,
                format!(
                    "Lower {name} than the base's answer, the largest loss first. Marked words are not in the expected text."
                ),
            ),
            (
                "Weakest answers",
                weak,
                Tone::Caution,
                format!("The lowest {name}. Marked words are not in the expected text."),
            ),
            (
                "Made better by tuning",
                better,
                Tone::Good,
                format!("Higher {name} than the base's answer, the largest gain first."),
            ),
            ("Best answers", good, Tone::Neutral, format!("The highest {name} among the other rows.")),
        ];
        let sections = lists.into_iter().filter(|(_, rows, ..)| !rows.is_empty()).map(|(title, rows, tone, lead)| {
            let shown = rows.iter().take(SHOWN).map(|&row| self.comparison(row, scored, tone)).collect();
            let lead = format!("{}: {lead}", cli::format::plural(rows.len() as u64, "row"));
            Section::new(title, lead).with(Block::Comparisons { comparisons: shown })
        });
        sections.collect()
    }

    fn comparison(&self, row: usize, scored: &Scored, tone: Tone) -> Comparison {
        let predictions = self.predictions;
        let references = &predictions.reference[row];
        let expected = references.first().map_or("", String::as_str);
        let side = |label: &str, text: Difference| SideText { label: label.to_owned(), text };
        let mut texts = vec![
            side("Expected", Difference::plain(references.join("\nor: "))),
            side("Tuned", Difference::between(&predictions.prediction[row], expected)),
        ];
        if let Some(baseline) = &predictions.baseline_prediction {
            texts.push(side("Base", Difference::between(&baseline[row], expected)));
        }
        let own = decimal(scored.tuned.rows[row]);
        let badge = match &scored.baseline {
            Some(base) => format!("{} {own} (base {})", scored.tuned.name, decimal(base.rows[row])),
            None => format!("{} {own}", scored.tuned.name),
        };
        let id = short(&predictions.id[row]);
        Comparison {
            title: format!("Row {} · {id}", row + 1),
            badge,
            tone,
            prompt: predictions.prompt[row].clone(),
            texts,
        }
    }

    fn settings(&self) -> Section {
        let mut settings = self.options.clone();
        if let Some(facts) = self.generation {
            let ends: Vec<String> = facts.finish.iter().map(|(end, count)| format!("{end} {count}")).collect();
            settings.push(Setting { name: "how answers ended".to_owned(), value: ends.join(", ") });
        }
        settings.extend(
            self.inputs
                .iter()
                .map(|input| Setting { name: format!("sha256 of {}", input.name), value: input.sha256.clone() }),
        );
        Section::new("To repeat this", "Options, and the inputs by content: equal hashes give equal answers.")
            .with(Block::Settings { settings })
    }
}

fn tone_of(scored: &Scored) -> Tone {
    match (scored.is_sure(), scored.is_better()) {
        (true, true) => Tone::Good,
        (true, false) => Tone::Bad,
        _ => Tone::Neutral,
    }
}

fn figure(scored: &Scored) -> Figure {
    let show = |value: f64| if scored.scale() == 1.0 { percentage(value) } else { decimal(value) };
    Figure {
        label: scored.tuned.name.clone(),
        value: show(scored.tuned.corpus),
        detail: scored.baseline.as_ref().map(|base| format!("base {}", show(base.corpus))),
        tone: tone_of(scored),
    }
}

fn score_row(scored: &Scored, with_base: bool) -> Vec<Cell> {
    let plain = |text: String| Cell::plain(text);
    let interval = scored.interval.map_or("–".to_owned(), |i| format!("{} … {}", decimal(i.lower), decimal(i.upper)));
    let mut row = vec![plain(scored.tuned.name.clone())];
    if with_base {
        row.push(plain(scored.baseline.as_ref().map_or("–".to_owned(), |base| decimal(base.corpus))));
    }
    row.push(Cell::toned(decimal(scored.tuned.corpus), tone_of(scored)));
    if with_base {
        let difference = scored.difference;
        row.push(plain(difference.map_or("–".to_owned(), |difference| signed(difference.value))));
        row.push(plain(difference.map_or(interval.clone(), |difference| {
            format!("{} … {}", signed(difference.interval.lower), signed(difference.interval.upper))
        })));
        row.push(plain(difference.map_or("–".to_owned(), |difference| p_value(scored, difference))));
        for rows in [difference.map(|d| d.wins), difference.map(|d| d.losses), difference.map(|d| d.ties)] {
            row.push(plain(rows.map_or("–".to_owned(), |rows| count(rows as u64))));
        }
    } else {
        row.push(plain(interval));
    }
    row
}

/// An id as long as a reader wants it.
fn short(id: &str) -> String {
    id.chars().take(16).collect()
}

/// Expected labels down, answered labels across; none where there are too many labels.
fn confusion_table(confusion: &metrics::Confusion) -> Option<Table> {
    let labels: Vec<&str> = confusion.labels().collect();
    if labels.is_empty() || labels.len() > LARGEST_TABLE {
        return None;
    }
    // Where the labels would not fit side by side, the columns have the numbers of the rows.
    let numbered = labels.iter().map(|label| label.len()).sum::<usize>() > WIDEST_HEADINGS;
    let columns = if numbered { "columns, by the numbers of the rows," } else { "columns" };
    let caption = format!("Confusion table: rows are what was expected, {columns} what was answered");
    let mut table = Table::new(caption, &["Expected"]);
    let heading = |(place, label): (usize, &&str)| if numbered { (place + 1).to_string() } else { (*label).to_owned() };
    let headings = labels.iter().enumerate().map(heading).chain(["no such label".to_owned()]);
    table.columns.extend(headings.map(|name| Column { name, numeric: true }));
    for (place, &expected) in labels.iter().enumerate() {
        let counts = labels.iter().map(|answered| confusion.count(expected, answered));
        let counts: Vec<u64> = counts.chain([confusion.outside(expected)]).map(|rows| rows as u64).collect();
        let largest = counts.iter().sum();
        let cells = counts.into_iter().map(|rows| Cell::shaded(rows, largest));
        let name = if numbered { format!("{} {expected}", place + 1) } else { expected.to_owned() };
        table.rows.push(std::iter::once(Cell::plain(name)).chain(cells).collect());
    }
    Some(table)
}

/// Which label is taken for which, the most frequent first: what a table of many labels would hide.
fn confused(confusion: &metrics::Confusion, classes: &[ClassScore]) -> Table {
    let pairs = confusion.most_confused(usize::MAX);
    let shown = pairs.len().min(LARGEST_TABLE);
    let caption = format!(
        "Most frequent confusions: {shown} of {}, with their share of the rows that have the expected label",
        cli::format::plural(pairs.len() as u64, "pair")
    );
    let mut table = Table::new(caption, &["Expected", "Answered", "#Rows", "#Share"]);
    for (expected, answered, rows) in pairs.into_iter().take(shown) {
        let support = classes.iter().find(|class| class.label == expected).map_or(0, |class| class.support);
        table.push([
            expected.to_owned(),
            if answered.is_empty() { "(nothing)".to_owned() } else { short_label(answered) },
            count(rows as u64),
            percentage(rows as f64 / support as f64),
        ]);
    }
    table
}

/// An answer that is no label may be a whole story.
fn short_label(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.by_ref().take(80).collect();
    if characters.next().is_some() { format!("{first}…") } else { first }
}
