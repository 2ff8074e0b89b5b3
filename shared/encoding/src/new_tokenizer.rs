//! A tokenizer of one's own: byte-level BPE of a given size, trained on the data, in the files that other tools open.

use crate::bpe::{byte_characters, train};
use crate::{EncodingError, Result, Tokenizer, TokenizerFacts};
use rayon::prelude::*;
use regex::Regex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;

/// The token that ends a text in a tokenizer of ours.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// The padding token in a tokenizer of ours: never the end token, which other trainers would then mask.
pub const PADDING: &str = "<|pad|>";

/// What `--new-tokenizer` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTokenizer {
    /// Byte-level BPE with this many entries in all.
    Bpe(usize),
}

impl FromStr for NewTokenizer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected bpe:SIZE such as bpe:8000, found `{text}`");
        let (kind, size) = text.split_once(':').ok_or_else(expected)?;
        let size: usize = size.parse().map_err(|_| expected())?;
        match kind {
            "bpe" if (258..=1_000_000).contains(&size) => Ok(Self::Bpe(size)),
            "bpe" => Err(format!("{size} entries: expected 258 (256 bytes and the special tokens) to 1000000")),
            _ => Err(expected()),
        }
    }
}

impl std::fmt::Display for NewTokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bpe(size) => write!(formatter, "bpe:{size}"),
        }
    }
}

/// Counts words, then learns merges. Texts may come in any number of batches; the result does not depend on them.
#[derive(Debug)]
pub struct TokenizerTrainer {
    splitter: tokenizers::Tokenizer,
    specials: Vec<String>,
    words: BTreeMap<String, u64>,
}

impl TokenizerTrainer {
    /// A trainer whose vocabulary begins with [`END_OF_TEXT`], [`PADDING`] and the markers (`<|…|>`) of a template.
    ///
    /// # Errors
    /// [`EncodingError::Tokenizer`] where the library refuses our description: a defect.
    pub fn new(template_source: &str) -> Result<Self> {
        static MARKER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"<\|[A-Za-z0-9_]+\|>").expect("the pattern is valid"));
        let mut specials = vec![END_OF_TEXT.to_owned(), PADDING.to_owned()];
        for marker in MARKER.find_iter(template_source) {
            if !specials.iter().any(|special| special == marker.as_str()) {
                specials.push(marker.as_str().to_owned());
            }
        }
        let splitter = description(&specials, &specials, &[]).to_string().parse().map_err(EncodingError::library)?;
        Ok(Self { splitter, specials, words: BTreeMap::new() })
    }

    /// Special tokens, by id.
    pub fn specials(&self) -> &[String] {
        &self.specials
    }

    /// Counts the words of some texts, in parallel.
    ///
    /// # Errors
    /// [`EncodingError::Tokenizer`] where the library fails.
    pub fn add(&mut self, texts: &[String]) -> Result<()> {
        let counted: Vec<BTreeMap<String, u64>> =
            texts.par_chunks(64).map(|chunk| self.count(chunk)).collect::<Result<_>>()?;
        for (word, count) in counted.into_iter().flatten() {
            *self.words.entry(word).or_default() += count;
        }
        Ok(())
    }

    fn count(&self, texts: &[String]) -> Result<BTreeMap<String, u64>> {
        use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
        let mut words = BTreeMap::new();
        let rules = self.splitter.get_pre_tokenizer().expect("our description has one");
        for text in texts {
            for part in self.without_specials(text) {
                let mut pieces = PreTokenizedString::from(part);
                rules.pre_tokenize(&mut pieces).map_err(EncodingError::library)?;
                for (word, _, _) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                    *words.entry(word.to_owned()).or_default() += 1;
                }
            }
        }
        Ok(words)
    }

    /// The stretches of a text between special tokens.
    fn without_specials<'text>(&self, text: &'text str) -> Vec<&'text str> {
        let mut parts = vec![text];
        for special in &self.specials {
            parts = parts.into_iter().flat_map(|part| part.split(special.as_str())).collect();
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// Learns a vocabulary of `size` entries, fewer if the texts have too few repeated pairs.
    ///
    /// # Errors
    /// [`EncodingError::Options`] if nothing was counted, or `size` does not hold the specials and the bytes.
    pub fn train(self, size: usize, facts: TokenizerFacts) -> Result<Tokenizer> {
        let least = self.specials.len() + byte_characters().len();
        if size < least {
            return Err(EncodingError::Options {
                message: format!("a vocabulary of {size} does not hold {least} bytes and special tokens"),
                hint: format!("ask for more than bpe:{least}"),
            });
        }
        if self.words.is_empty() {
            return Err(EncodingError::Options {
                message: "there is no text to train a tokenizer on".into(),
                hint: "the training split is empty; check what was ingested".into(),
            });
        }
        let bpe = train(&self.words, &self.specials, size);
        let merges: Vec<Value> = bpe.merges.iter().map(|(left, right)| json!([left, right])).collect();
        let text = serde_json::to_string_pretty(&description(&self.specials, &bpe.tokens, &merges))
            .expect("a JSON value can be written");
        Tokenizer::from_json(text, facts)
    }
}

/// What `tokenizer_config.json` says of a tokenizer of ours.
pub fn new_tokenizer_facts(max_length: Option<usize>) -> TokenizerFacts {
    let mut config = Map::new();
    config.insert("add_prefix_space".into(), json!(false));
    config.insert("bos_token".into(), Value::Null);
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    config.insert("eos_token".into(), json!(END_OF_TEXT));
    if let Some(length) = max_length {
        config.insert("model_max_length".into(), json!(length));
    }
    config.insert("pad_token".into(), json!(PADDING));
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("unk_token".into(), Value::Null);
    TokenizerFacts {
        eos_token: Some(END_OF_TEXT.into()),
        pad_token: Some(PADDING.into()),
        model_max_length: max_length,
        config,
        ..TokenizerFacts::default()
    }
}

/// `tokenizer.json` with the given vocabulary.
fn description(specials: &[String], tokens: &[String], merges: &[Value]) -> Value {
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let vocabulary: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    })
}
