//! Renders and masks conversations for a comparison with another tool: one JSON object a line in, one out.
//! In: `template`, `messages`, and where wanted `tools`, `specials`, `bos_token`, `eos_token`, `variables`, `prompt`,
//! `train_on`, `date`. Out: `text` or `error` of the rendering, and of the masking `trained` (the trained stretches) or
//! `refusal`. The tokens are bytes, and one token for each of `specials`. `tests/data/peers/templates.py` drives it.

use artifact::{Example, Kind, Message};
use encoding::{
    ChatTemplate, EncodeOptions, ExampleEncoder, NOT_TRAINED, NewTokenizer, SpecialTokens, TemplateOptions,
    TemplateOrigin, Tokenizer, TokenizerFacts, TokenizerTrainer,
};
use serde_json::{Map, Value, json};
use std::io::{BufRead, Write};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(&request)?)?;
    }
    Ok(())
}

fn answer(request: &Value) -> Result<Value, Failure> {
    let word = |name: &str| request[name].as_str().map(str::to_owned);
    let facts =
        TokenizerFacts { bos_token: word("bos_token"), eos_token: word("eos_token"), ..TokenizerFacts::default() };
    let variables = request["variables"].as_object().cloned().unwrap_or_default().into_iter().collect();
    let day = word("date").map(|day| day.parse()).transpose()?;
    let options = TemplateOptions { day, variables };
    let source = word("template").unwrap_or_default();
    let template = match ChatTemplate::compile(&source, TemplateOrigin::Model, &facts, &options) {
        Ok(template) => template,
        Err(error) => return Ok(json!({"error": error.to_string()})),
    };
    let tools = request.get("tools").filter(|tools| !tools.is_null());
    let mut reply = Map::new();
    match template.render_json(&request["messages"], tools, Some(request["prompt"] == true)) {
        Ok(text) => reply.insert("text".into(), text.into()),
        Err(error) => reply.insert("error".into(), error.to_string().into()),
    };
    if let Some(part) = request.get("train_on") {
        let train_on = serde_json::from_value(part.clone())?;
        let encode = EncodeOptions { train_on, ..EncodeOptions::default() };
        let encoder = ExampleEncoder::new(tokenizer(request, facts)?, template, encode);
        match encoder.encode(&example(&request["messages"], tools)) {
            Ok(encoded) => reply.insert("trained".into(), stretches(&encoder, &encoded)?.into()),
            Err(refusal) => reply.insert("refusal".into(), refusal.to_string().into()),
        };
    }
    Ok(Value::Object(reply))
}

/// Bytes and the given special tokens.
fn tokenizer(request: &Value, facts: TokenizerFacts) -> Result<Tokenizer, Failure> {
    let specials: Vec<String> = serde_json::from_value(request["specials"].clone())?;
    let mut trainer = TokenizerTrainer::new(NewTokenizer::Bpe(258), &SpecialTokens::default(), "")?;
    trainer.add(&["a".into()])?;
    let bytes = trainer.train(facts.clone())?;
    let mut description: Value = serde_json::from_str(bytes.json())?;
    for (index, content) in specials.iter().enumerate() {
        let token = json!({"id": 258 + index, "content": content, "single_word": false, "lstrip": false,
                           "rstrip": false, "normalized": false, "special": true});
        description["added_tokens"].as_array_mut().expect("a list").push(token);
    }
    Ok(Tokenizer::from_json(description.to_string(), facts)?)
}

fn example(messages: &Value, tools: Option<&Value>) -> Example {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let message = |value: &Value| Message {
        content: text(&value["content"]),
        tool_calls: text(&value["tool_calls"]),
        tool_call_id: text(&value["tool_call_id"]),
        name: text(&value["name"]),
        weight: value["weight"].as_f64().map(|weight| weight as f32),
        ..Message::new(value["role"].as_str().unwrap_or_default(), "")
    };
    Example {
        id: "example".into(),
        kind: Kind::Chat,
        messages: messages.as_array().into_iter().flatten().map(message).collect(),
        tools: tools.map(Value::to_string),
        text: None,
        chosen: Vec::new(),
        rejected: Vec::new(),
        source_file: "stdin".into(),
        source_row: 1,
        extra: Vec::new(),
    }
}

/// The trained tokens, decoded stretch by stretch.
fn stretches(encoder: &ExampleEncoder, encoded: &encoding::EncodedExample) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut run: Vec<u32> = Vec::new();
    for (id, label) in encoded.input_ids.iter().zip(&encoded.labels).chain([(&0, &NOT_TRAINED)]) {
        if *label != NOT_TRAINED {
            run.push(*id);
        } else if !run.is_empty() {
            found.push(encoder.tokenizer().decode(&run, false)?);
            run.clear();
        }
    }
    Ok(found)
}
