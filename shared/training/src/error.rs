//! What can go wrong in training, with what was expected, what was found and what to do.

use crate::ObserverError;

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The columns of a row differ in length.
    #[error(
        "a row's columns must be equally long: input_ids has {input_ids}, labels {labels}, position_ids {position_ids}"
    )]
    RowLengths {
        /// Length of `input_ids`.
        input_ids: usize,
        /// Length of `labels`.
        labels: usize,
        /// Length of `position_ids`.
        position_ids: usize,
    },
    /// A row without tokens.
    #[error("a row must hold at least one token")]
    EmptyRow,
    /// A label that is neither a token nor "not trained".
    #[error("a label must be a token id or -100, found {label}")]
    Label {
        /// What was found.
        label: i32,
    },
    /// An option out of its range.
    #[error("{name} must be {expected}, found {found}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// What was given.
        found: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// No row asks for a token.
    #[error("no row has a token to learn: every label is -100")]
    NothingToLearn,
    /// No validation row asks for a token.
    #[error("no validation row has a token in the loss: every label is -100")]
    NothingToValidate,
    /// Early stopping needs validation rows.
    #[error("early stopping needs validation rows, found none")]
    EarlyStoppingWithoutValidation,
    /// The model has no trainable tensor.
    #[error("the model has no trainable tensor: add an adapter or load it for full training")]
    NothingTrainable,
    /// The loss is infinite or not a number. The tensors are those from before the step.
    #[error("the loss of step {step} is not finite")]
    NonFiniteLoss {
        /// The step, from 1.
        step: usize,
        /// Rows (indices into the training rows) whose own loss is not finite.
        rows: Vec<usize>,
    },
    /// The loss is finite, its gradient is not. The tensors are those from before the step.
    #[error("the gradient of step {step} is not finite, though its loss is {loss}")]
    NonFiniteGradient {
        /// The step, from 1.
        step: usize,
        /// The step's loss.
        loss: f64,
        /// Rows (indices into the training rows) of the step.
        rows: Vec<usize>,
        /// Tensors whose gradient is not finite.
        tensors: Vec<String>,
    },
    /// The loss over the validation rows is infinite or not a number.
    #[error("the validation loss after step {step} is not finite")]
    NonFiniteValidation {
        /// The step, from 1; 0 is before the first.
        step: usize,
        /// Rows (indices into the validation rows) whose own loss is not finite.
        rows: Vec<usize>,
    },
    /// Tensors that should train have no gradient: the model does not use them, or an operation dropped it.
    #[error("these tensors should train but got no gradient in step {step}: {}", names.join(", "))]
    NoGradient {
        /// The step, from 1: the first one, unless the model changes its mind.
        step: usize,
        /// Their names.
        names: Vec<String>,
    },
    /// A row that is no pair where pairs are trained on.
    #[error(
        "row {} holds {sequences} sequences: a preference pair is two, the chosen answer and the rejected one, each after \
         its prompt",
        row + 1
    )]
    NoPair {
        /// Index of the row.
        row: usize,
        /// What was found.
        sequences: usize,
    },
    /// A pair with an answer that has no token to compare.
    #[error("an answer of row {} has no token: every label of it is -100", row + 1)]
    UntrainedAnswer {
        /// Index of the row.
        row: usize,
    },
    /// Pairs without their log-probabilities under the reference.
    #[error("{found} of {expected} pairs have log-probabilities under the reference")]
    NoReference {
        /// Pairs.
        expected: usize,
        /// Pairs with log-probabilities.
        found: usize,
    },
    /// A saved state does not belong to this model.
    #[error("the checkpoint does not fit the model: {what}")]
    State {
        /// What differs.
        what: String,
    },
    /// The model failed.
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The observer failed, for instance in writing a checkpoint.
    #[error("{0}")]
    Observer(#[source] ObserverError),
}
