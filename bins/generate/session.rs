//! A loaded model with its tokenizer and options: prompts in, text out.

use std::io;
use std::time::Instant;

use anyhow::{Result, anyhow};
use artifact::Message;
use cli::{Hint, Interrupt};
use encoding::{ExampleEncoder, Refusal, Render, TemplateOrigin};
use generation::{Finish, Generated, Generator, Observer, Sampling, Stopping};
use retune::subject::{Loaded, Subject, Words, stop_tokens};

use crate::args::Args;

/// Everything that generation needs.
pub(crate) struct Session {
    loaded: Loaded,
    encoder: ExampleEncoder,
    sampling: Sampling,
    stopping: Stopping,
    batch_size: usize,
    system: Option<String>,
    raw: bool,
    interrupt: Interrupt,
}

impl Session {
    /// Loads the model.
    pub(crate) fn open(args: &Args, watch: impl FnOnce() -> Result<Interrupt>) -> Result<Self> {
        let sampling = Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            repetition_penalty: args.repetition_penalty,
            seed: args.seed,
        };
        if args.stop.iter().any(String::is_empty) {
            return Err(cli::Usage("--stop takes a text that ends the answer, found an empty one".into()).into());
        }
        sampling.check().map_err(|error| cli::Usage(format!("--{error}")))?;
        let subject = Subject::find(&args.model, args.adapter.as_deref())?;
        // Only now: a download is to end at the first Ctrl-C, and what has come of it stays.
        let interrupt = watch()?;
        let encoder = subject.encoder(args.chat_template.as_deref(), Render::Auto)?;
        let loaded = subject.load()?;
        let stopping = Stopping {
            tokens: stop_tokens(&encoder, &loaded.end_tokens),
            strings: args.stop.clone(),
            max_new_tokens: args.max_new_tokens as usize,
            context: loaded.config.context(),
        };
        let without = *encoder.template().origin() == TemplateOrigin::Default && !args.chat && args.system.is_none();
        Ok(Self {
            raw: args.raw || without,
            loaded,
            encoder,
            sampling,
            stopping,
            batch_size: args.batch_size as usize,
            system: args.system.clone(),
            interrupt,
        })
    }

    /// Whether the user asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }

    /// Whether the model brings no chat template of its own.
    pub(crate) fn uses_default_template(&self) -> bool {
        *self.encoder.template().origin() == TemplateOrigin::Default
    }

    /// The messages that begin every conversation.
    pub(crate) fn opening(&self) -> Vec<Message> {
        self.system.iter().map(|text| Message::new("system", text.as_str())).collect()
    }

    /// A prompt as tokens: a message of the user, or as it stands.
    pub(crate) fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        if !self.raw {
            let mut messages = self.opening();
            messages.push(Message::new("user", prompt));
            return self.encode_chat(&messages);
        }
        let mut tokens = with_hint(self.encoder.encode_plain(prompt))?;
        if tokens.is_empty() {
            let tokenizer = self.encoder.tokenizer();
            let start = tokenizer.bos().or(self.loaded.config.begin_of_sequence()).or(tokenizer.eos());
            tokens.push(
                start.ok_or_else(|| anyhow!("an empty prompt, and the model has no token to begin a text with"))?,
            );
        }
        Ok(tokens)
    }

    /// A conversation as tokens, ready for the answer.
    pub(crate) fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        with_hint(self.encoder.encode_chat_prompt(messages, None))
    }

    /// Tokens that a conversation may have.
    pub(crate) fn context(&self) -> usize {
        self.stopping.context
    }

    /// Generates for all prompts; with one prompt the text goes to standard output as it comes.
    pub(crate) fn generate(&self, prompts: &[Vec<u32>], stream: bool) -> Result<Vec<Generated>> {
        let generator = Generator {
            decoder: &self.loaded.decoder,
            detokenizer: &Words(self.encoder.tokenizer()),
            sampling: self.sampling.clone(),
            stopping: self.stopping.clone(),
            batch_size: self.batch_size,
        };
        let started = Instant::now();
        let mut screen = Screen { stream, interrupt: self.interrupt.clone(), failure: None };
        let results = generator.run(prompts, &mut screen)?;
        if let Some(failure) = screen.failure {
            return Err(failure.into());
        }
        let tokens: usize = results.iter().map(|result| result.tokens.len()).sum();
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!("{tokens} tokens in {seconds:.2} s: {:.1} tokens/s", tokens as f64 / seconds);
        for (prompt, result) in results.iter().enumerate() {
            if result.finish == Finish::PromptTooLong {
                cli::warn(&format!(
                    "prompt {} has {} tokens, the model's context {}: it got no answer",
                    prompt + 1,
                    prompts[prompt].len(),
                    self.context()
                ));
            }
        }
        Ok(results)
    }
}

/// Writes text as it comes.
struct Screen {
    stream: bool,
    interrupt: Interrupt,
    failure: Option<io::Error>,
}

impl Observer for Screen {
    fn text(&mut self, _: usize, text: &str) {
        if self.stream && !text.is_empty() && self.failure.is_none() {
            self.failure = cli::print(text).err();
        }
    }

    fn finished(&mut self, _: usize, _: usize) {}

    fn should_stop(&self) -> bool {
        self.interrupt.requested() || self.failure.is_some()
    }
}

fn with_hint<T>(result: Result<T, Refusal>) -> Result<T> {
    result.hint_from(|error| error.downcast_ref::<Refusal>()?.hint().map(str::to_owned))
}
