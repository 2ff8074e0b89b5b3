//! Reports that a person who did not run the stage can read: one content, three forms.
//!
//! A [`Document`] is built once from plain blocks (figures, tables, line charts, texts side by side) and rendered as one
//! self-contained HTML file (no network, no script, light and dark, for a phone, a desk, a printer and a screen
//! reader), as Markdown for a pull request, or serialised as JSON. Tables and sparklines for the terminal come from the
//! same pieces.

mod bars;
mod chart;
mod difference;
mod document;
mod format;
mod html;
mod markdown;
mod scale;
mod terminal;

pub use bars::{BarChart, BarSeries};
pub use chart::{LineChart, Marker, Point, Series};
pub use difference::{Difference, Piece};
pub use document::{
    Block, Cell, Column, Comparison, Document, Figure, Section, Setting, SideText, Table, Tone, Verdict,
};
pub use format::{count, decimal, percentage, signed};
pub use html::ReportError;
pub use terminal::{sparkline, table_text, table_text_within};
