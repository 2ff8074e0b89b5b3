//! Tokenizers in GGUF files, in and out. llama.cpp knows two kinds of ours: byte-level BPE with merges (`gpt2`), whose way of
//! cutting text into words it calls by a name, and SentencePiece's BPE with scores (`llama`).

mod read;
mod words;
mod write;

use crate::TOKENIZER_FILE;
use std::path::{Path, PathBuf};

pub(crate) use read::from_gguf;
pub use write::to_gguf;

/// What llama.cpp calls kinds of tokens.
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// The special tokens: the name in `tokenizer_config.json`, and in GGUF metadata.
const SPECIALS: [(&str, &str); 4] =
    [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];

/// Whether a piece stands for one byte, as `<0x0A>`.
fn is_byte(piece: &str) -> bool {
    let digits = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Whether a path names a GGUF file.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "gguf") && path.is_file()
}

/// The GGUF file whose tokenizer stands for a path: the path itself or the only such file in it, without a
/// `tokenizer.json` beside it.
pub(crate) fn file_with_tokenizer(path: &Path) -> Option<PathBuf> {
    let folder = if is_gguf(path) { path.parent()? } else { path };
    if folder.join(TOKENIZER_FILE).is_file() {
        return None;
    }
    if is_gguf(path) {
        return Some(path.to_path_buf());
    }
    let mut files = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| is_gguf(p));
    let first = files.next()?;
    files.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests;
