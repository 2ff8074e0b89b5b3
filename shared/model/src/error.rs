//! What can go wrong between a configuration, its weights and a batch: what was expected, what was found, what to do.

use crate::architectures::SUPPORTED_MODEL_TYPES;

/// An error of a model: its configuration, its weights, its adapter, or its input.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The configuration is not a JSON object.
    #[error("config.json: expected a JSON object, found {found}")]
    NotAnObject {
        /// The kind of JSON value found.
        found: &'static str,
    },
    /// A key without which the model cannot be built.
    #[error("config.json: the key `{key}` is missing; a {model_type} model needs it ({expected})")]
    MissingKey {
        /// Architecture being read.
        model_type: String,
        /// Key that is absent.
        key: String,
        /// What its value should be.
        expected: &'static str,
    },
    /// A key of the wrong type or out of range.
    #[error("config.json: `{key}` is {found}; expected {expected}")]
    WrongValue {
        /// Key read.
        key: String,
        /// Its value, as JSON.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// `model_type` is not one of ours.
    #[error(
        "config.json: model_type `{found}` is not supported; supported are {}",
        SUPPORTED_MODEL_TYPES.join(", ")
    )]
    UnsupportedArchitecture {
        /// The `model_type` found.
        found: String,
    },
    /// A key that changes the result and that is not honoured for this architecture.
    #[error(
        "config.json: `{key}` = {found} would change the result and is not supported for {model_type}; {supported}"
    )]
    UnsupportedValue {
        /// Architecture being read.
        model_type: String,
        /// Key read.
        key: String,
        /// Its value, as JSON.
        found: String,
        /// What is supported instead.
        supported: String,
    },
    /// Weights that the architecture needs and the checkpoint lacks.
    #[error(
        "{count} tensors are missing from the weights: {}; the checkpoint does not belong to this config.json, or is incomplete",
        listed(names)
    )]
    MissingTensors {
        /// How many.
        count: usize,
        /// Their names.
        names: Vec<String>,
    },
    /// Weights in the checkpoint that the architecture has no place for.
    #[error(
        "{count} tensors of the weights have no place in this architecture: {}; the checkpoint does not belong to this config.json",
        listed(names)
    )]
    SurplusTensors {
        /// How many.
        count: usize,
        /// Their names.
        names: Vec<String>,
    },
    /// A weight of the wrong shape.
    #[error("tensor `{name}` has shape {found:?}; config.json implies {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape that the configuration implies.
        expected: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
    },
    /// A target module that no linear layer answers to.
    #[error("target module `{found}` matches no linear layer; the linear layers are {}", listed(linears))]
    UnknownTarget {
        /// Name given by the user.
        found: String,
        /// Names that exist, each once (without the layer's number).
        linears: Vec<String>,
    },
    /// The settings of an adapter leave no linear layer.
    #[error(
        "target modules `{found}`, without the excluded ones and in the chosen layers, leave no linear layer to adapt"
    )]
    NothingTargeted {
        /// The targets.
        found: String,
    },
    /// A module to save that the model does not have.
    #[error("module to save `{found}` is no module of this model; its modules are {}", listed(modules))]
    UnknownModule {
        /// Name given by the user.
        found: String,
        /// Names that exist, each once (without the layer's number).
        modules: Vec<String>,
    },
    /// Two stored tensors that are one in the model.
    #[error("adapter: `{name}` differs from the embedding it is tied to (`ensure_weight_tying`)")]
    TiedDiffer {
        /// Name of the second tensor.
        name: String,
    },
    /// The adapter has a bias, its layer has none.
    #[error(
        "the adapter of `{name}` has a bias (`lora_bias`) and the layer has none: such an adapter cannot be merged"
    )]
    NoBiasToMerge {
        /// Name of the layer.
        name: String,
    },
    /// A low-rank adapter setting that cannot be honoured.
    #[error("adapter: `{key}` = {found} is not supported; {supported}")]
    UnsupportedAdapter {
        /// Field of `adapter_config.json`.
        key: String,
        /// Its value, as JSON.
        found: String,
        /// What is supported instead.
        supported: String,
    },
    /// A pattern that is not a regular expression.
    #[error("adapter: `{pattern}` is not a regular expression this reader understands: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the regular-expression reader said.
        reason: String,
    },
    /// The adapter's tensors are not those that its configuration implies.
    #[error("adapter: {}", adapter_keys(missing, surplus))]
    AdapterKeys {
        /// Names implied and absent.
        missing: Vec<String>,
        /// Names present and not implied.
        surplus: Vec<String>,
    },
    /// The model already has an adapter.
    #[error("the model already has an adapter; merge it or start from the base without it")]
    SecondAdapter,
    /// A token outside the vocabulary.
    #[error(
        "token id {found} at position {position} is outside the model's vocabulary of {vocabulary}; was the text encoded with another model's tokenizer?"
    )]
    TokenOutOfRange {
        /// The id.
        found: u32,
        /// Index in the flat batch.
        position: usize,
        /// Vocabulary size.
        vocabulary: usize,
    },
    /// A position that the model has no embedding for.
    #[error(
        "position {found} is beyond the {context} positions this model has learned; shorten the sequences to at most {context} tokens"
    )]
    PositionOutOfRange {
        /// The position.
        found: usize,
        /// Number of positions.
        context: usize,
    },
    /// A batch whose parts do not fit each other.
    #[error("batch: {0}")]
    Batch(String),
    /// The tensor source failed.
    #[error(transparent)]
    Source(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// A tensor operation failed.
    #[error("tensor arithmetic failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The first names of a list, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

fn adapter_keys(missing: &[String], surplus: &[String]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("{} tensors are missing: {}", missing.len(), listed(missing)));
    }
    if !surplus.is_empty() {
        parts.push(format!("{} tensors belong to no targeted layer: {}", surplus.len(), listed(surplus)));
    }
    parts.push("the adapter belongs to another base model, or its adapter_config.json was changed".to_owned());
    parts.join("; ")
}
