//! Tests against the reference material: known answers of other tools, real tokenizers, random chats.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod fast;
mod known_answers;
mod masks;
mod offsets;

use artifact::{Example, Kind, Message};
use encoding::{EncodeOptions, ExampleEncoder, TemplateOptions, Tokenizer};
use std::path::PathBuf;

/// A file or folder of the reference material, or `None` (said on stderr) where it is not installed.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn reference(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RETUNE_REFERENCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference")),
        PathBuf::from,
    );
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is required under CI=true", path.display());
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn encoder(folder: &str, template: Option<&str>, options: EncodeOptions) -> Option<ExampleEncoder> {
    let tokenizer = Tokenizer::open(&reference(folder)?).expect("a reference tokenizer opens");
    let settings = TemplateOptions::default();
    let template = match template {
        Some(source) => {
            let origin = encoding::TemplateOrigin::File("test.jinja".into());
            encoding::ChatTemplate::compile(source, origin, tokenizer.facts(), &settings)
        }
        None => encoding::ChatTemplate::of_model(tokenizer.facts(), &settings),
    };
    Some(ExampleEncoder::new(tokenizer, template.expect("a reference template compiles"), options))
}

fn chat(turns: &[(&str, &str)]) -> Example {
    Example {
        id: "test".into(),
        kind: Kind::Chat,
        messages: turns.iter().map(|(role, content)| Message::new(*role, *content)).collect(),
        tools: None,
        text: None,
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: "test.jsonl".into(),
        source_row: 1,
        extra: Vec::new(),
    }
}
