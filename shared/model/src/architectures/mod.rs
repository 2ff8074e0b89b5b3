//! One file for each architecture: which parts it is made of, and under which names its weights are stored.

mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod granite;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
mod standard;

use crate::ModelError;
use crate::config::Fields;
use crate::description::Description;

type Describe = fn(&Fields<'_>) -> Result<Description, ModelError>;

/// Each `model_type` and the function that describes it, in alphabetical order.
const ARCHITECTURES: [(&str, Describe); 12] = [
    ("gemma2", gemma2::describe),
    ("gemma3_text", gemma3::describe),
    ("gpt2", gpt2::describe),
    ("gpt_neox", gpt_neox::describe),
    ("granite", granite::describe),
    ("llama", llama::describe),
    ("mistral", mistral::describe),
    ("olmo2", olmo2::describe),
    ("phi3", phi3::describe),
    ("qwen2", qwen2::describe),
    ("qwen3", qwen3::describe),
    ("smollm3", smollm3::describe),
];

/// The values of `model_type` that are supported.
pub const SUPPORTED_MODEL_TYPES: [&str; ARCHITECTURES.len()] = {
    let mut names = [""; ARCHITECTURES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = ARCHITECTURES[index].0;
        index += 1;
    }
    names
};

/// Describes the architecture that the configuration names.
pub(crate) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let found = fields.model_type();
    let (_, describe) = ARCHITECTURES
        .iter()
        .find(|(name, _)| *name == found)
        .ok_or_else(|| ModelError::UnsupportedArchitecture { found: found.to_owned() })?;
    fields.refuse_common()?;
    describe(fields)
}
