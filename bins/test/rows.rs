//! Test rows: what is asked, as tokens, and what should be answered.

use std::path::Path;

use anyhow::{Result, anyhow};
use artifact::{Example, ExampleReader, Kind};
use cli::Hint;
use encoding::{ExampleEncoder, Refusal};

/// Rows with a question and an answer to compare with.
#[derive(Debug, Default)]
pub(crate) struct TestRows {
    /// The examples' ids.
    pub(crate) id: Vec<String>,
    /// `file:row` of each.
    pub(crate) source: Vec<String>,
    /// What the model is given, as text.
    pub(crate) prompt: Vec<String>,
    /// The same as tokens.
    pub(crate) tokens: Vec<Vec<u32>>,
    /// What it should answer.
    pub(crate) reference: Vec<Vec<String>>,
}

impl TestRows {
    /// Reads a table of examples.
    pub(crate) fn read(path: &Path, encoder: &ExampleEncoder) -> Result<Self> {
        let mut reader = ExampleReader::open(path)?;
        let mut rows = Self::default();
        while let Some(examples) = reader.next_batch()? {
            for example in examples {
                let place = format!("{}:{}", example.source_file, example.source_row);
                rows.add(&example, encoder).map_err(|error| {
                    error.context(format!("{} row {} ({place})", path.display(), rows.id.len() + 1))
                })?;
                rows.source.push(place);
            }
        }
        if rows.id.is_empty() {
            return Err(anyhow!("{} has no rows: there is nothing to test", path.display())).hint(
                "give the test split a share when ingesting: retune-ingest --split train=0.8,validation=0.1,test=0.1",
            );
        }
        Ok(rows)
    }

    fn add(&mut self, example: &Example, encoder: &ExampleEncoder) -> Result<()> {
        let reference = reference(example)?;
        let mut tokens = encoder
            .encode_prompt(example)
            .hint_from(|error| error.downcast_ref::<Refusal>()?.hint().map(str::to_owned))?;
        if tokens.is_empty() {
            // A model without a start token cannot begin from nothing; the end token separates texts in its training.
            tokens.extend(encoder.tokenizer().bos().or(encoder.tokenizer().eos()));
        }
        self.prompt.push(prompt_text(example, &tokens, encoder)?);
        self.id.push(example.id.clone());
        self.tokens.push(tokens);
        self.reference.push(vec![reference]);
        Ok(())
    }
}

/// The last thing that the assistant says.
fn reference(example: &Example) -> Result<String> {
    if matches!(example.kind, Kind::Text | Kind::Preference) {
        return Err(anyhow!("expected a chat or a prompt with its completion, found kind {}", example.kind.as_str()))
            .hint(
                "retune-test compares an answer with a reference; for plain text measure the loss with retune-evaluate",
            );
    }
    let last = example.messages.iter().rfind(|message| message.role == "assistant");
    let Some(last) = last else {
        return Err(anyhow!("no message of the assistant to compare with")).hint("test rows need a reference answer");
    };
    Ok(last.content.clone().or_else(|| last.tool_calls.clone()).unwrap_or_default())
}

/// The prompt for people: of a plain prompt its text, of a chat what the template makes of it.
fn prompt_text(example: &Example, tokens: &[u32], encoder: &ExampleEncoder) -> Result<String> {
    match (example.kind, example.messages.first()) {
        (Kind::Completion, Some(first)) if example.messages.len() == 2 => Ok(first.content.clone().unwrap_or_default()),
        _ => Ok(encoder.tokenizer().decode(tokens, false)?),
    }
}
