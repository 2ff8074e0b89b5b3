//! The only place that writes to the terminal: standard error for people, standard output for data.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::make::with_variables;

static QUIET: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether `-q` was given.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether text on standard error may be coloured: a terminal, and `NO_COLOR` is not set.
pub fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows lines to people, unless `-q`.
pub fn say(text: &str) {
    if !is_quiet() && !text.is_empty() {
        to_stderr(text);
    }
}

/// Shows something worth knowing, unless `-q`.
pub fn note(text: &str) {
    say(&with_variables(&labelled("1;34", "note:", text)));
}

/// Shows something that is likely to be wrong, unless `-q`.
pub fn warn(text: &str) {
    say(&with_variables(&labelled("1;33", "warning:", text)));
}

fn labelled(code: &str, label: &str, text: &str) -> String {
    if colours() { format!("\x1b[{code}m{label}\x1b[0m {text}") } else { format!("{label} {text}") }
}

pub(crate) fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nothing can be done where even standard error is closed.
    let _ = stderr.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = stderr.write_all(b"\n");
    }
}

/// Writes data to standard output, as it stands and at once.
///
/// # Errors
/// Where nobody reads it.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Characters in a line of standard output: `COLUMNS`, or as wide as the terminal is, or 100.
pub fn width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || Some(usize::from(terminal_size::terminal_size_of(io::stdout())?.0.0));
    named.or_else(terminal).unwrap_or(100)
}
