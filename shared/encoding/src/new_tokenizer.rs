//! A tokenizer of one's own: byte-level BPE or Unigram of a given size, trained on the data, in the files that other
//! tools open.

use crate::{EncodingError, Result, Tokenizer, TokenizerFacts, bpe, unigram};
use rayon::prelude::*;
use regex::Regex;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::LazyLock;

/// The token that ends a text in a tokenizer of ours.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// The padding token in a tokenizer of ours: never the end token, which other trainers would then mask.
pub const PADDING: &str = "<|pad|>";
/// What a Unigram vocabulary names what it cannot spell; with all bytes in it, it never comes up.
const UNKNOWN: &str = "<unk>";

/// The score of entries that no text is to be cut into: it spells their names with other pieces.
const UNLIKELY: f64 = -1e6;

/// What `--new-tokenizer` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTokenizer {
    /// Byte-level BPE with this many entries in all.
    Bpe(usize),
    /// Unigram with this many entries in all; characters it has no piece for are spelled in bytes.
    Unigram(usize),
}

impl NewTokenizer {
    /// Entries in all.
    pub fn size(self) -> usize {
        match self {
            Self::Bpe(size) | Self::Unigram(size) => size,
        }
    }

    /// Entries that are there before anything is learnt.
    fn least(self, specials: usize) -> usize {
        match self {
            Self::Bpe(_) => specials + 256,
            Self::Unigram(_) => specials + 1 + 256,
        }
    }
}

impl FromStr for NewTokenizer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected bpe:SIZE or unigram:SIZE such as bpe:8000, found `{text}`");
        let (kind, size) = text.split_once(':').ok_or_else(expected)?;
        let size: usize = size.parse().map_err(|_| expected())?;
        if !(258..=1_000_000).contains(&size) {
            return Err(format!("{size} entries: expected 258 (256 bytes and the special tokens) to 1000000"));
        }
        match kind {
            "bpe" => Ok(Self::Bpe(size)),
            "unigram" => Ok(Self::Unigram(size)),
            _ => Err(expected()),
        }
    }
}

impl std::fmt::Display for NewTokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bpe(size) => write!(formatter, "bpe:{size}"),
            Self::Unigram(size) => write!(formatter, "unigram:{size}"),
        }
    }
}

/// The special tokens of a new tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Ends a text.
    pub eos: String,
    /// Fills up, for other tools.
    pub pad: String,
    /// Begins every text, where there is one.
    pub bos: Option<String>,
    /// Others.
    pub others: Vec<String>,
}

impl Default for SpecialTokens {
    fn default() -> Self {
        Self { eos: END_OF_TEXT.into(), pad: PADDING.into(), bos: None, others: Vec::new() }
    }
}

impl SpecialTokens {
    /// Reads `TEXT` or `ROLE=TEXT` with the roles eos, pad and bos; a text with another word before `=` is refused.
    ///
    /// # Errors
    /// What is wrong, for the command line.
    pub fn parse(given: &[String]) -> Result<Self, String> {
        const EXPECTED: &str = "TOKEN, or eos=TOKEN, pad=TOKEN, bos=TOKEN";
        let mut tokens = Self::default();
        let mut roles = BTreeSet::new();
        for text in given {
            let (role, token) = match text.split_once('=') {
                Some((role @ ("eos" | "pad" | "bos"), token)) => (role, token),
                // A word before the sign was meant as a role; of `<a=b>` and `[k=v]` nobody would think so.
                Some((role, _)) if role.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) => {
                    return Err(format!("`{text}`: `{role}` is no role of a special token; expected {EXPECTED}"));
                }
                _ => ("", text.as_str()),
            };
            if token.trim().is_empty() {
                return Err(format!("expected {EXPECTED}, found `{text}`"));
            }
            if !role.is_empty() && !roles.insert(role) {
                return Err(format!("{role} is named twice, the second time as {token}: expected one token for it"));
            }
            match role {
                "eos" => tokens.eos = token.into(),
                "pad" => tokens.pad = token.into(),
                "bos" => tokens.bos = Some(token.into()),
                _ => tokens.others.push(token.into()),
            }
        }
        if tokens.eos == tokens.pad {
            return Err(format!(
                "eos and pad are both {}: trainers that leave padding out of the loss would leave out the end as well",
                tokens.eos
            ));
        }
        Ok(tokens)
    }

    /// All of them and the markers (`<|…|>`) of a template, each once, in the order of their ids.
    fn with_markers(&self, template_source: &str) -> Vec<String> {
        static MARKER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"<\|[A-Za-z0-9_]+\|>").expect("the pattern is valid"));
        let markers = MARKER.find_iter(template_source).map(|marker| marker.as_str().to_owned());
        let own = [self.eos.clone(), self.pad.clone()].into_iter().chain(self.bos.clone());
        let mut all: Vec<String> = Vec::new();
        for token in own.chain(self.others.iter().cloned()).chain(markers) {
            if !all.contains(&token) {
                all.push(token);
            }
        }
        all
    }
}

/// Counts words, then learns merges. Texts may come in any number of batches; the result does not depend on them.
#[derive(Debug)]
pub struct TokenizerTrainer {
    kind: NewTokenizer,
    splitter: tokenizers::Tokenizer,
    specials: Vec<String>,
    bos: Option<String>,
    words: BTreeMap<String, u64>,
}

impl TokenizerTrainer {
    /// A trainer whose vocabulary begins with the special tokens and the markers (`<|…|>`) of a template.
    ///
    /// # Errors
    /// [`EncodingError::Tokenizer`] where the library refuses our description: a defect.
    pub fn new(kind: NewTokenizer, tokens: &SpecialTokens, template_source: &str) -> Result<Self> {
        let specials = tokens.with_markers(template_source);
        let bos = tokens.bos.clone();
        let empty = match kind {
            NewTokenizer::Bpe(_) => bpe_model(&specials, &[]),
            NewTokenizer::Unigram(_) => unigram_model(&specials, &[]),
        };
        let splitter = description(kind, &specials, bos.as_deref(), &empty).to_string().parse();
        Ok(Self { kind, splitter: splitter.map_err(EncodingError::library)?, specials, bos, words: BTreeMap::new() })
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

    /// Learns the vocabulary, of fewer entries if the texts have too little in them.
    ///
    /// # Errors
    /// [`EncodingError::Options`] if nothing was counted, or the size does not hold the specials and the bytes.
    pub fn train(self, facts: TokenizerFacts) -> Result<Tokenizer> {
        let (size, least) = (self.kind.size(), self.kind.least(self.specials.len()));
        if size < least {
            return Err(EncodingError::Options {
                message: format!("a vocabulary of {size} does not hold {least} bytes and special tokens"),
                hint: format!("ask for more than {least} entries"),
            });
        }
        if self.words.is_empty() {
            return Err(EncodingError::Options {
                message: "there is no text to train a tokenizer on".into(),
                hint: "the training split is empty; check what was ingested".into(),
            });
        }
        let model = match self.kind {
            NewTokenizer::Bpe(_) => {
                let learnt = bpe::train(&self.words, &self.specials, size);
                let merges: Vec<Value> = learnt.merges.iter().map(|(left, right)| json!([left, right])).collect();
                bpe_model(&learnt.tokens, &merges)
            }
            NewTokenizer::Unigram(_) => unigram_model(&self.specials, &unigram::train(&self.words, size - least)),
        };
        let text = serde_json::to_string_pretty(&description(self.kind, &self.specials, self.bos.as_deref(), &model))
            .expect("a JSON value can be written");
        Tokenizer::from_json(text, facts)
    }
}

/// What `tokenizer_config.json` says of a tokenizer of ours.
pub fn new_tokenizer_facts(kind: NewTokenizer, tokens: &SpecialTokens, max_length: Option<usize>) -> TokenizerFacts {
    let unknown = matches!(kind, NewTokenizer::Unigram(_)).then(|| UNKNOWN.to_owned());
    let mut config = Map::new();
    config.insert("add_prefix_space".into(), json!(false));
    config.insert("bos_token".into(), json!(tokens.bos));
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    config.insert("eos_token".into(), json!(tokens.eos));
    if let Some(length) = max_length {
        config.insert("model_max_length".into(), json!(length));
    }
    config.insert("pad_token".into(), json!(tokens.pad));
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("unk_token".into(), json!(unknown));
    TokenizerFacts {
        bos_token: tokens.bos.clone(),
        eos_token: Some(tokens.eos.clone()),
        pad_token: Some(tokens.pad.clone()),
        unk_token: unknown,
        add_bos_token: tokens.bos.as_ref().map(|_| true),
        model_max_length: max_length,
        config,
        ..TokenizerFacts::default()
    }
}

fn bpe_model(tokens: &[String], merges: &[Value]) -> Value {
    let vocabulary: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocabulary, "merges": merges,
    })
}

/// Special tokens, the unknown one, the bytes, then what was learnt.
fn unigram_model(specials: &[String], pieces: &[(String, f64)]) -> Value {
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let fixed = specials.iter().cloned().chain([UNKNOWN.to_owned()]).map(|token| json!([token, UNLIKELY]));
    let bytes = bytes.map(|byte| json!([byte, UNLIKELY]));
    let taken = |piece: &str| specials.iter().any(|special| special == piece) || piece == UNKNOWN;
    let learnt = pieces.iter().filter(|(piece, _)| !taken(piece)).map(|(piece, score)| json!([piece, score]));
    json!({
        "type": "Unigram", "unk_id": specials.len(), "byte_fallback": true,
        "vocab": fixed.chain(bytes).chain(learnt).collect::<Vec<_>>(),
    })
}

/// `tokenizer.json` with the given model.
fn description(kind: NewTokenizer, specials: &[String], bos: Option<&str>, model: &Value) -> Value {
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true});
    let (pre_tokenizer, decoder) = match kind {
        NewTokenizer::Bpe(_) => (byte_level.clone(), byte_level),
        NewTokenizer::Unigram(_) => {
            let decoders = json!([{"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]);
            (spaces, json!({"type": "Sequence", "decoders": decoders}))
        }
    };
    let post_processor = bos.map(|bos| {
        let id = specials.iter().position(|special| special == bos).unwrap_or_default();
        let start = json!({"SpecialToken": {"id": bos, "type_id": 0}});
        json!({
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
        })
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    })
}
