//! From `tokenizer.json` and what stands beside it to the metadata that llama.cpp reads.

use super::{SPECIALS, is_byte, kind, words};
use crate::{EncodingError, Result, Tokenizer};
use artifact::gguf::{GgufValue, Metadata};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// The metadata of a tokenizer for a model of `vocabulary` tokens.
///
/// # Errors
/// A tokenizer that llama.cpp has no kind for, by what stands in the way.
pub fn to_gguf(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Metadata> {
    let json: Value = serde_json::from_str(tokenizer.json()).map_err(EncodingError::library)?;
    let model = &json["model"];
    if model["type"] != "BPE" {
        return Err(refused(&format!("a tokenizer of type {}", model["type"])));
    }
    let byte_level = json["decoder"].to_string().contains("ByteLevel");
    let entries = entries(&json, vocabulary, !byte_level)?;
    let merges = merges(model)?;
    let mut metadata = Metadata::default();
    if byte_level {
        let Some(pre) = words::name_of(&json) else {
            return Err(refused(&format!(
                "words cut by {} (known are {})",
                json["pre_tokenizer"].to_string().chars().take(300).collect::<String>(),
                words::names()
            )));
        };
        metadata.push("tokenizer.ggml.model", "gpt2");
        metadata.push("tokenizer.ggml.pre", pre);
    } else {
        metadata.push("tokenizer.ggml.model", "llama");
        metadata.push("tokenizer.ggml.pre", "default");
        let scores = scores(&entries, &merges)?;
        list(&mut metadata, "scores", scores.into_iter().map(GgufValue::F32));
        metadata.push("tokenizer.ggml.add_space_prefix", prepends_space(&json)?);
    }
    list(&mut metadata, "tokens", entries.iter().map(|(token, _)| GgufValue::Text(token.clone())));
    list(&mut metadata, "token_type", entries.iter().map(|(_, kind)| GgufValue::I32(*kind)));
    if byte_level {
        list(&mut metadata, "merges", merges.iter().map(|(left, right)| GgufValue::Text(format!("{left} {right}"))));
    }
    let facts = tokenizer.facts();
    for (name, own) in SPECIALS {
        let text = facts.named_tokens().find(|(found, _)| *found == name).map(|(_, text)| text);
        if let Some(id) = text.and_then(|text| entries.iter().position(|(token, _)| token == text)) {
            metadata.push(format!("tokenizer.ggml.{own}_token_id"), id as u32);
        }
    }
    metadata.push("tokenizer.ggml.add_bos_token", facts.add_bos_token.unwrap_or(false));
    metadata.push("tokenizer.ggml.add_eos_token", facts.add_eos_token.unwrap_or(false));
    if let Some(template) = facts.chat_templates.get("default") {
        metadata.push("tokenizer.chat_template", template.as_str());
    }
    Ok(metadata)
}

fn refused(what: &str) -> EncodingError {
    EncodingError::Options {
        message: format!("the tokenizer cannot be written as GGUF: llama.cpp has no {what}"),
        hint: "write a Hugging Face folder: --to hf".to_owned(),
    }
}

fn list(metadata: &mut Metadata, key: &str, values: impl Iterator<Item = GgufValue>) {
    metadata.0.push((format!("tokenizer.ggml.{key}"), GgufValue::Array(values.collect())));
}

/// Text and kind of every token, in the order of the ids. Ids without a token get a name that no text spells.
fn entries(json: &Value, vocabulary: usize, with_bytes: bool) -> Result<Vec<(String, i32)>> {
    let unknown = json["model"]["unk_token"].as_str();
    let mut by_id: BTreeMap<usize, (String, i32)> = BTreeMap::new();
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        let id = id.as_u64().unwrap_or(u64::MAX) as usize;
        let kind = match token {
            token if with_bytes && Some(token.as_str()) == unknown => kind::UNKNOWN,
            token if with_bytes && is_byte(token) => kind::BYTE,
            _ => kind::NORMAL,
        };
        by_id.insert(id, (token.clone(), kind));
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (id, text) = (added["id"].as_u64().unwrap_or(u64::MAX) as usize, added["content"].as_str());
        let special = added["special"] == true;
        let kind = match by_id.get(&id) {
            Some((_, kind::UNKNOWN)) => kind::UNKNOWN,
            _ if special => kind::CONTROL,
            _ => kind::USER_DEFINED,
        };
        by_id.insert(id, (text.unwrap_or_default().to_owned(), kind));
    }
    if let Some((&id, (token, _))) = by_id.last_key_value().filter(|(id, _)| **id >= vocabulary) {
        return Err(EncodingError::Options {
            message: format!("the tokenizer's token {token:?} has id {id}, and the model has {vocabulary} tokens"),
            hint: "give the tokenizer that the model was trained with".into(),
        });
    }
    Ok((0..vocabulary).map(|id| by_id.remove(&id).unwrap_or_else(|| (format!("[PAD{id}]"), kind::UNUSED))).collect())
}

/// Pairs that are merged, in order; files hold them as pairs or as one text with a space.
fn merges(model: &Value) -> Result<Vec<(String, String)>> {
    let one = |merge: &Value| {
        let (left, right) = match merge {
            Value::String(text) => text.split_once(' ')?,
            pair => (pair[0].as_str()?, pair[1].as_str()?),
        };
        Some((left.to_owned(), right.to_owned()))
    };
    let merges = model["merges"].as_array().into_iter().flatten().map(one);
    merges.collect::<Option<_>>().ok_or_else(|| refused("merges of another form than pairs"))
}

/// SentencePiece merges the pair whose whole has the highest score: the place of the whole among the merges.
fn scores(entries: &[(String, i32)], merges: &[(String, String)]) -> Result<Vec<f32>> {
    let mut places: HashMap<String, (usize, usize)> = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        let (_, last) = places.entry(format!("{left}{right}")).or_insert((rank, rank));
        // The ways to make one piece must follow each other, or a score of the piece cannot say their order.
        if rank > *last + 1 {
            return Err(refused(&format!("merges of {left}{right} that do not follow each other")));
        }
        *last = rank;
    }
    let score = |(id, (token, kind)): (usize, &(String, i32))| match (*kind, places.get(token)) {
        (kind::NORMAL | kind::USER_DEFINED, Some((rank, _))) => -(*rank as f32),
        (kind::NORMAL, None) => -((merges.len() + id) as f32),
        _ => 0.0,
    };
    Ok(entries.iter().enumerate().map(score).collect())
}

/// Whether a text gets a space before it; other changes of the text than spaces to `▁` are refused.
fn prepends_space(json: &Value) -> Result<bool> {
    let normalizer = &json["normalizer"];
    let steps = match &normalizer["normalizers"] {
        Value::Array(steps) => steps.clone(),
        _ => vec![normalizer.clone()],
    };
    let replaces =
        |step: &Value| step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == "▁";
    let prepends = |step: &Value| step["type"] == "Prepend" && step["prepend"] == "▁";
    let metaspace = &json["pre_tokenizer"];
    if normalizer.is_null() && metaspace["type"] == "Metaspace" {
        let scheme = metaspace["prepend_scheme"].as_str().unwrap_or("always");
        return match (metaspace["split"].as_bool(), scheme) {
            (Some(false), "always" | "first") => Ok(true),
            (Some(false), "never") => Ok(false),
            _ => Err(refused("pieces that do not cross words")),
        };
    }
    match steps.as_slice() {
        [first, second] if prepends(first) && replaces(second) => Ok(true),
        [only] if replaces(only) => Ok(false),
        _ => Err(refused(&format!("normalizer {}", normalizer.to_string().chars().take(300).collect::<String>()))),
    }
}
