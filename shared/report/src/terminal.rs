//! Tables and curves as text for a terminal.

use crate::document::Table;

/// The table with aligned columns, two spaces between them, no caption.
pub fn table_text(table: &Table) -> String {
    aligned(table, &lines_of(table))
}

/// The same in lines of at most `longest` characters, unless the columns are too many. What is too long loses what the other
/// values of its row begin and end with too, and then its middle.
pub fn table_text_within(table: &Table, longest: usize) -> String {
    let mut lines = lines_of(table);
    let widths = widths(&lines);
    let room = longest.saturating_sub(GAP * widths.len().saturating_sub(1));
    let fits = |limit: usize| widths.iter().map(|&wide| wide.min(limit)).sum::<usize>() <= room;
    let widest = widths.iter().copied().max().unwrap_or(0);
    let limit = (NARROWEST..=widest).rev().find(|&limit| fits(limit)).unwrap_or(NARROWEST);
    for line in lines.iter_mut().filter(|line| line.iter().any(|text| width(text) > limit)) {
        let values = line.get_mut(1..).unwrap_or_default();
        if values.iter().any(|text| width(text) > limit) {
            without_common_ends(values);
        }
        line.iter_mut().for_each(|text| *text = without_middle(text, limit));
    }
    aligned(table, &lines)
}

const GAP: usize = 2;
/// No column is made narrower than this.
const NARROWEST: usize = 12;
/// What values have in common is left out where it is longer than this.
const COMMON: usize = 6;

/// Cuts off what all texts begin with, and what they end with.
fn without_common_ends(texts: &mut [String]) {
    let characters: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
    let [first, others @ ..] = characters.as_slice() else { return };
    let shortest = characters.iter().map(Vec::len).min().unwrap_or(0);
    if others.is_empty() || others.iter().all(|other| other == first) {
        return;
    }
    let common = |from: usize, at: fn(&[char], usize) -> char| {
        let same = |&place: &usize| others.iter().all(|other| at(other, place) == at(first, place));
        let length = (0..shortest - from).take_while(same).count();
        if length > COMMON { length } else { 0 }
    };
    let start = common(0, |text, place| text[place]);
    let end = common(start, |text, place| text[text.len() - 1 - place]);
    for (text, characters) in texts.iter_mut().zip(&characters) {
        let rest: String = characters[start..characters.len() - end].iter().collect();
        *text = format!("{}{rest}{}", if start > 0 { "…" } else { "" }, if end > 0 { "…" } else { "" });
    }
}

/// A text in at most `longest` characters.
fn without_middle(text: &str, longest: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= longest {
        return text.to_owned();
    }
    let kept = longest.saturating_sub(1);
    let (start, end) = (kept.div_ceil(2), kept / 2);
    let part = |range: &[char]| range.iter().collect::<String>();
    format!("{}…{}", part(&characters[..start]), part(&characters[characters.len() - end..]))
}

/// Headings and cells, each on one line.
fn lines_of(table: &Table) -> Vec<Vec<String>> {
    let headings = table.columns.iter().map(|column| column.name.clone()).collect();
    let cells = table.rows.iter().map(|row| row.iter().map(|cell| cell.text.replace(['\n', '\r'], " ")).collect());
    std::iter::once(headings).chain(cells).collect()
}

/// The longest text of each column.
fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let longest =
        |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|text| width(text)).max().unwrap_or(0);
    (0..lines.first().map_or(0, Vec::len)).map(longest).collect()
}

fn aligned(table: &Table, lines: &[Vec<String>]) -> String {
    let widths = widths(lines);
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).zip(&table.columns).map(|((cell, &wide), column)| {
            let space = " ".repeat(wide - width(cell));
            if column.numeric { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end());
        text.push('\n');
    }
    text
}

/// Columns that a text takes: characters, without looking at wide ones.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A curve in at most `width` characters, low to high; nothing where no value is finite.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let group = values.len().div_ceil(width.max(1)).max(1);
    let means: Vec<f64> = values.chunks(group).map(|group| group.iter().sum::<f64>() / group.len() as f64).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |value: f64| if high > low { ((value - low) / (high - low) * 7.0).round() as usize } else { 3 };
    means.into_iter().map(|value| BARS[level(value)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut table = Table::new("", &["metric", "#tuned"]);
        table.push(["exact_match", "0.9"]);
        table.push(["f1", "0.95"]);
        assert_eq!(table_text(&table), "metric       tuned\nexact_match    0.9\nf1            0.95\n");
    }

    #[test]
    fn long_values_show_where_they_differ() {
        let mut table = Table::new("", &["setting", "a", "b"]);
        let value = |end: &str| format!("/a/long/way/to/the/{}/{end}/model.safetensors", "folder/".repeat(30));
        table.push(["train model".to_owned(), value("first"), value("second")]);
        table.push(["seed", "1", "2"]);
        assert_eq!(
            table_text_within(&table, 60),
            "setting      a        b\ntrain model  …first…  …second…\nseed         1        2\n"
        );
        table.push(["list".to_owned(), "x".repeat(90), "é".repeat(70)]);
        let text = table_text_within(&table, 60);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("xx…xx") && text.contains("éé…éé") && text.contains("…second…"), "{text}");
        assert_eq!(table_text_within(&table, 1000), table_text(&table));
    }

    #[test]
    fn sparklines_fall_and_fit() {
        assert_eq!(sparkline(&[3.0, 2.0, 1.0], 10), "█▅▁");
        assert_eq!(sparkline(&[1.0; 100], 20).chars().count(), 20);
        assert_eq!(sparkline(&[f64::NAN], 5), "");
    }
}
