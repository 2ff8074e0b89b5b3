//! What an inspection shows: a headline, facts, and the same as JSON. Colours only on a terminal.

use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

/// The result of an inspection.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// One line: what it is.
    pub(crate) title: String,
    /// Lines under headings, in order.
    pub(crate) sections: Vec<Section>,
    /// The same for programs.
    pub(crate) json: Map<String, Value>,
}

/// Lines that belong together.
#[derive(Debug)]
pub(crate) struct Section {
    /// Heading; empty for the facts under the title.
    pub(crate) heading: String,
    /// Label and text; a line without a label stands as it is.
    pub(crate) lines: Vec<(String, String)>,
}

impl View {
    /// A view with a headline; `what` is the one-word kind for programs.
    pub(crate) fn new(what: &str, title: impl Into<String>) -> Self {
        let mut view = Self { title: title.into(), ..Self::default() };
        view.set("what", what);
        view
    }

    /// Sets a field of the JSON document.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.into(), value.into());
    }

    /// Begins a section.
    pub(crate) fn section(&mut self, heading: impl Into<String>) -> &mut Section {
        self.sections.push(Section { heading: heading.into(), lines: Vec::new() });
        self.sections.last_mut().expect("just pushed")
    }

    /// Appends another view's sections, and its document under `key`.
    pub(crate) fn attach(&mut self, key: &str, other: Self) {
        self.section(other.title).lines.clear();
        self.sections.extend(other.sections);
        self.json.insert(key.into(), Value::Object(other.json));
    }

    /// The text for people.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let mut text = paint.bold(&self.title);
        text.push('\n');
        for section in &self.sections {
            if !section.heading.is_empty() {
                let _ = writeln!(text, "\n{}", paint.bold(&section.heading));
            }
            let width = section.lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
            for (label, line) in &section.lines {
                if label.is_empty() {
                    let _ = writeln!(text, "  {line}");
                } else {
                    let gap = " ".repeat(width - label.chars().count());
                    let _ = writeln!(text, "  {}{gap}  {line}", paint.dim(label));
                }
            }
        }
        text
    }
}

impl Section {
    /// Adds a labelled line.
    pub(crate) fn fact(&mut self, label: impl Into<String>, text: impl ToString) -> &mut Self {
        self.lines.push((label.into(), text.to_string()));
        self
    }

    /// Adds a line as it stands.
    pub(crate) fn line(&mut self, text: impl Into<String>) -> &mut Self {
        self.lines.push((String::new(), text.into()));
        self
    }
}

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn for_stdout() -> Self {
        Self(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A headline.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// A label.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Something good, or trained on.
    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }
}
