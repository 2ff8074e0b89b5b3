//! The Markdown form, short enough for a pull request.

use std::fmt::Write;

use crate::document::{Block, Document, Table, Tone};
use crate::terminal::sparkline;

pub(crate) fn render(document: &Document) -> String {
    let mut text = format!("# {}\n\n{}\n\n", document.title, document.subtitle);
    let _ = write!(text, "**{} {}**\n\n", sign(document.verdict.tone), document.verdict.sentence);
    push_list(&mut text, &document.verdict.notes);
    for section in &document.sections {
        let _ = write!(text, "## {}\n\n", section.title);
        if let Some(lead) = &section.lead {
            let _ = write!(text, "{lead}\n\n");
        }
        for block in &section.blocks {
            push_block(&mut text, block);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn sign(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✓",
        Tone::Caution => "!",
        Tone::Bad => "✗",
        Tone::Neutral => "·",
    }
}

fn push_list(text: &mut String, items: &[String]) {
    for item in items {
        let _ = writeln!(text, "- {item}");
    }
    if !items.is_empty() {
        text.push('\n');
    }
}

fn push_block(text: &mut String, block: &Block) {
    match block {
        Block::Text { text: paragraph } => {
            let _ = write!(text, "{paragraph}\n\n");
        }
        Block::List { items } => push_list(text, items),
        Block::Figures { figures } => {
            let detail = |detail: &Option<String>| detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
            let items: Vec<String> =
                figures.iter().map(|f| format!("{}: **{}**{}", f.label, f.value, detail(&f.detail))).collect();
            push_list(text, &items);
        }
        Block::Table(table) => push_table(text, table),
        Block::Chart(chart) => {
            let lines: Vec<String> = chart
                .series
                .iter()
                .filter(|series| !series.points.is_empty())
                .map(|series| {
                    let values: Vec<f64> = series.points.iter().map(|point| point.y).collect();
                    format!("{}: `{}`", series.name, sparkline(&values, 40))
                })
                .collect();
            let _ = writeln!(text, "{} ({})\n", chart.title, chart.description);
            push_list(text, &lines);
            push_list(text, &chart.markers.iter().map(|marker| marker.label.clone()).collect::<Vec<_>>());
        }
        Block::Bars(chart) => {
            let line = |series: &crate::BarSeries| format!("{}: `{}`", series.name, sparkline(&series.values, 40));
            let _ = writeln!(text, "{} ({})\n", chart.title, chart.description);
            push_list(text, &chart.series.iter().map(line).collect::<Vec<_>>());
        }
        Block::Comparisons { comparisons } => {
            for comparison in comparisons {
                let _ = writeln!(text, "- **{}** ({})", one_line(&comparison.title), comparison.badge);
                let _ = writeln!(text, "  - Prompt: {}", one_line(&comparison.prompt));
                for side in &comparison.texts {
                    let _ = writeln!(text, "  - {}: {}", side.label, one_line(&side.text.text()));
                }
            }
            text.push('\n');
        }
        Block::Settings { settings } => {
            let items: Vec<String> = settings.iter().map(|s| format!("{}: `{}`", s.name, s.value)).collect();
            push_list(text, &items);
        }
    }
}

fn push_table(text: &mut String, table: &Table) {
    if !table.caption.is_empty() {
        let _ = write!(text, "{}\n\n", table.caption);
    }
    let cells = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&cells(table.columns.iter().map(|column| one_line(&column.name)).collect()));
    let rule = table.columns.iter().map(|column| if column.numeric { "---:" } else { "---" }.to_owned());
    text.push_str(&cells(rule.collect()));
    for row in &table.rows {
        text.push_str(&cells(row.iter().map(|cell| one_line(&cell.text)).collect()));
    }
    text.push('\n');
}

/// A text on one line, with what would end a table cell escaped.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
