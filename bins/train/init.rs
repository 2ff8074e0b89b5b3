//! `--init-config`: the configuration of a model to be made from random weights, completed from the tokenizer that its
//! tokens were made with.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use artifact::files;
use cli::Hint;
use model::ModelConfig;
use serde_json::{Map, Value};

/// Reads a configuration; `vocab_size` and the ids of special tokens come from the tokenizer where they are absent.
pub(crate) fn configuration(path: &Path, tokenizer: Option<&Path>) -> Result<(ModelConfig, Value)> {
    let mut json: Value = files::read_json(path)?;
    let Some(object) = json.as_object_mut() else { bail!("{}: expected a JSON object", path.display()) };
    if let Some(folder) = tokenizer {
        complete(object, folder).with_context(|| format!("{} does not fit the tokenizer", path.display()))?;
    }
    let config = ModelConfig::from_json(&json).with_context(|| format!("{}", path.display()))?;
    Ok((config, json))
}

fn complete(config: &mut Map<String, Value>, folder: &Path) -> Result<()> {
    let tokenizer: Value = files::read_json(&folder.join(files::TOKENIZER))?;
    let tokens = vocabulary(&tokenizer).with_context(|| format!("{} has no vocabulary", folder.display()))?;
    match config.get("vocab_size").and_then(Value::as_u64) {
        None => {
            config.insert("vocab_size".to_owned(), tokens.into());
        }
        Some(given) if given < tokens => {
            return Err(anyhow!("vocab_size is {given}, the tokenizer has {tokens} tokens"))
                .hint("leave vocab_size out: it is then taken from the tokenizer");
        }
        Some(_) => {}
    }
    for (key, token) in special_tokens(folder) {
        if config.get(key).is_none_or(Value::is_null)
            && let Some(id) = id_of(&tokenizer, &token)
        {
            config.insert(key.to_owned(), id.into());
        }
    }
    Ok(())
}

/// One more than the largest id of a `tokenizer.json`, added tokens included.
fn vocabulary(tokenizer: &Value) -> Option<u64> {
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64());
    let largest = match &tokenizer["model"]["vocab"] {
        Value::Object(ids) => ids.values().filter_map(Value::as_u64).max(),
        // Unigram: a list of [token, score].
        Value::Array(pieces) => (pieces.len() as u64).checked_sub(1),
        _ => None,
    };
    largest.max(added.max()).map(|largest| largest + 1)
}

/// The special tokens that `tokenizer_config.json` names, under the keys of a `config.json`.
fn special_tokens(folder: &Path) -> Vec<(&'static str, String)> {
    let json: Value = files::read_json(&folder.join(files::TOKENIZER_FILES[1])).unwrap_or_default();
    let keys = [("bos_token_id", "bos_token"), ("eos_token_id", "eos_token"), ("pad_token_id", "pad_token")];
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    keys.into_iter().filter_map(|(id, token)| Some((id, text(&json[token])?))).collect()
}

fn id_of(tokenizer: &Value, token: &str) -> Option<u64> {
    let mut added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let found = added.find(|added| added["content"] == token).and_then(|added| added["id"].as_u64());
    found.or_else(|| tokenizer["model"]["vocab"][token].as_u64())
}
