//! What stands beside `tokenizer.json`: which tokens begin and end a text, how long it may be, and the chat template.
//! Hugging Face spreads these over `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja`,
//! `chat_template.json` and `generation_config.json`; all are optional.

use crate::{EncodingError, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Lengths above this are the "no limit" placeholders that Hugging Face writes (such as 1e30).
const LONGEST_BELIEVABLE: f64 = 1e9;

/// Facts about a tokenizer that its vocabulary does not hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerFacts {
    /// The token that begins a text.
    pub bos_token: Option<String>,
    /// The token that ends a text: where generation stops.
    pub eos_token: Option<String>,
    /// The padding token; we never pad, it travels for other tools.
    pub pad_token: Option<String>,
    /// The token that stands for what the vocabulary cannot spell.
    pub unk_token: Option<String>,
    /// Whether a text is to begin with `bos_token`; `None` leaves it to the post-processor of `tokenizer.json`.
    pub add_bos_token: Option<bool>,
    /// Whether a plain text is to end with `eos_token`; `None` leaves it to the post-processor.
    pub add_eos_token: Option<bool>,
    /// The longest input in tokens that the tokenizer's author intended.
    pub model_max_length: Option<usize>,
    /// Chat templates by name; the one for general use is called `default`.
    pub chat_templates: BTreeMap<String, String>,
    /// Ids that end generation, from `generation_config.json`.
    pub generation_eos_ids: Vec<u32>,
    /// The whole of `tokenizer_config.json`, to be written on with the tokens.
    pub config: Map<String, Value>,
}

impl TokenizerFacts {
    /// Reads what there is in `folder`; a folder without any of these files gives the defaults.
    ///
    /// # Errors
    /// [`EncodingError::Malformed`] where a file is there but is not JSON of the known shape.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = read_object(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        let map = read_object(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
        let token = |name: &str| token_text(config.get(name)).or_else(|| token_text(map.get(name)));
        let mut facts = Self {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            pad_token: token("pad_token"),
            unk_token: token("unk_token"),
            add_bos_token: config.get("add_bos_token").and_then(Value::as_bool),
            add_eos_token: config.get("add_eos_token").and_then(Value::as_bool),
            model_max_length: config.get("model_max_length").and_then(believable_length),
            chat_templates: templates_in(config.get("chat_template")),
            generation_eos_ids: Vec::new(),
            config,
        };
        facts.read_other_templates(folder)?;
        if let Some(generation) = read_object(&folder.join("generation_config.json"))? {
            facts.generation_eos_ids = ids_in(generation.get("eos_token_id"));
        }
        Ok(facts)
    }

    /// `chat_template.jinja` wins over the configuration, as in transformers; `chat_template.json` is the older form.
    fn read_other_templates(&mut self, folder: &Path) -> Result<()> {
        if let Some(older) = read_object(&folder.join("chat_template.json"))? {
            for (name, source) in templates_in(older.get("chat_template")) {
                self.chat_templates.entry(name).or_insert(source);
            }
        }
        if let Some(source) = read_text(&folder.join("chat_template.jinja"))? {
            self.chat_templates.insert("default".into(), source);
        }
        Ok(())
    }

    /// The special tokens by the names under which a chat template sees them.
    pub fn named_tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("pad_token", &self.pad_token),
            ("unk_token", &self.unk_token),
        ]
        .into_iter()
        .filter_map(|(name, token)| Some((name, token.as_deref()?)))
    }
}

/// A token is written as its text or as an object that describes it.
fn token_text(value: Option<&Value>) -> Option<String> {
    let value = value?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

fn believable_length(value: &Value) -> Option<usize> {
    let length = value.as_f64()?;
    (1.0..=LONGEST_BELIEVABLE).contains(&length).then_some(length as usize)
}

/// Either one template, or a list of `{"name", "template"}`, or a map from name to template.
fn templates_in(value: Option<&Value>) -> BTreeMap<String, String> {
    match value {
        Some(Value::String(source)) => BTreeMap::from([("default".into(), source.clone())]),
        Some(Value::Array(entries)) => entries
            .iter()
            .filter_map(|entry| {
                let text = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
                Some((text("name")?, text("template")?))
            })
            .collect(),
        Some(Value::Object(entries)) => {
            entries.iter().filter_map(|(name, source)| Some((name.clone(), source.as_str()?.to_owned()))).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn ids_in(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(single) => id(single).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The file's text, or `None` where there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EncodingError::Read { path: path.into(), source }),
    }
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    let malformed =
        |found: String| EncodingError::Malformed { path: path.into(), expected: "a JSON object".into(), found };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(other) => Err(malformed(other.to_string().chars().take(40).collect())),
        Err(error) => Err(malformed(error.to_string())),
    }
}
