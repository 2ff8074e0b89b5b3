//! Letting a model answer all prompts, with a progress bar.

use std::time::Instant;

use anyhow::Result;
use cli::{Interrupt, Progress, Unit};
use generation::{Finish, Generated, Generator, Observer, Sampling, Stopping};
use model::Decoder;
use retune::subject::{Words, stop_tokens};

use crate::args::GenerationArgs;
use crate::cost::{Costs, Times};
use crate::rows::TestRows;
use encoding::ExampleEncoder;

/// How answers are generated, from the flags.
pub(crate) struct Plan<'a> {
    pub(crate) encoder: &'a ExampleEncoder,
    pub(crate) sampling: Sampling,
    pub(crate) stopping: Stopping,
    pub(crate) batch_size: usize,
    pub(crate) interrupt: Interrupt,
}

impl<'a> Plan<'a> {
    /// The plan for a model with this context and these end tokens.
    pub(crate) fn new(
        args: &GenerationArgs,
        seed: u64,
        encoder: &'a ExampleEncoder,
        end_tokens: &[u32],
        context: usize,
        interrupt: Interrupt,
    ) -> Self {
        let stopping = Stopping {
            tokens: stop_tokens(encoder, end_tokens),
            strings: args.stop.clone(),
            max_new_tokens: args.max_new_tokens as usize,
            context,
        };
        Self { encoder, sampling: sampling(args, seed), stopping, batch_size: args.batch_size as usize, interrupt }
    }

    /// One answer for each row, and what they cost.
    pub(crate) fn answers(&self, decoder: &Decoder, rows: &TestRows, label: &str) -> Result<(Vec<Generated>, Costs)> {
        let mut watch = Watch {
            bar: Progress::new(label, Some(rows.tokens.len() as u64), Unit::Rows),
            interrupt: self.interrupt.clone(),
            tokens: 0,
            times: vec![Times::default(); rows.tokens.len()],
            peak_memory: artifact::resident_memory_bytes(),
        };
        let generator = Generator {
            decoder,
            detokenizer: &Words(self.encoder.tokenizer()),
            sampling: self.sampling.clone(),
            stopping: self.stopping.clone(),
            batch_size: self.batch_size,
        };
        let answers = generator.run(&rows.tokens, &mut watch)?;
        Ok((answers, Costs::new(&watch.times, watch.peak_memory)))
    }
}

/// The choice of tokens, from the flags.
pub(crate) fn sampling(args: &GenerationArgs, seed: u64) -> Sampling {
    Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed,
    }
}

struct Watch {
    bar: Progress,
    interrupt: Interrupt,
    tokens: usize,
    times: Vec<Times>,
    /// Largest so far, looked at whenever an answer ends.
    peak_memory: Option<u64>,
}

impl Observer for Watch {
    fn begins(&mut self, prompt: usize) {
        self.times[prompt].began = Some(Instant::now());
    }

    fn text(&mut self, prompt: usize, _: &str) {
        self.times[prompt].first.get_or_insert_with(Instant::now);
    }

    fn finished(&mut self, prompt: usize, tokens: usize) {
        self.times[prompt].done = Some(Instant::now());
        self.times[prompt].tokens = tokens;
        self.peak_memory = self.peak_memory.max(artifact::resident_memory_bytes());
        self.tokens += tokens;
        self.bar.message(format!("{} new tokens", self.tokens));
        self.bar.advance(1);
    }

    fn should_stop(&self) -> bool {
        self.interrupt.requested()
    }
}

/// Which prompts did not fit into the context; nothing is ever cut silently.
pub(crate) fn overlong(rows: &TestRows, answers: &[Generated], context: usize) -> Option<String> {
    const NAMED: usize = 5;
    let overlong: Vec<usize> = (0..answers.len()).filter(|&row| answers[row].finish == Finish::PromptTooLong).collect();
    let place = |&row: &usize| format!("{} with {}", rows.source[row], rows.tokens[row].len());
    let named: Vec<String> = overlong.iter().take(NAMED).map(place).collect();
    let more = if overlong.len() > NAMED { ", …" } else { "" };
    (!overlong.is_empty()).then(|| {
        format!(
            "{} longer than the model's context of {context} tokens and got no answer, which is scored as an empty one: {}{more}.",
            if overlong.len() == 1 { "1 prompt is".to_owned() } else { format!("{} prompts are", overlong.len()) },
            named.join(", ")
        )
    })
}

/// Says how many answers ran into the limit: they are likely to be cut.
pub(crate) fn warn_of_cut(answers: &[Generated], max_new_tokens: u32) {
    let cut = answers.iter().filter(|answer| matches!(answer.finish, Finish::Length | Finish::Context)).count();
    if cut > 0 {
        cli::note(&format!(
            "{} of {} answers reached --max-new-tokens {max_new_tokens}, or the end of the context, without an end",
            cut,
            answers.len()
        ));
    }
}
