//! How a run ends when it does not fail.

use serde::Serialize;
use serde_json::Value;

/// What a run has to say: for people as text, for programs as JSON.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Lines for people; they go to standard error.
    pub text: String,
    /// The same content as one JSON document; it goes to standard output under `--json`.
    pub json: Value,
}

impl Report {
    /// A report whose JSON is any serializable summary.
    ///
    /// # Panics
    /// If the summary has map keys that are not strings: a defect of the stage.
    pub fn new(text: impl Into<String>, summary: &impl Serialize) -> Self {
        let json = serde_json::to_value(summary).expect("a summary serializes to JSON");
        Self { text: text.into(), json }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All done: exit code 0.
    Done(Report),
    /// The folder already holds what the run would write: exit code 0.
    UpToDate(Report),
    /// The run is done and a gate was missed: exit code 3.
    GateMissed(Report),
    /// Interrupted after saving what there was: exit code 130.
    Interrupted(Report),
}

impl Outcome {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done(_) | Self::UpToDate(_) => 0,
            Self::GateMissed(_) => 3,
            Self::Interrupted(_) => 130,
        }
    }

    /// The report to show.
    pub fn report(&self) -> &Report {
        match self {
            Self::Done(report) | Self::UpToDate(report) | Self::GateMissed(report) | Self::Interrupted(report) => {
                report
            }
        }
    }
}
