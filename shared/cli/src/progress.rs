//! Progress for people who wait: a bar with rate and time left on a terminal, nothing when piped or under `-q`.

use crate::is_quiet;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// What a bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes read.
    Bytes,
    /// Rows, examples or prompts.
    Rows,
    /// Optimizer steps.
    Steps,
    /// Tokens.
    Tokens,
}

/// A progress bar; dropped or finished it clears its line.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins a bar for `total` units; `None` where the total is not known.
    pub fn new(label: &str, total: Option<u64>, unit: Unit) -> Self {
        if is_quiet() || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        bar.set_style(style(unit, total.is_some()));
        bar.set_prefix(label.to_string());
        Self(bar)
    }

    /// Counts `delta` more units.
    pub fn advance(&self, delta: u64) {
        self.0.inc(delta);
    }

    /// Counts `position` units in all, for a run that resumes.
    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Starts rate and time left from here, for a run that resumes at a later position.
    pub fn resume_at(&self, position: u64) {
        self.0.set_position(position);
        self.0.reset_eta();
    }

    /// Shows a short text at the end of the line, such as the loss.
    pub fn message(&self, text: String) {
        self.0.set_message(text);
    }

    /// Prints a line above the bar; nothing where the bar is hidden.
    pub fn line(&self, text: &str) {
        self.0.println(text);
    }

    /// Clears the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(unit: Unit, bounded: bool) -> ProgressStyle {
    let template = match (unit, bounded) {
        (Unit::Bytes, true) => {
            "{prefix} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left {msg}"
        }
        (Unit::Bytes, false) => "{prefix} {spinner} {bytes} {binary_bytes_per_sec} {msg}",
        (Unit::Rows | Unit::Steps | Unit::Tokens, true) => {
            "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len} {per_sec} {eta} left {msg}"
        }
        (Unit::Rows | Unit::Steps | Unit::Tokens, false) => "{prefix} {spinner} {human_pos} {per_sec} {msg}",
    };
    ProgressStyle::with_template(template).expect("a template of our own is well-formed").progress_chars("━╸─")
}
