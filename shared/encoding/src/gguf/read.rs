//! From a GGUF file's metadata to a `tokenizer.json` and the facts beside it.

use super::{SPECIALS, kind, words};
use crate::{EncodingError, Result, TokenizerFacts};
use artifact::gguf::{Gguf, GgufValue, Metadata};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The text of a `tokenizer.json`, and what stands beside it.
pub(crate) fn from_gguf(gguf: &Gguf) -> Result<(String, TokenizerFacts)> {
    let read = Reader { gguf, metadata: gguf.metadata() };
    let model = read.text("model").unwrap_or("none");
    let tokens = read.tokens()?;
    let json = match model {
        "gpt2" => read.byte_level(&tokens)?,
        "llama" => read.sentence_piece(&tokens)?,
        other => return Err(read.malformed("tokenizer.ggml.model gpt2 or llama", other)),
    };
    Ok((json.to_string(), read.facts(&tokens)))
}

struct Reader<'a> {
    gguf: &'a Gguf,
    metadata: &'a Metadata,
}

/// Text and kind of each token.
type Tokens<'a> = Vec<(&'a str, i32)>;

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a GgufValue> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    fn list(&self, key: &str) -> &'a [GgufValue] {
        self.get(key).and_then(GgufValue::as_array).unwrap_or_default()
    }

    fn malformed(&self, expected: &str, found: &str) -> EncodingError {
        EncodingError::Malformed { path: self.gguf.path().into(), expected: expected.into(), found: found.into() }
    }

    fn tokens(&self) -> Result<Tokens<'a>> {
        let kinds = self.list("token_type");
        let tokens = self.list("tokens").iter().enumerate().map(|(id, token)| {
            let kind = kinds.get(id).and_then(GgufValue::as_i64).map_or(kind::NORMAL, |kind| kind as i32);
            Some((token.as_str()?, kind))
        });
        match tokens.collect::<Option<Tokens<'a>>>() {
            Some(tokens) if !tokens.is_empty() => Ok(tokens),
            _ => Err(self.malformed("a list of texts as tokenizer.ggml.tokens", "none")),
        }
    }

    fn byte_level(&self, tokens: &Tokens<'_>) -> Result<Value> {
        let name = self.text("pre").unwrap_or("default");
        let Some((pre_tokenizer, normalizer, whole_words)) = words::of_name(name) else {
            return Err(self.malformed(&format!("tokenizer.ggml.pre to be one of {}", words::names()), name));
        };
        let merges: Vec<Value> = self
            .list("merges")
            .iter()
            .filter_map(|merge| merge.as_str()?.split_once(' '))
            .map(|(left, right)| json!([left, right]))
            .collect();
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added(tokens), "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": level, "decoder": level,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                      "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                      "ignore_merges": whole_words, "vocab": vocabulary(tokens), "merges": merges},
        }))
    }

    fn sentence_piece(&self, tokens: &Tokens<'_>) -> Result<Value> {
        let scores: Vec<f64> = self.list("scores").iter().filter_map(GgufValue::as_f64).collect();
        if scores.len() != tokens.len() {
            return Err(self
                .malformed(&format!("{} numbers as tokenizer.ggml.scores", tokens.len()), &scores.len().to_string()));
        }
        let prepends = self.get("add_space_prefix").and_then(GgufValue::as_bool).unwrap_or(true);
        let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
        let normalizer = if prepends {
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]})
        } else {
            replace(" ", "▁")
        };
        let mut decoders = vec![replace("▁", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if prepends {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = tokens.iter().find(|(_, kind)| *kind == kind::UNKNOWN).map(|(token, _)| *token);
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added(tokens), "normalizer": normalizer, "pre_tokenizer": null,
            "post_processor": null, "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                      "vocab": vocabulary(tokens), "merges": merges_of(tokens, &scores)},
        }))
    }

    fn facts(&self, tokens: &Tokens<'_>) -> TokenizerFacts {
        let special = |name: &str| {
            let own = SPECIALS.iter().find(|(found, _)| *found == name)?.1;
            let id = self.get(&format!("{own}_token_id"))?.as_u64()?;
            Some(tokens.get(usize::try_from(id).ok()?)?.0.to_owned())
        };
        let flag = |key: &str| self.get(key).and_then(GgufValue::as_bool);
        let piece = self.text("model") == Some("llama");
        let mut facts = TokenizerFacts {
            bos_token: special("bos_token"),
            eos_token: special("eos_token"),
            unk_token: special("unk_token"),
            pad_token: special("pad_token"),
            // llama.cpp's defaults.
            add_bos_token: Some(flag("add_bos_token").unwrap_or(piece)),
            add_eos_token: Some(flag("add_eos_token").unwrap_or(false)),
            ..TokenizerFacts::default()
        };
        if let Some(template) = self.metadata.get("tokenizer.chat_template").and_then(GgufValue::as_str) {
            facts.chat_templates.insert("default".into(), template.to_owned());
        }
        let mut config = Map::new();
        for (name, token) in facts.named_tokens() {
            config.insert(name.into(), token.into());
        }
        config.insert("add_bos_token".into(), json!(facts.add_bos_token));
        config.insert("add_eos_token".into(), json!(facts.add_eos_token));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        if let Some(template) = facts.chat_templates.get("default") {
            config.insert("chat_template".into(), json!(template));
        }
        facts.config = config;
        facts
    }
}

fn vocabulary(tokens: &Tokens<'_>) -> Map<String, Value> {
    tokens.iter().enumerate().map(|(id, (token, _))| ((*token).to_owned(), json!(id))).collect()
}

fn added(tokens: &Tokens<'_>) -> Vec<Value> {
    tokens
        .iter()
        .enumerate()
        .filter(|(_, (_, kind))| [kind::CONTROL, kind::UNKNOWN, kind::USER_DEFINED].contains(kind))
        .map(|(id, (token, kind))| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": *kind != kind::USER_DEFINED})
        })
        .collect()
}

/// Each way to make a piece of two others, the pieces by score, as transformers converts SentencePiece.
fn merges_of(tokens: &Tokens<'_>, scores: &[f64]) -> Vec<Value> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, (token, _))| (*token, id)).collect();
    let mut pieces: Vec<usize> =
        (0..tokens.len()).filter(|id| [kind::NORMAL, kind::USER_DEFINED].contains(&tokens[*id].1)).collect();
    pieces.sort_by(|left, right| scores[*right].total_cmp(&scores[*left]));
    let mut merges = Vec::new();
    for id in pieces {
        let piece = tokens[id].0;
        let mut ways: Vec<(usize, usize)> = piece
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| Some((*ids.get(&piece[..at])?, *ids.get(&piece[at..])?)))
            .collect();
        ways.sort_unstable();
        merges.extend(ways.into_iter().map(|(left, right)| json!([tokens[left].0, tokens[right].0])));
    }
    merges
}
