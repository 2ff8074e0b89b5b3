//! The Markdown form, short enough for a pull request.

use std::fmt::Write;

use crate::document::{Block, Document, Table, Tone};
use crate::terminal::sparkline;

/// Characters of a prompt or an answer that are shown: a pull request takes no more than 65,536 in all.
const LONGEST: usize = 500;

pub(crate) fn render(document: &Document) -> String {
    let mut text = format!("# {}\n\n{}\n\n", escaped(&document.title), escaped(&document.subtitle));
    let _ = write!(text, "**{} {}**\n\n", sign(document.verdict.tone), escaped(&document.verdict.sentence));
    push_list(&mut text, &document.verdict.notes);
    for section in &document.sections {
        let _ = write!(text, "## {}\n\n", escaped(&section.title));
        if let Some(lead) = &section.lead {
            let _ = write!(text, "{}\n\n", escaped(lead));
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
    push_lines(text, &items.iter().map(|item| escaped(item)).collect::<Vec<_>>());
}

/// A list of what is Markdown already.
fn push_lines(text: &mut String, items: &[String]) {
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
            let _ = write!(text, "{}\n\n", escaped(paragraph));
        }
        Block::List { items } => push_list(text, items),
        Block::Figures { figures } => {
            let detail =
                |detail: &Option<String>| detail.as_ref().map(|d| format!(" ({})", escaped(d))).unwrap_or_default();
            let items: Vec<String> = figures
                .iter()
                .map(|f| format!("{}: **{}**{}", escaped(&f.label), escaped(&f.value), detail(&f.detail)))
                .collect();
            push_lines(text, &items);
        }
        Block::Table(table) => push_table(text, table),
        Block::Chart(chart) => {
            let lines: Vec<String> = chart
                .series
                .iter()
                .filter(|series| !series.points.is_empty())
                .map(|series| {
                    let values: Vec<f64> = series.points.iter().map(|point| point.y).collect();
                    format!("{}: `{}`", escaped(&series.name), sparkline(&values, 40))
                })
                .collect();
            let _ = writeln!(text, "{} ({})\n", escaped(&chart.title), escaped(&chart.description));
            push_lines(text, &lines);
            push_list(text, &chart.markers.iter().map(|marker| marker.label.clone()).collect::<Vec<_>>());
        }
        Block::Bars(chart) => {
            let line =
                |series: &crate::BarSeries| format!("{}: `{}`", escaped(&series.name), sparkline(&series.values, 40));
            let _ = writeln!(text, "{} ({})\n", escaped(&chart.title), escaped(&chart.description));
            push_lines(text, &chart.series.iter().map(line).collect::<Vec<_>>());
        }
        Block::Comparisons { comparisons } => {
            for comparison in comparisons {
                let _ = writeln!(text, "- **{}** ({})", escaped(&comparison.title), escaped(&comparison.badge));
                if !comparison.prompt.is_empty() {
                    let _ = writeln!(text, "  - Prompt: {}", code(&shortened(&comparison.prompt)));
                }
                for side in &comparison.texts {
                    let _ = writeln!(text, "  - {}: {}", escaped(&side.label), code(&shortened(&side.text.text())));
                }
            }
            text.push('\n');
        }
        Block::Settings { settings } => {
            let items: Vec<String> =
                settings.iter().map(|s| format!("{}: {}", escaped(&s.name), code(&one_line(&s.value)))).collect();
            push_lines(text, &items);
        }
    }
}

fn push_table(text: &mut String, table: &Table) {
    if !table.caption.is_empty() {
        let _ = write!(text, "{}\n\n", escaped(&table.caption));
    }
    let cells = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&cells(table.columns.iter().map(|column| escaped(&column.name)).collect()));
    let rule = table.columns.iter().map(|column| if column.numeric { "---:" } else { "---" }.to_owned());
    text.push_str(&cells(rule.collect()));
    for row in &table.rows {
        text.push_str(&cells(row.iter().map(|cell| escaped(&cell.text)).collect()));
    }
    text.push('\n');
}

/// A text on one line in which nothing is Markdown or HTML: what models and files say is shown, never interpreted.
fn escaped(text: &str) -> String {
    let line = one_line(text);
    let mut safe = String::with_capacity(line.len());
    let characters: Vec<char> = line.chars().collect();
    let word = |place: Option<&char>| place.is_some_and(|character| character.is_alphanumeric());
    let digits = characters.iter().take_while(|character| character.is_ascii_digit()).count();
    for (place, &character) in characters.iter().enumerate() {
        let special = match character {
            '\\' | '`' | '*' | '[' | ']' | '<' | '|' | '~' | '&' | '$' => true,
            // Within a word it emphasises nothing.
            '_' => !(place > 0 && word(characters.get(place - 1)) && word(characters.get(place + 1))),
            // At the start they would make a list, a heading, a quotation.
            '-' | '+' | '#' | '>' | '=' => place == 0,
            '.' | ')' => place > 0 && place == digits && characters.get(place + 1).is_none_or(|next| *next == ' '),
            _ => false,
        };
        if special {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}

/// A line as code: no link, no mention of a person, no markup comes of it.
fn code(line: &str) -> String {
    if line.is_empty() {
        return "(empty)".to_owned();
    }
    let longest = line.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{line}{pad}{fence}")
}

/// A text on one line, no longer than it is shown.
fn shortened(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{} … {} more characters", &line[..cut], line[cut..].chars().count()),
        None => line,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, code, escaped, render, shortened};
    use crate::{Block, Document, Section, Setting, Tone, Verdict};

    #[test]
    fn what_a_model_says_stays_text() {
        assert_eq!(
            escaped("a|b\n<img src=x> **c** [d](e) &lt; `f`"),
            r"a\|b \<img src=x> \*\*c\*\* \[d\](e) \&lt; \`f\`"
        );
        assert_eq!(escaped("exact_match _x_"), r"exact_match \_x\_");
        assert_eq!(
            (escaped("- x"), escaped("+0.5"), escaped("12. x")),
            (r"\- x".into(), r"\+0.5".into(), r"12\. x".into())
        );
        assert_eq!(escaped("82.4 %"), "82.4 %");
        assert_eq!(code("a ``b`` @c d"), "```a ``b`` @c d```");
        assert_eq!((code("`"), code(&shortened(" \n"))), ("`` ` ``".to_owned(), "(empty)".to_owned()));
        assert!(shortened(&"é".repeat(700)).ends_with("é … 200 more characters"));
    }

    #[test]
    fn settings_are_whole() {
        let value = "x,".repeat(LONGEST);
        let setting = Setting { name: "list".to_owned(), value: value.clone() };
        let section = Section::new("To repeat this", "").with(Block::Settings { settings: vec![setting] });
        let verdict = Verdict::new(Tone::Neutral, "Done.");
        let document = Document { title: "t".into(), subtitle: "s".into(), verdict, sections: vec![section] };
        assert!(render(&document).contains(&format!("- list: `{value}`")));
    }
}
