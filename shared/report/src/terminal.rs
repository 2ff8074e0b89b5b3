//! Tables and curves as text for a terminal.

use crate::document::Table;

/// The table with aligned columns, two spaces between them, no caption.
pub fn table_text(table: &Table) -> String {
    let headings: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    let rows: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(|cell| cell.text.replace(['\n', '\r'], " ")).collect()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(&rows).collect();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|text| width(text)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).zip(&table.columns).map(|((cell, &wide), column)| {
            let space = " ".repeat(wide - width(cell));
            if column.numeric { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
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
    fn sparklines_fall_and_fit() {
        assert_eq!(sparkline(&[3.0, 2.0, 1.0], 10), "█▅▁");
        assert_eq!(sparkline(&[1.0; 100], 20).chars().count(), 20);
        assert_eq!(sparkline(&[f64::NAN], 5), "");
    }
}
