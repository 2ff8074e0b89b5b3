//! A tokenizer: its size, special tokens and chat template.

use crate::view::View;
use anyhow::Result;
use cli::format::count;
use encoding::Tokenizer;
use serde_json::{Value, json};
use std::path::Path;

/// Special tokens that are listed.
const LISTED: usize = 8;

/// Describes `tokenizer.json` or a folder that holds it.
pub(crate) fn describe(path: &Path) -> Result<View> {
    let tokenizer = Tokenizer::open(path)?;
    let facts = tokenizer.facts();
    let description: Value = serde_json::from_str(tokenizer.json())?;
    let model = description.pointer("/model/type").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let mut view = View::new("tokenizer", format!("{}: a {model} tokenizer", path.display()));
    let section = view.section("");
    section.fact("entries", count(tokenizer.vocabulary_size() as u64));
    for (name, token) in facts.named_tokens() {
        let id = tokenizer.id(token).map_or_else(|| "not in the vocabulary".to_owned(), |id| id.to_string());
        section.fact(name, format!("{token} ({id})"));
    }
    let opening = tokenizer.opening().and_then(|id| tokenizer.token(id));
    section.fact("begins with", opening.as_deref().unwrap_or("nothing added"));
    let specials: Vec<&str> = tokenizer.special_tokens().values().map(String::as_str).collect();
    let more = if specials.len() > LISTED { format!(" and {} more", specials.len() - LISTED) } else { String::new() };
    section.fact("special", format!("{}{more}", specials[..specials.len().min(LISTED)].join(" ")));
    if let Some(length) = facts.model_max_length {
        section.fact("longest input", count(length as u64));
    }
    section.fact(
        "chat template",
        match facts.chat_templates.len() {
            0 => "none: retune uses its own (User: and Assistant: lines)".to_owned(),
            _ => facts.chat_templates.keys().cloned().collect::<Vec<_>>().join(", "),
        },
    );
    view.set("type", model);
    view.set("entries", tokenizer.vocabulary_size());
    view.set("special_tokens", json!(tokenizer.special_tokens().values().collect::<Vec<_>>()));
    view.set("bos_token", json!(facts.bos_token));
    view.set("eos_token", json!(facts.eos_token));
    view.set("chat_template", json!(facts.chat_templates.get("default")));
    Ok(view)
}
