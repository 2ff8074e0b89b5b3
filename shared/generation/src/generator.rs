//! Many prompts through one decoder: a batch that finished sequences leave and waiting prompts join.

use std::collections::VecDeque;

use model::{Decoder, KvCache};
use rayon::prelude::*;

use crate::prefix::Prefixes;
use crate::sampling::choose;
use crate::stream::{Detokenizer, TextStream};
use crate::{Finish, GenerationError, Sampling, Stopping};

/// Watches generation as it goes.
pub trait Observer {
    /// The prompt is about to be read: from here to its first text is the time to the first token.
    fn begins(&mut self, _prompt: usize) {}
    /// New text of a prompt that nothing can take back any more; may be empty.
    fn text(&mut self, prompt: usize, text: &str);
    /// A prompt is done, after so many new tokens.
    fn finished(&mut self, prompt: usize, tokens: usize);
    /// Whether to stop now; what was generated so far is returned.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn text(&mut self, _: usize, _: &str) {}
    fn finished(&mut self, _: usize, _: usize) {}
}

/// What was generated for one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The text, special tokens left out, cut before a stop string.
    pub text: String,
    /// The new tokens; a stop token is not among them.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Generates for many prompts.
pub struct Generator<'a> {
    /// The model.
    pub decoder: &'a Decoder,
    /// Its vocabulary.
    pub detokenizer: &'a dyn Detokenizer,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// When a text ends.
    pub stopping: Stopping,
    /// Sequences at a time; changes speed and memory, never the result.
    pub batch_size: usize,
}

/// A sequence in the batch.
struct Sequence {
    prompt: usize,
    /// Prompt and new tokens; kept for the repetition penalty alone.
    seen: Vec<u32>,
    /// Tokens that fit into the context beside the prompt.
    room: usize,
    stream: TextStream,
    finish: Option<Finish>,
    /// The token chosen last: what the model reads next.
    last: u32,
}

impl Generator<'_> {
    /// Generates for each prompt (token ids, at least one each); results are in the order of the prompts.
    ///
    /// # Errors
    /// An option out of range, a prompt without tokens, a token outside the vocabulary, or a failure of the arithmetic.
    pub fn run(&self, prompts: &[Vec<u32>], observer: &mut dyn Observer) -> Result<Vec<Generated>, GenerationError> {
        self.sampling.check()?;
        if let Some(prompt) = prompts.iter().position(Vec::is_empty) {
            return Err(GenerationError::EmptyPrompt { prompt });
        }
        let mut results: Vec<Option<Generated>> = vec![None; prompts.len()];
        let mut waiting: VecDeque<usize> = VecDeque::new();
        for (prompt, tokens) in prompts.iter().enumerate() {
            if tokens.len() >= self.stopping.context || self.stopping.max_new_tokens == 0 {
                let fits = tokens.len() < self.stopping.context;
                let finish = if fits { Finish::Length } else { Finish::PromptTooLong };
                results[prompt] = Some(Generated { text: String::new(), tokens: Vec::new(), finish });
                observer.finished(prompt, 0);
            } else {
                waiting.push_back(prompt);
            }
        }
        let mut cache = self.decoder.new_cache(0);
        let mut prefixes = Prefixes::new(self.decoder, waiting.iter().map(|&prompt| prompts[prompt].as_slice()));
        let mut running: Vec<Sequence> = Vec::new();
        while !(waiting.is_empty() && running.is_empty()) {
            if observer.should_stop() {
                for sequence in &mut running {
                    sequence.finish = Some(Finish::Interrupted);
                }
                self.leave(&mut running, &mut cache, &mut results, observer)?;
                break;
            }
            self.step(&mut running, &mut cache, observer)?;
            self.leave(&mut running, &mut cache, &mut results, observer)?;
            let free = self.batch_size.max(1) - running.len();
            let newcomers: Vec<usize> = waiting.drain(..free.min(waiting.len())).collect();
            self.join(newcomers, prompts, &mut prefixes, &mut running, &mut cache, observer)?;
            self.leave(&mut running, &mut cache, &mut results, observer)?;
        }
        let interrupted = || Generated { text: String::new(), tokens: Vec::new(), finish: Finish::Interrupted };
        Ok(results.into_iter().map(|result| result.unwrap_or_else(interrupted)).collect())
    }

    /// One more token for each running sequence.
    fn step(
        &self,
        running: &mut [Sequence],
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Result<(), GenerationError> {
        if running.is_empty() {
            return Ok(());
        }
        let last: Vec<[u32; 1]> = running.iter().map(|sequence| [sequence.last]).collect();
        let tokens: Vec<&[u32]> = last.iter().map(<[u32; 1]>::as_slice).collect();
        let logits = self.decoder.decode(&tokens, cache)?;
        self.choose(&logits, running, observer)
    }

    /// Reads the prompts of newcomers and chooses the first token of each.
    fn join<'a>(
        &self,
        newcomers: Vec<usize>,
        prompts: &'a [Vec<u32>],
        prefixes: &mut Prefixes<'a>,
        running: &mut Vec<Sequence>,
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Result<(), GenerationError> {
        if newcomers.is_empty() {
            return Ok(());
        }
        let mut own = self.decoder.new_cache(0);
        let mut tokens: Vec<&[u32]> = Vec::with_capacity(newcomers.len());
        for &prompt in &newcomers {
            observer.begins(prompt);
            let (cache, read) = prefixes.read(self.decoder, &prompts[prompt])?;
            own.append(cache)?;
            tokens.push(&prompts[prompt][read..]);
        }
        let logits = self.decoder.decode(&tokens, &mut own)?;
        let mut sequences: Vec<Sequence> = newcomers
            .into_iter()
            .map(|prompt| Sequence {
                prompt,
                seen: prompts[prompt].clone(),
                room: self.stopping.context - prompts[prompt].len(),
                stream: TextStream::default(),
                finish: None,
                last: 0,
            })
            .collect();
        self.choose(&logits, &mut sequences, observer)?;
        running.extend(sequences);
        Ok(cache.append(own)?)
    }

    /// Chooses a token for each sequence from its row of `logits`, in parallel; each sequence has its own random
    /// numbers.
    fn choose(
        &self,
        logits: &candle_core::Tensor,
        sequences: &mut [Sequence],
        observer: &mut dyn Observer,
    ) -> Result<(), GenerationError> {
        let vocabulary = logits.dim(1)?;
        let logits = logits.flatten_all()?.to_vec1::<f32>()?;
        sequences
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocabulary))
            .try_for_each(|(sequence, logits)| self.take(sequence, logits))?;
        for sequence in sequences.iter_mut().filter(|sequence| sequence.finish.is_none()) {
            observer.text(sequence.prompt, sequence.stream.settled(&self.stopping.strings));
        }
        Ok(())
    }

    fn take(&self, sequence: &mut Sequence, logits: &[f32]) -> Result<(), GenerationError> {
        let generated = sequence.stream.tokens().len();
        let token = choose(logits, &sequence.seen, &self.sampling, sequence.prompt, generated)
            .ok_or(GenerationError::NotANumber { prompt: sequence.prompt, tokens: generated })?;
        if self.stopping.tokens.contains(&token) {
            sequence.finish = Some(Finish::StopToken);
            return Ok(());
        }
        let stopped =
            sequence.stream.push(token, &self.stopping.strings, self.detokenizer).map_err(GenerationError::Text)?;
        (sequence.last, sequence.finish) = (token, self.finish_of(stopped, generated + 1, sequence.room));
        if self.sampling.repetition_penalty != 1.0 {
            sequence.seen.push(token);
        }
        Ok(())
    }

    fn finish_of(&self, stopped: bool, generated: usize, room: usize) -> Option<Finish> {
        if stopped {
            Some(Finish::StopString)
        } else if generated >= self.stopping.max_new_tokens {
            Some(Finish::Length)
        } else if generated >= room {
            Some(Finish::Context)
        } else {
            None
        }
    }

    /// Takes finished sequences out of the batch.
    fn leave(
        &self,
        running: &mut Vec<Sequence>,
        cache: &mut KvCache,
        results: &mut [Option<Generated>],
        observer: &mut dyn Observer,
    ) -> Result<(), GenerationError> {
        if running.iter().all(|sequence| sequence.finish.is_none()) {
            return Ok(());
        }
        let staying: Vec<usize> = (0..running.len()).filter(|&place| running[place].finish.is_none()).collect();
        cache.select(&staying)?;
        let (done, left): (Vec<_>, Vec<_>) =
            std::mem::take(running).into_iter().partition(|sequence| sequence.finish.is_some());
        *running = left;
        for mut sequence in done {
            let finish = sequence.finish.expect("only finished sequences leave");
            let stopped = finish == Finish::StopString;
            let rest = sequence.stream.rest(stopped, self.detokenizer).map_err(GenerationError::Text)?;
            observer.text(sequence.prompt, rest);
            let (text, tokens) = sequence.stream.into_parts();
            observer.finished(sequence.prompt, tokens.len());
            results[sequence.prompt] = Some(Generated { text, tokens, finish });
        }
        Ok(())
    }
}
