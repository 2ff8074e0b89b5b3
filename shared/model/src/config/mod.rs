//! A model's configuration, read from the JSON of `config.json`.

mod fields;
mod rope;
#[cfg(test)]
mod tests;

pub(crate) use fields::Fields;
pub(crate) use rope::{read_rotary, rotary_from};

use serde_json::Value;

use crate::ModelError;
use crate::architectures;
use crate::description::Description;

/// What a model is: its architecture as a list of parts, and the few facts about tokens that go with it.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    model_type: String,
    description: Description,
    end_of_sequence: Vec<u32>,
    begin_of_sequence: Option<u32>,
    notes: Vec<String>,
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// An unknown `model_type`, a missing or ill-typed key, or a key that would change the result and is not honoured,
    /// each by name. Keys without effect on the result are ignored.
    pub fn from_json(json: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(json)?;
        let description = architectures::describe(&fields)?;
        Ok(Self {
            model_type: fields.model_type().to_owned(),
            description,
            end_of_sequence: fields.token_ids("eos_token_id")?,
            begin_of_sequence: fields.token_ids("bos_token_id")?.first().copied(),
            notes: fields.dropout_notes(),
        })
    }

    /// The `model_type` of the configuration, such as `llama`.
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// The parts the decoder is made of.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Vocabulary size.
    pub fn vocabulary(&self) -> usize {
        self.description.vocabulary
    }

    /// Longest sequence the model was made for, in tokens.
    pub fn context(&self) -> usize {
        self.description.context
    }

    /// Ids that end a text, as `config.json` states them.
    pub fn end_of_sequence(&self) -> &[u32] {
        &self.end_of_sequence
    }

    /// Id that begins a text, as `config.json` states it.
    pub fn begin_of_sequence(&self) -> Option<u32> {
        self.begin_of_sequence
    }

    /// Number of stored parameters.
    pub fn parameter_count(&self) -> usize {
        self.description.parameters().iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
    }

    /// What a user should know: settings that this project leaves out on purpose, such as dropout of the base model.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
