//! Each token's characters, against an independent count over the bytes that the vocabulary says it spells.

use crate::reference;
use encoding::{Specials, Tokenizer};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Pieces that vocabularies cut inside characters: emoji with joiners, CJK, Hangul, Arabic, combining free accents.
const PIECES: [&str; 24] = [
    "hello",
    " world",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "é",
    " über",
    "ß",
    "日本語",
    "漢字",
    " 中文",
    "한국어",
    "😀",
    "👩‍👩‍👧",
    "🇩🇪",
    "مرحبا",
    "Ω≈ç",
    "1234567",
    "'s",
    "can't",
    "…",
    "\u{a0}",
    "𝔘nicode",
];

fn bytes_of_byte_level() -> &'static HashMap<char, u8> {
    static MAP: OnceLock<HashMap<char, u8>> = OnceLock::new();
    MAP.get_or_init(|| {
        let mut next = 256u32;
        (0u8..=255)
            .map(|byte| {
                let shown = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
                let code = if shown { u32::from(byte) } else { next };
                next += u32::from(!shown);
                (char::from_u32(code).expect("a character"), byte)
            })
            .collect()
    })
}

/// Number of bytes of text that a vocabulary entry spells.
fn spelled(token: &str, byte_level: bool) -> usize {
    if byte_level {
        return token.chars().map(|character| usize::from(bytes_of_byte_level().contains_key(&character))).sum();
    }
    if token.len() == 6 && token.starts_with("<0x") && token.ends_with('>') {
        return 1;
    }
    token.chars().map(|character| if character == '▁' { 1 } else { character.len_utf8() }).sum()
}

fn check(tokenizer: &Tokenizer, text: &str, byte_level: bool) {
    let encoded = tokenizer.encode(text, Specials::None).expect("encodes");
    let mut character_of_byte: Vec<u32> = Vec::new();
    for (index, character) in text.chars().enumerate() {
        character_of_byte.extend(std::iter::repeat_n(index as u32, character.len_utf8()));
    }
    let mut at = 0;
    for (index, (id, found)) in encoded.ids.iter().zip(&encoded.characters).enumerate() {
        let token = tokenizer.token(*id).expect("in the vocabulary");
        let mut length = spelled(&token, byte_level);
        if index == 0 && !byte_level {
            // SentencePiece puts a space before the text that is not there.
            length -= 1;
        }
        let expected = if length == 0 {
            (found.0, found.0)
        } else {
            (character_of_byte[at], character_of_byte[at + length - 1] + 1)
        };
        assert!(*found == expected || length == 0, "{token:?} in {text:?}: {found:?}, expected {expected:?}");
        at += length;
    }
    assert_eq!(at, text.len(), "{text:?} is covered");
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES.to_vec()), 1..20).prop_map(|pieces| pieces.concat())
}

macro_rules! offsets_of {
    ($name:ident, $folder:literal, $byte_level:literal) => {
        #[test]
        fn $name() {
            let Some(path) = reference($folder) else { return };
            let tokenizer = Tokenizer::open(&path).expect("opens");
            proptest!(ProptestConfig::with_cases(300), |(text in texts())| check(&tokenizer, &text, $byte_level));
        }
    };
}

offsets_of!(gpt2, "tokenizers/gpt2", true);
offsets_of!(qwen2, "tokenizers/qwen2", true);
offsets_of!(llama2, "tokenizers/llama-2", false);
offsets_of!(stories, "models/stories260K", false);
offsets_of!(tinystories, "models/tinystories-chat-3M", true);
