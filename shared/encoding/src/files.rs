//! The tokenizer's files as they are written beside the tokens, so that whoever takes the tokens (or the model trained
//! on them) renders and encodes exactly as we did.

use crate::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

/// Names and contents of the files: `tokenizer.json` as it was, `tokenizer_config.json` with the chat template in use,
/// and `chat_template.jinja`, which newer tools read instead. Without a template where none was used.
pub fn tokenizer_files(tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Vec<(&'static str, Vec<u8>)> {
    let mut config = tokenizer.facts().config.clone();
    for (name, token) in tokenizer.facts().named_tokens() {
        if config.get(name).is_none_or(Value::is_null) {
            config.insert(name.into(), json!(token));
        }
    }
    config.entry("tokenizer_class").or_insert_with(|| json!("PreTrainedTokenizerFast"));
    if let Some(template) = template {
        let sources = template.sources();
        let in_config = if sources.len() == 1 {
            json!(template.source())
        } else {
            sources.iter().map(|(name, source)| json!({"name": name, "template": source})).collect()
        };
        config.insert("chat_template".into(), in_config);
    }
    let mut text = serde_json::to_string_pretty(&Value::Object(config)).expect("a JSON value can be written");
    text.push('\n');
    let mut files =
        vec![("tokenizer.json", tokenizer.json().as_bytes().to_vec()), ("tokenizer_config.json", text.into_bytes())];
    files.extend(template.map(|template| ("chat_template.jinja", template.source().as_bytes().to_vec())));
    files
}
