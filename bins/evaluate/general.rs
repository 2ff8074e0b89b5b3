//! Loss on general text that training did not aim at: what tuning made the model forget.
//!
//! As `loglikelihood_rolling` of lm-evaluation-harness: a document is cut into windows as long as the model's context,
//! each token is predicted once with at least one token before it, and a document's first token follows the text's
//! opening token.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use artifact::IGNORED;
use cli::Hint;
use dataset::inputs::discover;
use dataset::records::for_each;
use encoding::{Specials, Tokenizer};
use metrics::LossTotals;

use crate::loss::{ExampleTotals, Tokens};

/// Reads documents and lays them out in windows of at most `context` tokens.
pub(crate) fn read(paths: &[PathBuf], tokenizer: &Tokenizer, context: usize) -> Result<Tokens> {
    let names: Vec<String> = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut documents = Vec::new();
    let read = for_each(&discover(&names)?.inputs, &mut |(file, row), record| {
        let found = || record.names().collect::<Vec<_>>().join(", ");
        let text = record.get("text").and_then(serde_json::Value::as_str);
        let text = text.ok_or_else(|| format!("expected a field text, found {}", found()))?;
        documents.push((file.to_owned(), row, text.to_owned()));
        Ok(())
    });
    read.hint("--general takes plain text, or records with a field text")?;
    let mut tokens = Tokens::default();
    for (file, row, text) in documents {
        add(&mut tokens, &file, row, &text, tokenizer, context)?;
    }
    if tokens.rows() == 0 {
        return Err(anyhow!("--general names no text: there is nothing to measure"))
            .hint("name a file with text in it");
    }
    Ok(tokens)
}

fn add(tokens: &mut Tokens, file: &str, row: u64, text: &str, tokenizer: &Tokenizer, context: usize) -> Result<()> {
    let ids = tokenizer.encode(text, Specials::None)?.ids;
    let Some(opening) = tokenizer.bos().or(tokenizer.eos()) else {
        return Err(anyhow!("the tokenizer names neither a first nor a last token to begin a text with"))
            .hint("set bos_token or eos_token in tokenizer_config.json");
    };
    let totals = LossTotals {
        text_bytes: text.len() as u64,
        // As Python's re.split(r"\s+", text) counts: an end in white space is a word of no letters.
        text_words: spaces(text) + 1,
        ..LossTotals::default()
    };
    let mut example =
        Some(ExampleTotals { id: format!("{file}:{row}"), source_file: file.to_owned(), source_row: row, totals });
    for (input_ids, predicted) in windows(&ids, opening, context) {
        let mut targets = vec![IGNORED; input_ids.len()];
        let from = input_ids.len() - predicted.len();
        targets[from..].iter_mut().zip(predicted).for_each(|(target, &id)| *target = id as i32);
        tokens.add(input_ids, targets, example.take());
    }
    Ok(())
}

/// Runs of white space.
fn spaces(text: &str) -> u64 {
    let mut before = false;
    text.chars().filter(|character| !std::mem::replace(&mut before, character.is_whitespace()) && before).count() as u64
}

/// What the model reads in each window, and what it must predict at the window's end.
fn windows(ids: &[u32], opening: u32, context: usize) -> Vec<(Vec<u32>, &[u32])> {
    let mut found = Vec::new();
    let first = ids.len().min(context);
    if first == 0 {
        return found;
    }
    let mut input = vec![opening];
    input.extend_from_slice(&ids[..first - 1]);
    found.push((input, &ids[..first]));
    let mut predicted = first;
    while predicted < ids.len() {
        let count = (ids.len() - predicted).min(context);
        let end = predicted + count;
        found.push((ids[end - context - 1..end - 1].to_vec(), &ids[predicted..end]));
        predicted = end;
    }
    found
}
