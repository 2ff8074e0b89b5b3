//! What the loop's errors mean at the command line: which rows, and what to do.

use anyhow::anyhow;
use cli::Hint;
use training::TrainingError;

use super::checkpoint::Checkpoints;
use super::inputs::{Inputs, describe_rows};

/// The error with the names of rows in place of their indices, and a hint.
pub(crate) fn explain(
    error: TrainingError,
    inputs: &Inputs,
    checkpoints: &Checkpoints,
    adapter: bool,
) -> anyhow::Error {
    let diverged = || {
        let kept = checkpoints.newest().map(|(step, folder)| {
            let flag = if adapter { "--adapter" } else { "--model" };
            format!("; the checkpoint of step {step} is whole: start from it with {flag} {}", folder.display())
        });
        format!("lower --learning-rate, or look at these rows{}", kept.unwrap_or_default())
    };
    let (message, hint) = match &error {
        TrainingError::NonFiniteLoss { rows, .. } => {
            (format!("{error}: {}", describe_rows(&inputs.train, rows)), diverged())
        }
        TrainingError::NonFiniteGradient { rows, .. } => {
            (format!("{error}: {}", describe_rows(&inputs.train, rows)), diverged())
        }
        TrainingError::NonFiniteValidation { rows, .. } => {
            let file = inputs.validation.as_deref().unwrap_or(&inputs.train);
            (format!("{error}: {}", describe_rows(file, rows)), diverged())
        }
        TrainingError::NothingToLearn | TrainingError::NothingToValidate => {
            let hint = "tokenize with another --train-on, or check that the template marks what the assistant says";
            (error.to_string(), hint.to_owned())
        }
        TrainingError::EarlyStoppingWithoutValidation => {
            (error.to_string(), "give --validation FILE, or a token folder with validation.parquet".to_owned())
        }
        TrainingError::Observer(_) if checkpoints.newest().is_some() => {
            (with_causes(&error), "once that is mended, --resume goes on from the last whole checkpoint".to_owned())
        }
        _ => return anyhow::Error::new(error),
    };
    let hinted: anyhow::Result<()> = Err(anyhow!(message)).hint(hint);
    hinted.expect_err("made of an error just above")
}

/// The message and those of its causes, without saying anything twice.
fn with_causes(error: &TrainingError) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}
