//! The HTML form: one template, filled by minijinja with escaping on.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use crate::document::Document;

/// The template could not be filled.
#[derive(Debug, thiserror::Error)]
#[error("the report's template could not be filled: {0}")]
pub struct ReportError(#[from] minijinja::Error);

/// The name ends in `.html`: minijinja then escapes every value.
const TEMPLATE: &str = "report.html";

pub(crate) fn render(document: &Document) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax?);
    environment.add_template(TEMPLATE, include_str!("template/report.html"))?;
    environment.add_template("blocks.html", include_str!("template/blocks.html"))?;
    environment.add_template("chart.html", include_str!("template/chart.html"))?;
    let drawings: Vec<Vec<Value>> = document
        .sections
        .iter()
        .map(|section| {
            let charts = section.blocks.iter().map(|block| match block {
                crate::Block::Chart(chart) => Value::from(Serde(chart.draw())),
                crate::Block::Bars(chart) => Value::from(Serde(chart.draw())),
                _ => Value::from(()),
            });
            charts.collect()
        })
        .collect();
    let template = environment.get_template(TEMPLATE)?;
    let style = Value::from_safe_string(include_str!("template/style.css").to_owned());
    Ok(template.render(context! { document => Value::from(Serde(document)), drawings, style })?)
}

#[cfg(test)]
mod tests {
    use crate::{Block, Document, Section, Table, Tone, Verdict};

    #[test]
    fn values_are_escaped_and_nothing_is_fetched() {
        let mut table = Table::new("rows", &["id", "#loss"]);
        table.push(["<script>alert(1)</script>", "2.5"]);
        let document = Document {
            title: "A & B".to_owned(),
            subtitle: String::new(),
            verdict: Verdict::new(Tone::Good, "fine"),
            sections: vec![Section::new("Rows", "").with(Block::Table(table))],
        };
        let html = document.to_html().expect("the template fits");
        assert!(html.contains("A &amp; B") && !html.contains("<script"));
        for outside in ["http://", "https://", "url(", "src=", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
