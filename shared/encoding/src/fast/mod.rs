//! The fast path of byte-level BPE: words cut by hand-written rules, merges remembered, offsets for nothing. Ids and
//! offsets equal the tokenizers library's, which remains the oracle of the tests and the way for everything else.

mod classes;
mod merges;
mod pieces;

use crate::bpe::byte_characters;
use aho_corasick::{AhoCorasick, MatchKind};
pub(crate) use merges::QuickMap;
use merges::{Memory, Merges, pair};
use pieces::Pattern;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens as ids, and for each the bytes of the text that it spells.
pub(crate) type Tokens = (Vec<u32>, Vec<(u32, u32)>);

/// A byte-level BPE tokenizer of a kind that is known well enough to do it by hand.
#[derive(Debug)]
pub(crate) struct FastBpe {
    /// Tells the memories of several tokenizers in one process apart.
    number: u64,
    merges: Merges,
    pattern: Pattern,
    /// Whether each digit is a word of its own, before the pattern is looked at.
    single_digits: bool,
    /// Whether texts that are not in normal form C are to be brought there first.
    normal_form: bool,
    added: Vec<Added>,
}

/// Added tokens that are looked for together.
#[derive(Debug)]
struct Added {
    search: AhoCorasick,
    /// For each pattern its id, or `None` where it takes white space along or wants to stand alone.
    ids: Vec<Option<u32>>,
}

thread_local! {
    static MEMORIES: RefCell<HashMap<u64, Memory>> = RefCell::default();
}

impl FastBpe {
    /// The fast path for the tokenizer that `tokenizer.json` describes; `None` where it has anything unknown.
    pub(crate) fn new(description: &Value) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let model = &description["model"];
        let empty = |name: &str| matches!(model[name].as_str(), None | Some(""));
        if model["type"] != "BPE" || !empty("continuing_subword_prefix") || !empty("end_of_word_suffix") {
            return None;
        }
        let normal_form = match &description["normalizer"] {
            Value::Null => false,
            one if one["type"] == "NFC" => true,
            list if list["type"] == "Sequence" => match list["normalizers"].as_array()?.as_slice() {
                [] => false,
                [one] if one["type"] == "NFC" => true,
                _ => return None,
            },
            _ => return None,
        };
        let (pattern, single_digits) = splitting(&description["pre_tokenizer"])?;
        Some(Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            merges: read_merges(model)?,
            pattern,
            single_digits,
            normal_form,
            added: added(&description["added_tokens"])?,
        })
    }

    /// The tokens of a text, or `None` where this text needs the library: it would be normalized, or has an added token
    /// with rules of its own.
    pub(crate) fn encode(&self, text: &str) -> Option<Tokens> {
        if self.normal_form && !is_normal(text) {
            return None;
        }
        let expected = text.len() / 3 + 4;
        let mut tokens = (Vec::with_capacity(expected), Vec::with_capacity(expected));
        MEMORIES.with_borrow_mut(|memories| {
            let memory = memories.entry(self.number).or_default();
            self.between(0, text, 0, memory, &mut tokens)
        })?;
        Some(tokens)
    }

    /// Encodes what stands between the added tokens of one kind after the other.
    fn between(&self, kind: usize, text: &str, offset: usize, memory: &mut Memory, tokens: &mut Tokens) -> Option<()> {
        let Some(added) = self.added.get(kind) else {
            self.plain(text, offset, memory, tokens);
            return Some(());
        };
        let mut at = 0;
        for found in added.search.find_iter(text) {
            let id = added.ids[found.pattern().as_usize()]?;
            self.between(kind + 1, &text[at..found.start()], offset + at, memory, tokens)?;
            tokens.0.push(id);
            tokens.1.push(((offset + found.start()) as u32, (offset + found.end()) as u32));
            at = found.end();
        }
        self.between(kind + 1, &text[at..], offset + at, memory, tokens)
    }

    fn plain(&self, text: &str, offset: usize, memory: &mut Memory, tokens: &mut Tokens) {
        let mut start = 0;
        if self.single_digits {
            for (at, digit) in text.char_indices().filter(|(_, character)| character.is_numeric()) {
                self.words(&text[start..at], offset + start, memory, tokens);
                start = at + digit.len_utf8();
                self.words(&text[at..start], offset + at, memory, tokens);
            }
        }
        self.words(&text[start..], offset + start, memory, tokens);
    }

    fn words(&self, text: &str, offset: usize, memory: &mut Memory, (ids, bytes): &mut Tokens) {
        self.pattern.split(text, |start, end| {
            let mut at = (offset + start) as u32;
            for (id, length) in memory.tokens(&self.merges, &text.as_bytes()[start..end]) {
                ids.push(*id);
                bytes.push((at, at + length));
                at += length;
            }
        });
    }
}

/// How the text is cut: the pattern, and whether digits stand alone.
fn splitting(pre_tokenizer: &Value) -> Option<(Pattern, bool)> {
    let mut rules = match pre_tokenizer["type"].as_str()? {
        "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
        _ => std::slice::from_ref(pre_tokenizer),
    };
    let (last, before) = rules.split_last()?;
    rules = before;
    if last["type"] != "ByteLevel" || last["add_prefix_space"] != false {
        return None;
    }
    let use_regex = last["use_regex"].as_bool().unwrap_or(true);
    let digits = |rule: &Value| rule["type"] == "Digits" && rule["individual_digits"] == true;
    match rules {
        [] if use_regex => Some((Pattern::of_byte_level(), false)),
        [rule] if use_regex && digits(rule) => Some((Pattern::of_byte_level(), true)),
        [rule] if !use_regex => Some((split_pattern(rule)?, false)),
        [first, rule] if !use_regex && digits(first) => Some((split_pattern(rule)?, true)),
        _ => None,
    }
}

fn split_pattern(rule: &Value) -> Option<Pattern> {
    let known = rule["type"] == "Split" && rule["behavior"] == "Isolated" && rule["invert"] == false;
    Pattern::of_regex(rule["pattern"]["Regex"].as_str().filter(|_| known)?)
}

fn read_merges(model: &Value) -> Option<Merges> {
    let vocabulary = model["vocab"].as_object()?;
    let id = |token: &str| Some(vocabulary.get(token)?.as_u64()? as u32);
    let characters = byte_characters();
    let mut byte_ids = [0; 256];
    for (byte, character) in characters.iter().enumerate() {
        byte_ids[byte] = id(character.encode_utf8(&mut [0; 4]))?;
    }
    let mut pairs = QuickMap::default();
    for (rank, merge) in model["merges"].as_array()?.iter().enumerate() {
        let (left, right) = match merge {
            Value::String(merge) => merge.split_once(' ')?,
            merge => (merge[0].as_str()?, merge[1].as_str()?),
        };
        let merged = id(&format!("{left}{right}"))?;
        pairs.insert(pair(id(left)?, id(right)?), (rank as u32, merged));
    }
    let words = match model["ignore_merges"].as_bool() {
        Some(true) => {
            let byte_of: HashMap<char, u8> = characters.iter().copied().zip(0..=255).collect();
            let spelled = |token: &str| -> Option<Box<[u8]>> {
                token.chars().map(|character| byte_of.get(&character).copied()).collect()
            };
            Some(vocabulary.keys().filter_map(|token| Some((spelled(token)?, id(token)?))).collect())
        }
        _ => None,
    };
    Some(Merges { byte_ids, pairs, words })
}

/// The added tokens that are found in the text as it is, then those that are found after normalization.
fn added(tokens: &Value) -> Option<Vec<Added>> {
    let mut kinds = Vec::new();
    for normalized in [false, true] {
        let mut contents = Vec::new();
        let mut ids = Vec::new();
        for token in tokens.as_array().into_iter().flatten() {
            if token["normalized"].as_bool()? != normalized {
                continue;
            }
            let content = token["content"].as_str()?;
            if content.is_empty() {
                continue;
            }
            let plain = ["single_word", "lstrip", "rstrip"].iter().all(|rule| token[rule] != true);
            contents.push(content.to_owned());
            ids.push(token["id"].as_u64().map(|id| id as u32).filter(|_| plain));
        }
        if !contents.is_empty() {
            let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&contents).ok()?;
            kinds.push(Added { search, ids });
        }
    }
    Some(kinds)
}

/// Whether a text is in normal form C.
fn is_normal(text: &str) -> bool {
    // Below U+0300 every character is, and none combines.
    text.is_ascii() || text.chars().all(|character| character < '\u{300}') || unicode_normalization::is_nfc(text)
}
