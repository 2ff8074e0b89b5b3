//! `retune-generate` from start to end: load, generate, print.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Result, anyhow};
use cli::{Hint, Outcome, Report};
use generation::{Finish, Generated};
use serde_json::{Value, json};

use crate::args::Args;
use crate::session::Session;
use crate::{chat, prompts};

/// Runs the binary.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let watch = || cli::watch_interrupts("stopping; once more stops at once");
    if args.chat {
        return converse(&Session::open(args, watch)?);
    }
    let texts = match (&args.prompt, &args.prompts) {
        (Some(prompt), _) => vec![prompt.clone()],
        (None, Some(path)) => prompts::read(path)?,
        (None, None) if !std::io::stdin().is_terminal() => prompts::read(Path::new("-"))?,
        (None, None) => {
            return Err(cli::Usage("one of --prompt TEXT, --prompts FILE and --chat is required".into()).into());
        }
    };
    let session = Session::open(args, watch)?;
    let tokens: Vec<Vec<u32>> = texts.iter().map(|text| session.encode(text)).collect::<Result<_>>()?;
    // Under --json standard output belongs to the document.
    let stream = texts.len() == 1 && !args.common.json;
    let results = session.generate(&tokens, stream)?;
    if results.iter().all(|result| result.finish == Finish::PromptTooLong) {
        let longest = tokens.iter().map(Vec::len).max().unwrap_or(0);
        return Err(anyhow!(
            "no prompt fits the model: the longest has {longest} tokens, the model's context is {}",
            session.context()
        ))
        .hint("shorten the prompt; the context holds prompt and answer together");
    }
    if !args.common.json {
        let text =
            if stream { "\n".to_owned() } else { results.iter().map(|result| result.text.clone() + "\n").collect() };
        cli::print(&text)?;
    }
    let entries: Vec<Value> = texts
        .iter()
        .zip(&tokens)
        .zip(&results)
        .map(|((text, tokens), result)| entry(text, tokens.len(), result))
        .collect();
    let report = Report { text: String::new(), json: Value::Array(entries) };
    let interrupted = results.iter().any(|result| result.finish == Finish::Interrupted);
    Ok(if interrupted { Outcome::Interrupted(report) } else { Outcome::Done(report) })
}

fn entry(prompt: &str, prompt_tokens: usize, result: &Generated) -> Value {
    json!({
        "prompt": prompt,
        "text": result.text,
        "token_ids": result.tokens,
        "prompt_tokens": prompt_tokens,
        "new_tokens": result.tokens.len(),
        "finish": result.finish,
    })
}

fn converse(session: &Session) -> Result<Outcome> {
    let (messages, interrupted) = chat::talk(session)?;
    let messages: Vec<Value> =
        messages.iter().map(|message| json!({ "role": message.role, "content": message.content })).collect();
    let report = Report { text: String::new(), json: json!({ "messages": messages }) };
    Ok(if interrupted { Outcome::Interrupted(report) } else { Outcome::Done(report) })
}
