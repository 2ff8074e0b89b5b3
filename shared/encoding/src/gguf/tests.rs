//! A tokenizer that went through a GGUF file makes the same tokens.

use super::*;
use crate::{Specials, Tokenizer};
use artifact::OutputFolder;
use artifact::gguf::{Gguf, write_gguf};
use std::path::Path;

const TEXTS: [&str; 7] = [
    "Once upon a time, there was a little girl named Lily.",
    "  two spaces, a\ttab\nand a line",
    "naïve café – 你好, мир! 👋",
    "don't I'll WE'VE 12345 3.14",
    "<|endoftext|>",
    "",
    "x",
];

fn through_gguf(tokenizer: &Tokenizer, folder: &Path) -> Tokenizer {
    let metadata = to_gguf(tokenizer, tokenizer.vocabulary_size() + 3).unwrap();
    let output = OutputFolder::open(folder).unwrap();
    let written = write_gguf(output.stage("model.gguf").unwrap(), &metadata, &[]).unwrap();
    let gguf = Gguf::open(written.content()).unwrap();
    let (json, facts) = from_gguf(&gguf).unwrap();
    Tokenizer::from_json(json, facts).unwrap()
}

#[test]
fn tokens_stay_the_same() {
    let Some(root) = std::env::var_os("RETUNE_REFERENCE") else {
        eprintln!("skipped: RETUNE_REFERENCE names no reference material");
        return;
    };
    for name in [
        "models/stories260K",
        "models/tinystories-chat-3M",
        "tokenizers/gpt2",
        "tokenizers/llama-2",
        "tokenizers/qwen2",
    ] {
        let tokenizer = Tokenizer::open(&Path::new(&root).join(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let again = through_gguf(&tokenizer, folder.path());
        for text in TEXTS {
            for specials in [Specials::None, Specials::Added] {
                let (expected, found) =
                    (tokenizer.encode(text, specials).unwrap(), again.encode(text, specials).unwrap());
                assert_eq!(found.ids, expected.ids, "{name}: {text:?}");
                assert_eq!(again.decode(&found.ids, false).unwrap(), tokenizer.decode(&expected.ids, false).unwrap());
            }
        }
        assert_eq!(again.facts().bos_token, tokenizer.facts().bos_token);
        assert_eq!(again.facts().eos_token, tokenizer.facts().eos_token);
        assert_eq!(again.facts().chat_templates.get("default"), tokenizer.facts().chat_templates.get("default"));
    }
}
