//! Errors as people read them: what went wrong, why, and a line `hint:` that says what to do.

use artifact::ArtifactError;
use std::fmt;
use std::io::ErrorKind;

/// A wrong command line: exit code 2.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// An error with the remedy beside it.
#[derive(Debug)]
pub struct Hinted {
    source: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, formatter)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// Adds a remedy to an error.
pub trait Hint<T> {
    /// Says what to do about the error: a sentence or a command.
    ///
    /// # Errors
    /// The same error, with the hint.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;

    /// As [`Hint::hint`], where the error itself knows the remedy.
    ///
    /// # Errors
    /// The same error, with the hint if there is one.
    fn hint_from(self, hint: impl FnOnce(&anyhow::Error) -> Option<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { source: error.into(), hint: hint.into() }))
    }

    fn hint_from(self, hint: impl FnOnce(&anyhow::Error) -> Option<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            let source = error.into();
            match hint(&source) {
                Some(hint) => anyhow::Error::new(Hinted { source, hint }),
                None => source,
            }
        })
    }
}

/// Whether the command line was wrong, also where a hint stands beside it.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Usage>() || cause.downcast_ref::<Hinted>().is_some_and(|hinted| is_usage(&hinted.source))
    })
}

/// Whether the reader of our output went away, as `head` does: that is no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let artifact = cause.downcast_ref::<ArtifactError>().and_then(|error| match error {
            ArtifactError::Io { source, .. } => Some(source.kind()),
            _ => None,
        });
        io.or(artifact) == Some(ErrorKind::BrokenPipe)
    })
}

/// The message, its causes and the hint, each on a line of its own.
pub(crate) fn render(error: &anyhow::Error, colours: bool) -> String {
    let paint = |code: &str, word: &str| if colours { format!("\x1b[{code}m{word}\x1b[0m") } else { word.into() };
    let mut text = format!("{} {error}\n", paint("1;31", "error:"));
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Wrappers that repeat their source in their own message would say everything twice.
        if !said.contains(&cause) {
            text += &format!("  caused by: {cause}\n");
            said += &cause;
        }
    }
    for hint in hints(error) {
        text += &format!("{} {hint}\n", paint("1;36", "hint:"));
    }
    text
}

fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    let mut add = |hint: String| {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    };
    collect_hints(error, &mut add);
    hints
}

fn collect_hints(error: &anyhow::Error, add: &mut impl FnMut(String)) {
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        add(hinted.hint.clone());
        collect_hints(&hinted.source, add);
    }
    for cause in error.chain() {
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            add(hinted.hint.clone());
        }
        if let Some(hint) = cause.downcast_ref::<ArtifactError>().and_then(ArtifactError::hint) {
            add(hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn message_causes_and_hints_each_have_a_line() {
        let inner: anyhow::Result<()> = Err(anyhow::anyhow!("no such column")).hint("name it with --map");
        let error = inner.context("data.csv: cannot be read").expect_err("an error");
        assert_eq!(
            render(&error, false),
            "error: data.csv: cannot be read\n  caused by: no such column\nhint: name it with --map\n"
        );
    }

    #[test]
    fn a_wrong_command_line_is_recognised_below_hints_and_causes() {
        let hinted: anyhow::Result<()> = Err(Usage("--x must be 1".into())).hint("write --x 1");
        assert!(is_usage(&hinted.context("cannot start").expect_err("an error")));
        let other: anyhow::Result<()> = Err(anyhow::anyhow!("no such file")).hint("name another");
        assert!(!is_usage(&other.expect_err("an error")));
    }

    #[test]
    fn an_artifact_error_brings_its_hint() {
        let missing = ArtifactError::Missing { path: "x".into(), hint: "run retune-ingest".into() };
        let error = anyhow::Error::new(missing).context("cannot start");
        assert!(render(&error, false).ends_with("hint: run retune-ingest\n"));
    }

    #[test]
    fn a_broken_pipe_is_recognised_below_other_errors() {
        let pipe = std::io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::new(pipe).context("cannot print")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
