//! A tokenizer of any kind that `tokenizer.json` can describe, with the facts that stand beside it.

use crate::bpe::byte_characters;
use crate::fast::FastBpe;
use crate::offsets::CharacterIndex;
use crate::{EncodingError, Result, TokenizerFacts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The file that holds vocabulary, merges and rules.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Whether the tokens that open and close a text are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Only what the text itself spells.
    None,
    /// What the tokenizer adds to a plain text, such as `<s>`.
    Added,
}

/// A text as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each token the characters of the text that it touches: start, and end (exclusive). Added tokens are empty.
    pub characters: Vec<(u32, u32)>,
    /// Number of characters in the text.
    pub text_characters: u32,
}

/// A tokenizer, ready to encode from several threads.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    facts: TokenizerFacts,
    json: String,
    /// Ids added before a plain text, and after it.
    before: Vec<u32>,
    after: Vec<u32>,
    special: BTreeMap<u32, String>,
    unknown: Option<u32>,
    vocabulary_size: usize,
    /// Whether the vocabulary writes bytes as printable characters.
    byte_level: bool,
    /// Where it is known well enough to be done by hand.
    fast: Option<FastBpe>,
}

impl Tokenizer {
    /// Opens a folder with `tokenizer.json` and what stands beside it, or the file itself. Where there is a GGUF file and no
    /// `tokenizer.json` beside it, the tokenizer in that file.
    ///
    /// # Errors
    /// [`EncodingError::Missing`], [`EncodingError::Read`] or [`EncodingError::Malformed`].
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(file) = crate::gguf::file_with_tokenizer(path) {
            let (json, facts) = crate::gguf::from_gguf(&artifact::gguf::Gguf::open(&file)?)?;
            return Self::from_json(json, facts);
        }
        let path = if crate::gguf::is_gguf(path) { path.parent().unwrap_or(path) } else { path };
        let (folder, file) = if path.is_dir() {
            (path, path.join(TOKENIZER_FILE))
        } else {
            (path.parent().unwrap_or(path), path.to_path_buf())
        };
        let Some(json) = crate::facts::read_text(&file)? else {
            return Err(EncodingError::Missing {
                path: folder.into(),
                file: TOKENIZER_FILE,
                hint: "name a folder in Hugging Face layout; a model with tokenizer.model or vocab.txt only must be \
                       saved once by a fast tokenizer of transformers"
                    .into(),
            });
        };
        Self::from_json(json, TokenizerFacts::read(folder)?).map_err(|error| match error {
            EncodingError::Tokenizer { message } => {
                EncodingError::Malformed { path: file, expected: "a tokenizer".into(), found: message }
            }
            other => other,
        })
    }

    /// A tokenizer from the text of its `tokenizer.json`.
    ///
    /// # Errors
    /// [`EncodingError::Tokenizer`] where the text does not describe one.
    pub fn from_json(json: String, facts: TokenizerFacts) -> Result<Self> {
        let mut description: Value = serde_json::from_str(&json).map_err(EncodingError::library)?;
        keep_whole_offsets(&mut description);
        if let Some(dropout) = description.pointer_mut("/model/dropout") {
            // Random merges would make the tokens depend on chance.
            *dropout = Value::Null;
        }
        let fast = FastBpe::new(&description);
        let unknown_name = unknown_token(&description);
        let byte_level = description.get("decoder").is_some_and(|decoder| decoder.to_string().contains("ByteLevel"));
        let mut inner: tokenizers::Tokenizer = description.to_string().parse().map_err(EncodingError::library)?;
        // Lengths are our business: nothing is cut or padded behind the user's back.
        inner.with_truncation(None).map_err(EncodingError::library)?;
        inner.with_padding(None);
        let special = special_tokens(&inner, &facts);
        let vocabulary_size = inner.get_vocab(true).into_values().max().map_or(0, |highest| highest as usize + 1);
        let unknown = unknown_name.and_then(|name| inner.token_to_id(&name));
        let mut tokenizer = Self {
            inner,
            facts,
            json,
            before: Vec::new(),
            after: Vec::new(),
            special,
            unknown,
            vocabulary_size,
            byte_level,
            fast,
        };
        tokenizer.find_framing()?;
        Ok(tokenizer)
    }

    /// Learns what the post-processor adds, and lets `add_bos_token` and `add_eos_token` have the last word.
    fn find_framing(&mut self) -> Result<()> {
        let probe = |specials| self.inner.encode("a", specials).map_err(EncodingError::library);
        let (bare, framed) = (probe(false)?, probe(true)?);
        let (bare, framed) = (bare.get_ids(), framed.get_ids());
        let start = framed.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(0);
        self.before = framed[..start].to_vec();
        self.after = framed[(start + bare.len()).min(framed.len())..].to_vec();
        let (bos, eos) = (self.bos(), self.eos());
        match (self.facts.add_bos_token, bos) {
            (Some(true), Some(bos)) if !self.before.contains(&bos) => self.before.insert(0, bos),
            (Some(false), Some(bos)) => self.before.retain(|id| *id != bos),
            _ => {}
        }
        match (self.facts.add_eos_token, eos) {
            (Some(true), Some(eos)) if !self.after.contains(&eos) => self.after.push(eos),
            (Some(false), Some(eos)) => self.after.retain(|id| *id != eos),
            _ => {}
        }
        // Settled: who reads the facts need not look at the post-processor.
        self.facts.add_bos_token = Some(self.opening().is_some());
        Ok(())
    }

    /// What stands beside the vocabulary.
    pub fn facts(&self) -> &TokenizerFacts {
        &self.facts
    }

    /// The text of `tokenizer.json`, as it was read.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The highest id plus one: the least number of rows that an embedding needs.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The first token that both know under different ids: its entry, the id here, the id in `other`.
    pub fn disagreement(&self, other: &Self) -> Option<(String, u32, u32)> {
        let own: BTreeMap<String, u32> = self.inner.get_vocab(true).into_iter().collect();
        own.into_iter().find_map(|(token, id)| {
            let differing = other.id(&token).filter(|found| *found != id)?;
            Some((token, id, differing))
        })
    }

    /// Id of a token by its exact text in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token's entry in the vocabulary (`Ġhello`, `▁hello`, `<0x0A>`).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text that a token stands for, for looking at it alone: bytes that are no whole character as `\\xNN`.
    pub fn spelling(&self, id: u32) -> String {
        let Some(token) = self.token(id) else { return format!("<no token {id}>") };
        if self.is_special(id) {
            return token;
        }
        spell(&token, self.byte_level)
    }

    /// Id of the token that begins a text, where the facts name one.
    pub fn bos(&self) -> Option<u32> {
        self.id(self.facts.bos_token.as_deref()?)
    }

    /// Id of the token that ends a text, where the facts name one.
    pub fn eos(&self) -> Option<u32> {
        self.id(self.facts.eos_token.as_deref()?)
    }

    /// Id of the token that stands for what the vocabulary cannot spell.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The token with which every text of this model begins, if it wants one.
    pub fn opening(&self) -> Option<u32> {
        self.bos().filter(|bos| self.before.contains(bos))
    }

    /// Special tokens: ids and texts.
    pub fn special_tokens(&self) -> &BTreeMap<u32, String> {
        &self.special
    }

    /// Whether this is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains_key(&id)
    }

    /// Encodes a text.
    ///
    /// # Errors
    /// [`EncodingError::Tokenizer`] where the library fails, for instance on a character that the vocabulary cannot
    /// spell and has no unknown token for.
    pub fn encode(&self, text: &str, specials: Specials) -> Result<Encoded> {
        match self.fast.as_ref().and_then(|fast| fast.encode(text)) {
            Some((ids, bytes)) => Ok(self.framed(text, &ids, bytes.into_iter(), specials)),
            None => self.encode_by_library(text, specials),
        }
    }

    /// [`Self::encode`] without the fast path: its oracle.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_by_library(&self, text: &str, specials: Specials) -> Result<Encoded> {
        let encoding = self.inner.encode(text, false).map_err(EncodingError::library)?;
        let bytes = encoding.get_offsets().iter().map(|(start, end)| (*start as u32, *end as u32));
        Ok(self.framed(text, encoding.get_ids(), bytes, specials))
    }

    /// Whether texts are encoded by hand-written rules, where they need nothing else.
    pub fn has_fast_path(&self) -> bool {
        self.fast.is_some()
    }

    fn framed(
        &self,
        text: &str,
        found: &[u32],
        bytes: impl Iterator<Item = (u32, u32)>,
        specials: Specials,
    ) -> Encoded {
        let index = CharacterIndex::new(text);
        let end = index.characters();
        let (before, after): (&[u32], &[u32]) =
            if specials == Specials::Added { (&self.before, &self.after) } else { (&[], &[]) };
        let length = found.len() + before.len() + after.len();
        let (mut ids, mut characters) = (Vec::with_capacity(length), Vec::with_capacity(length));
        ids.extend_from_slice(before);
        characters.resize(before.len(), (0, 0));
        ids.extend_from_slice(found);
        characters.extend(bytes.map(|(start, end)| index.range(start as usize..end as usize)));
        ids.extend_from_slice(after);
        characters.resize(length, (end, end));
        Encoded { ids, characters, text_characters: end }
    }

    /// Ids to text.
    ///
    /// # Errors
    /// [`EncodingError::Tokenizer`] where the decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if !skip_special {
            return self.inner.decode(ids, false).map_err(EncodingError::library);
        }
        let plain: Vec<u32> = ids.iter().copied().filter(|id| !self.is_special(*id)).collect();
        self.inner.decode(&plain, true).map_err(EncodingError::library)
    }
}

/// Byte-level and RoBERTa rules may cut leading spaces out of the offsets; a loss mask needs to know what a token
/// really covers. This changes no id.
fn keep_whole_offsets(description: &mut Value) {
    match description {
        Value::Object(entries) => {
            for (key, value) in entries {
                match key.as_str() {
                    "trim_offsets" => *value = Value::Bool(false),
                    // Large tables without such a key.
                    "vocab" | "merges" => {}
                    _ => keep_whole_offsets(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(keep_whole_offsets),
        _ => {}
    }
}

/// The model's own unknown token: by name, or for Unigram by its place in the vocabulary.
fn unknown_token(description: &Value) -> Option<String> {
    let model = description.get("model")?;
    if let Some(name) = model.get("unk_token").and_then(Value::as_str) {
        return Some(name.to_owned());
    }
    let place = usize::try_from(model.get("unk_id")?.as_u64()?).ok()?;
    model.get("vocab")?.get(place)?.get(0)?.as_str().map(str::to_owned)
}

/// Tokens flagged as special, and those that the facts name.
fn special_tokens(inner: &tokenizers::Tokenizer, facts: &TokenizerFacts) -> BTreeMap<u32, String> {
    let named: BTreeSet<&str> = facts.named_tokens().map(|(_, token)| token).collect();
    let flagged = inner
        .get_added_tokens_decoder()
        .into_iter()
        .filter(|(_, token)| token.special)
        .map(|(id, token)| (id, token.content));
    let named = named.into_iter().filter_map(|token| Some((inner.token_to_id(token)?, token.to_owned())));
    flagged.chain(named).collect()
}

/// What a vocabulary entry spells, byte-level or in the manner of SentencePiece.
fn spell(token: &str, byte_level: bool) -> String {
    let mut bytes: Vec<u8> = Vec::with_capacity(token.len());
    if byte_level {
        let characters = byte_characters();
        for character in token.chars() {
            match characters.iter().position(|byte| *byte == character) {
                Some(byte) => bytes.push(byte as u8),
                None => bytes.extend(character.to_string().bytes()),
            }
        }
    } else if let Some(code) = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'))
        && let Ok(byte) = u8::from_str_radix(code, 16)
    {
        bytes.push(byte);
    } else {
        bytes.extend(token.replace('▁', " ").bytes());
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}
