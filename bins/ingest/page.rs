//! report.html: what went in and where it went, how long rows are, and rows worth a look.

use anyhow::Result;
use cli::format::{count, plural};
use dataset::contamination::RUN_WORDS;
use dataset::ingest::{Shown, Summary};
use dataset::records::excerpt;
use report::{
    BarChart, BarSeries, Block, Comparison, Difference, Document, Figure, Section, Setting, SideText, Table, Tone,
    Verdict,
};

use crate::args::Args;

/// The page.
pub(crate) fn page(summary: &Summary, args: &Args) -> Result<String> {
    let Summary { read, written, rejected, .. } = summary;
    let share = *rejected as f64 / (*read).max(1) as f64;
    let tone = if share > 0.5 { Tone::Caution } else { Tone::Good };
    let sentence = format!(
        "{} rows became examples, {} were set aside ({:.1} %).",
        count(*written),
        count(*rejected),
        share * 100.0
    );
    let document = Document {
        title: "Ingest".to_owned(),
        subtitle: format!("{} of {}", plural(*read, "row"), plural(summary.files.len() as u64, "file")),
        verdict: Verdict { notes: notes(summary), ..Verdict::new(tone, sentence) },
        sections: vec![
            Section::new("Splits", "").with(figures(summary)),
            sources(summary),
            reasons("Rejected rows", "Each of them stands in rejects.parquet with its reason.", &summary.rejects),
            reasons(
                "Found in kept rows",
                "What rules found that were asked to look, not to reject.",
                &summary.findings,
            ),
            lengths(summary),
            rows("A sample", "Rows drawn by chance, the same for each run.", summary.gallery.sample()),
            rows("The longest rows", "Look here for what is no text at all.", summary.gallery.longest()),
            rows("The worst rows", "Those with most findings.", summary.gallery.worst()),
            settings(args)?,
        ],
    };
    Ok(document.to_html()?)
}

fn notes(summary: &Summary) -> Vec<String> {
    let shared = &summary.shared_prompts;
    let mut notes = Vec::from_iter(crate::report::excluded(summary).map(|told| format!("{told}.")));
    if shared.held_out_rows > 0 {
        let rows = count(shared.held_out_rows);
        notes.push(format!(
            "{rows} held-out rows ask what the training split asks too: --split-by prompt keeps them together."
        ));
    }
    if shared.overlapping_rows > 0 {
        let (rows, named) = (count(shared.overlapping_rows), shared.overlapping.join(", "));
        notes.push(format!(
            "{rows} held-out rows share a run of words with the training split, such as {named}: one sentence or line, as far as \
             {RUN_WORDS} words, stands in both. That is usual where texts follow a pattern; where they are copies, scores will flatter."
        ));
    }
    notes
}

fn figures(summary: &Summary) -> Block {
    let figure = |(split, counts): (&artifact::Split, &dataset::ingest::SplitSummary)| Figure {
        label: split.as_str().to_owned(),
        value: count(counts.rows),
        detail: Some(format!("{} characters", count(counts.characters))),
        tone: if counts.rows == 0 { Tone::Caution } else { Tone::Neutral },
    };
    Block::Figures { figures: summary.splits.iter().map(figure).collect() }
}

/// A screen or two of files.
const FILES: usize = 200;

fn sources(summary: &Summary) -> Section {
    let codes: Vec<&str> = summary.rejects.keys().copied().collect();
    let heads = ["file", "kind", "shape", "#weight", "#rows", "#kept"].iter().map(|head| (*head).to_owned());
    let heads: Vec<String> = heads.chain(codes.iter().map(|code| format!("#{code}"))).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut table = Table::new("Rows by source and what became of them", &heads);
    for file in summary.files.iter().take(FILES) {
        let mut cells = vec![file.file.clone(), file.container.to_owned(), file.format.to_owned()];
        cells.extend([file.weight.unwrap_or(1.0).to_string(), count(file.rows), count(file.written)]);
        cells.extend(codes.iter().map(|code| count(file.rejected.get(code).copied().unwrap_or_default())));
        table.push(cells);
    }
    let more = summary.files.len().saturating_sub(FILES);
    let lead = if more > 0 { format!("And {more} more files, which the manifest lists.") } else { String::new() };
    let mut notes: Vec<String> = Vec::new();
    for file in summary.files.iter().take(FILES) {
        notes.extend(file.notes.iter().map(|note| format!("{}: {note}", file.file)));
        let told = [
            ("columns not used", file.unused_columns.join(", ")),
            ("keys of turns not used", crate::report::counted(&file.unused_turn_keys)),
            ("roles", crate::report::counted(&file.renamed_roles)),
        ];
        notes.extend(
            told.into_iter()
                .filter(|(_, what)| !what.is_empty())
                .map(|(which, what)| format!("{}: {which}: {what}", file.file)),
        );
    }
    let section = Section::new("Sources", lead).with(Block::Table(table));
    if notes.is_empty() { section } else { section.with(Block::List { items: notes }) }
}

fn reasons(
    title: &str,
    lead: &str,
    reasons: &std::collections::BTreeMap<&'static str, dataset::ingest::Reason>,
) -> Section {
    if reasons.is_empty() {
        return Section::new(title, "None.");
    }
    let mut table = Table::new("By code", &["code", "#rows", "what it is", "examples"]);
    for (code, reason) in reasons {
        let examples = std::iter::once(&reason.example).chain(&reason.more);
        let examples: Vec<String> = examples.map(|example| excerpt(example, 200)).collect();
        let rule = dataset::quality::Rule::ALL.iter().find(|rule| rule.code() == *code);
        let what = rule.map_or_else(|| meaning(code), |rule| rule.describe());
        table.push([(*code).to_owned(), count(reason.rows), what.to_owned(), examples.join(" · ")]);
    }
    Section::new(title, lead).with(Block::Table(table))
}

fn meaning(code: &str) -> &'static str {
    match code {
        "duplicate" => "the same content came before",
        "near_duplicate" => "nearly the same content came before",
        "empty" => "nothing to learn from",
        "too_short" => "shorter than asked",
        "too_long" => "longer than asked",
        "bad_encoding" => "not valid in the encoding of the file",
        "bad_record" => "not a record of the shape of the file",
        "excluded" => "named as one to leave out",
        "contaminated" => "shares a run of words with a text that must stay unseen",
        "sampled_out" => "left out by the weight of its source",
        "language" => "of another language than asked",
        "pii_email" => "an e-mail address",
        "pii_phone" => "a phone number",
        "pii_card" => "the number of a payment card",
        "pii_key" => "a secret key",
        _ => "",
    }
}

fn lengths(summary: &Summary) -> Section {
    let section = Section::new("Lengths", "Rows by their number of characters, in classes that double.");
    let filled = || summary.splits.iter().filter(|(_, counts)| counts.rows > 0);
    let classes = |counts: &dataset::ingest::SplitSummary| counts.lengths.classes.clone();
    let last = filled().map(|(_, counts)| counts.lengths.classes.len()).max().unwrap_or_default();
    let first = filled().filter_map(|(_, counts)| classes(counts).iter().position(|rows| *rows > 0)).min();
    let range = first.unwrap_or_default()..last;
    let label = |class: usize| format!("{}–{}", short(1 << class), short((2u64 << class) - 1));
    let bars = BarChart {
        title: "Characters of a row".to_owned(),
        description: "How many rows of each split have how many characters".to_owned(),
        x_label: "characters".to_owned(),
        y_label: "rows".to_owned(),
        labels: range.clone().map(label).collect(),
        series: filled()
            .map(|(split, counts)| {
                let rows = |class: usize| counts.lengths.classes.get(class).copied().unwrap_or_default() as f64;
                BarSeries { name: split.as_str().to_owned(), values: range.clone().map(rows).collect() }
            })
            .collect(),
    };
    let longest = filled().map(|(split, counts)| {
        format!("{}: the longest row has {} characters", split.as_str(), count(counts.lengths.longest))
    });
    section.with(Block::Bars(bars)).with(Block::List { items: longest.collect() })
}

/// A number of characters in little room.
fn short(number: u64) -> String {
    match number {
        0..1024 => number.to_string(),
        1024..1_048_576 => format!("{}k", number.div_ceil(1024)),
        _ => format!("{}M", number.div_ceil(1_048_576)),
    }
}

fn rows<'a>(title: &str, lead: &str, rows: impl Iterator<Item = &'a Shown>) -> Section {
    let one = |row: &Shown| Comparison {
        title: row.place.clone(),
        badge: format!("{}, {} characters", row.split.as_str(), count(row.characters)),
        tone: if row.findings.is_empty() { Tone::Neutral } else { Tone::Caution },
        prompt: row.findings.join("\n"),
        texts: vec![SideText { label: "its beginning".to_owned(), text: Difference::plain(row.text.clone()) }],
    };
    let comparisons: Vec<Comparison> = rows.map(one).collect();
    if comparisons.is_empty() {
        return Section::new(title, "None.");
    }
    Section::new(title, lead).with(Block::Comparisons { comparisons })
}

fn settings(args: &Args) -> Result<Section> {
    let serde_json::Value::Object(options) = serde_json::to_value(args)? else {
        return Ok(Section::new("Options", ""));
    };
    let setting = |(name, value): (String, serde_json::Value)| Setting {
        name,
        value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    };
    let settings = options.into_iter().map(setting).collect();
    Ok(Section::new("Options", "").with(Block::Settings { settings }))
}
