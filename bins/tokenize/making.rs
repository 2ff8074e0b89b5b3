//! The encoder: from a model's folder, or with a tokenizer that is trained on the data first.

use crate::args::Args;
use crate::inputs::Inputs;
use anyhow::{Result, anyhow};
use artifact::{ExampleReader, Kind, Split};
use cli::{Hint, Progress, Unit};
use encoding::{
    ChatTemplate, DEFAULT_TEMPLATE, EncodeOptions, EncodingError, ExampleEncoder, NewTokenizer, SpecialTokens,
    TemplateOptions, TemplateOrigin, Tokenizer, TokenizerFacts, TokenizerTrainer, new_tokenizer_facts,
};
use std::path::Path;

/// The encoder that the arguments describe.
pub(crate) fn encoder(args: &Args, inputs: &Inputs) -> Result<ExampleEncoder> {
    let tokenizer = match (&inputs.model, args.new_tokenizer) {
        (Some(folder), _) => opened(folder)?,
        (None, Some(asked)) => trained(args, inputs, asked)?,
        (None, None) => return Err(cli::Usage("--model or --new-tokenizer is required".into()).into()),
    };
    let template = template(args, inputs, tokenizer.facts())?;
    let options = EncodeOptions { train_on: args.train_on, render: args.render, rewritten: args.rewritten_turns };
    Ok(ExampleEncoder::new(tokenizer, template, options))
}

fn opened(folder: &Path) -> Result<Tokenizer> {
    with_hint(Tokenizer::open(folder))
}

fn template(args: &Args, inputs: &Inputs, facts: &TokenizerFacts) -> Result<ChatTemplate> {
    let options =
        TemplateOptions { day: args.template_date, variables: args.template_variable.iter().cloned().collect() };
    with_hint(match &inputs.template {
        Some((name, source)) => ChatTemplate::compile(source, TemplateOrigin::File(name.clone()), facts, &options),
        None => ChatTemplate::of_model(facts, &options),
    })
}

/// Two passes over the training split would be one too many for the model's tokenizer; a new one needs the first.
fn trained(args: &Args, inputs: &Inputs, asked: NewTokenizer) -> Result<Tokenizer> {
    let Some((_, path)) = inputs.splits.iter().find(|(split, _)| *split == Split::Train) else {
        return Err(anyhow!("there is no training split to train a tokenizer on"))
            .hint("ingest with a share for train, or pass --model");
    };
    let source = inputs.template.as_ref().map_or(DEFAULT_TEMPLATE, |(_, source)| source.as_str());
    let tokens = SpecialTokens::parse(&args.special_token).map_err(cli::Usage)?;
    let facts = new_tokenizer_facts(asked, &tokens, args.max_length.map(|length| length as usize));
    let mut trainer = with_hint(TokenizerTrainer::new(asked, &tokens, source))?;
    // The bare bytes, to render with: templates may ask for the end token.
    let template = template(args, inputs, &facts)?;
    let mut reader = ExampleReader::open(path)?;
    let bar = Progress::new("counting words", Some(reader.rows()), Unit::Rows);
    while let Some(examples) = reader.next_batch()? {
        let texts: Vec<String> = examples
            .iter()
            .map(|example| match example.kind {
                Kind::Text => example.text.clone().unwrap_or_default(),
                _ => encoding::vocabulary_text(example, &template, args.render),
            })
            .collect();
        with_hint(trainer.add(&texts))?;
        bar.advance(examples.len() as u64);
    }
    bar.finish();
    let tokenizer = with_hint(trainer.train(facts))?;
    if tokenizer.vocabulary_size() < asked.size() {
        cli::note(&format!(
            "the text has no more than {} pieces that occur twice: the vocabulary is smaller than the {} asked for",
            tokenizer.vocabulary_size(),
            asked.size()
        ));
    }
    Ok(tokenizer)
}

/// Carries the library's way out to the command line.
pub(crate) fn with_hint<T>(result: Result<T, EncodingError>) -> Result<T> {
    result.hint_from(|error| error.downcast_ref::<EncodingError>()?.hint().map(str::to_owned))
}
