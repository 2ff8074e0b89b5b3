//! What a report consists of.

use serde::Serialize;

use crate::bars::BarChart;
use crate::chart::LineChart;
use crate::difference::Difference;
use crate::html::{ReportError, render};

/// A whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// The headline, such as `Evaluation of support-adapter`.
    pub title: String,
    /// One line below it: what was done, with what, on what.
    pub subtitle: String,
    /// The answer, before any detail.
    pub verdict: Verdict,
    /// The detail.
    pub sections: Vec<Section>,
}

/// The answer in a sentence.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// How it is meant.
    pub tone: Tone,
    /// The sentence.
    pub sentence: String,
    /// Further sentences: evidence, what to do.
    pub notes: Vec<String>,
}

/// How a statement is meant. Shown by a word and a sign, never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// As wanted.
    Good,
    /// Worth a look.
    Caution,
    /// Not as wanted.
    Bad,
    /// A fact.
    Neutral,
}

/// A part of the report with a heading.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What the reader sees here and how to read it.
    pub lead: Option<String>,
    /// The content.
    pub blocks: Vec<Block>,
}

/// One piece of content.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// A paragraph.
    Text {
        /// The paragraph.
        text: String,
    },
    /// A list of sentences.
    List {
        /// The sentences.
        items: Vec<String>,
    },
    /// A row of large numbers.
    Figures {
        /// The numbers.
        figures: Vec<Figure>,
    },
    /// A table.
    Table(Table),
    /// A line chart.
    Chart(LineChart),
    /// A bar chart.
    Bars(BarChart),
    /// Texts side by side.
    Comparisons {
        /// One for each row shown.
        comparisons: Vec<Comparison>,
    },
    /// Names and values, such as the options of the run.
    Settings {
        /// In the order shown.
        settings: Vec<Setting>,
    },
}

/// A large number with its meaning.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is.
    pub label: String,
    /// The number, formatted.
    pub value: String,
    /// What it is to be compared with.
    pub detail: Option<String>,
    /// How it is meant.
    pub tone: Tone,
}

/// A table with a caption.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Table {
    /// What the table shows.
    pub caption: String,
    /// Headings.
    pub columns: Vec<Column>,
    /// Rows, each with as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A column of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// Numbers are aligned to the right.
    pub numeric: bool,
}

/// A cell of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
    /// How strong its background is, 0 to 9: in a table of counts the eye finds the large ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub shade: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(shade: &u8) -> bool {
    *shade == 0
}

/// Texts side by side: what was asked, what was expected, what each model said.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Which row, such as its id.
    pub title: String,
    /// A word on how it went, such as `worse than the base`.
    pub badge: String,
    /// How the badge is meant.
    pub tone: Tone,
    /// What was asked.
    pub prompt: String,
    /// The texts.
    pub texts: Vec<SideText>,
}

/// One of the texts, with its difference to the expected one marked.
#[derive(Debug, Clone, Serialize)]
pub struct SideText {
    /// Whose it is.
    pub label: String,
    /// Its pieces.
    pub text: Difference,
}

/// A name and its value.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Document {
    /// The whole report as one HTML file that needs nothing else.
    ///
    /// # Errors
    /// [`ReportError`] where the template cannot be filled, which would be a fault of this crate.
    pub fn to_html(&self) -> Result<String, ReportError> {
        render(self)
    }

    /// The same content as Markdown, charts as sparklines.
    pub fn to_markdown(&self) -> String {
        crate::markdown::render(self)
    }
}

impl Verdict {
    /// A verdict without notes.
    pub fn new(tone: Tone, sentence: impl Into<String>) -> Self {
        Self { tone, sentence: sentence.into(), notes: Vec::new() }
    }
}

impl Section {
    /// A section without content.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        let lead = Some(lead.into()).filter(|lead: &String| !lead.is_empty());
        Self { title: title.into(), lead, blocks: Vec::new() }
    }

    /// Adds a block.
    #[must_use]
    pub fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }
}

impl Table {
    /// An empty table; a column whose name begins with `#` is numeric, the `#` is not shown.
    pub fn new(caption: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns
            .iter()
            .map(|name| Column { name: name.trim_start_matches('#').to_owned(), numeric: name.starts_with('#') });
        Self { caption: caption.into(), columns: columns.collect(), rows: Vec::new() }
    }

    /// Appends a row of plain cells.
    pub fn push<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Cell::plain).collect());
    }
}

impl Cell {
    /// A cell that only states.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Neutral, shade: 0 }
    }

    /// A cell that judges.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone, shade: 0 }
    }

    /// A count, its background as strong as its share of `largest`.
    pub fn shaded(value: u64, largest: u64) -> Self {
        let shade = if value == 0 { 0 } else { (9 * value).div_ceil(largest.max(1)).min(9) as u8 };
        Self { text: crate::format::count(value), tone: Tone::Neutral, shade }
    }
}
