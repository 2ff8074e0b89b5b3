//! Examples to tokens with labels: one encoding of the whole text, masked by character offsets.

use crate::conversation::Conversation;
use crate::endings;
use crate::offsets::CharacterIndex;
use crate::rendered::{Rendered, plain_prompt, render, trained_messages};
use crate::turns::StopMarkers;
use crate::{ChatTemplate, EncodeOptions, Encoded, Refusal, Render, RewrittenTurns, Specials, Tokenizer, TrainOn};
use artifact::{Example, Kind, Message, Span};

/// The label of a token that is not trained.
pub const NOT_TRAINED: i32 = artifact::IGNORED;

/// Turns examples into tokens; shared by all threads.
#[derive(Debug)]
pub struct ExampleEncoder {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    options: EncodeOptions,
    markers: StopMarkers,
    stop_tokens: Vec<u32>,
}

/// One example as tokens. All vectors over tokens have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedExample {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// For each token its id where it is trained, else [`NOT_TRAINED`]. Not shifted: the trainer shifts.
    pub labels: Vec<i32>,
    /// For each token the characters of the example's text that it covers, end exclusive.
    pub characters: Vec<(u32, u32)>,
    /// Where each message's content stands in the example's text, in characters.
    pub spans: Vec<Span>,
    /// Number of characters in the example's text, or in the part of it that these tokens are of.
    pub text_characters: u32,
    /// Trained tokens that also cover characters of the prompt.
    pub straddling: usize,
    /// Tokens that stand for what the vocabulary cannot spell.
    pub unknown: usize,
    /// Special tokens inside what a message says: the data spells them, and the model will see them as its own marks.
    pub injected: usize,
}

impl EncodedExample {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Number of tokens that are trained.
    pub fn trained(&self) -> usize {
        self.labels.iter().filter(|label| **label != NOT_TRAINED).count()
    }
}

impl ExampleEncoder {
    /// An encoder; learns from a short conversation how the template ends a turn.
    pub fn new(tokenizer: Tokenizer, template: ChatTemplate, options: EncodeOptions) -> Self {
        let all: Vec<String> = tokenizer.special_tokens().values().cloned().collect();
        let generation = tokenizer.facts().generation_eos_ids.iter().filter_map(|id| tokenizer.token(*id));
        let end_of_text = tokenizer.eos().and_then(|eos| tokenizer.token(eos));
        let known: Vec<String> = end_of_text.into_iter().chain(generation).collect();
        let learned = endings::learn(&template, &all, &known);
        let mut preferred: Vec<String> = Vec::new();
        for marker in learned.own.iter().chain(&learned.continuing).cloned().chain(known) {
            if !preferred.contains(&marker) {
                preferred.push(marker);
            }
        }
        let stop_tokens = preferred.iter().filter_map(|marker| tokenizer.id(marker)).collect();
        Self {
            tokenizer,
            template,
            options,
            markers: StopMarkers { preferred, all, continuing: learned.continuing },
            stop_tokens,
        }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The options.
    pub fn options(&self) -> EncodeOptions {
        self.options
    }

    /// Tokens at which generation is to stop: the template's end of turn, the end token, and those that the model's
    /// generation settings name.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }

    /// Encodes an example whole, or turn by turn where the template rewrites earlier turns and the options allow it.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_turns(&self, example: &Example) -> Result<Vec<EncodedExample>, Refusal> {
        match self.encode(example) {
            Ok(encoded) => Ok(vec![encoded]),
            Err(refusal) if self.options.rewritten == RewrittenTurns::Split && refusal.is_about_earlier_turns() => {
                self.encode_each_turn(example)
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn encode_each_turn(&self, example: &Example) -> Result<Vec<EncodedExample>, Refusal> {
        let last = EncodeOptions { train_on: TrainOn::Last, ..self.options };
        let until = |turn: usize| {
            let part = Example { messages: example.messages[..=turn].to_vec(), ..example.clone() };
            self.encode_with(&part, last)
        };
        trained_messages(&example.messages, self.options.train_on)?.into_iter().map(until).collect()
    }

    /// Encodes an example.
    ///
    /// # Errors
    /// [`Refusal`]; [`Refusal::concerns_the_row_alone`] tells rejects from failures.
    pub fn encode(&self, example: &Example) -> Result<EncodedExample, Refusal> {
        self.encode_with(example, self.options)
    }

    /// Encodes both sides of a preference pair: the prompt with its chosen answer, and with its rejected one, the answer
    /// trained on each time. Both go through the chat template, unless the options are to render plain.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_pair(&self, example: &Example) -> Result<[EncodedExample; 2], Refusal> {
        let kind = if self.options.render == Render::Plain { Kind::Completion } else { Kind::Chat };
        let options = EncodeOptions { train_on: TrainOn::Completion, ..self.options };
        let side = |answer: &[Message]| {
            let messages = [&example.messages[..], answer].concat();
            self.encode_with(&Example { kind, messages, ..example.clone() }, options)
        };
        Ok([side(&example.chosen)?, side(&example.rejected)?])
    }

    fn encode_with(&self, example: &Example, options: EncodeOptions) -> Result<EncodedExample, Refusal> {
        let rendered = render(example, &self.template, options, &self.markers)?;
        let mut encoded = self.tokenizer.encode(&rendered.text, Specials::None)?;
        self.settle_start(&mut encoded)?;
        let index = CharacterIndex::new(&rendered.text);
        let trained: Vec<(u32, u32)> = rendered.trained.iter().map(|bytes| index.range(bytes.clone())).collect();
        let mut labels = label(&encoded, &trained);
        if rendered.closed {
            self.close(&mut encoded, &mut labels)?;
        }
        self.assert_stops(&encoded, &labels, &rendered, &index)?;
        if let Some(first) = labels.first_mut() {
            // Nothing precedes the first token of an example, so nothing can predict it.
            *first = NOT_TRAINED;
        }
        if labels.iter().all(|label| *label == NOT_TRAINED) {
            return Err(Refusal::NothingTrained("the answer has no token".into()));
        }
        Ok(EncodedExample {
            straddling: straddling(&encoded, &trained),
            unknown: encoded.ids.iter().filter(|id| Some(**id) == self.tokenizer.unknown()).count(),
            injected: if example.kind == Kind::Text { 0 } else { self.injected(&encoded, &rendered, &index) },
            spans: spans(&rendered, &index),
            labels,
            text_characters: encoded.text_characters,
            input_ids: encoded.ids,
            characters: encoded.characters,
        })
    }

    /// The tokens that generation is prompted with: everything up to the answer. Of a text, the text itself.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_prompt(&self, example: &Example) -> Result<Vec<u32>, Refusal> {
        if example.kind == Kind::Text {
            return self.encode_plain(example.text.as_deref().unwrap_or_default());
        }
        let end = example.messages.iter().rposition(|message| message.role == "assistant");
        let messages = &example.messages[..end.unwrap_or(example.messages.len())];
        let chat = match self.options.render {
            Render::Auto => example.kind == Kind::Chat,
            Render::Chat => true,
            Render::Plain => false,
        };
        if chat {
            self.encode_chat_prompt(messages, example.tools.as_deref())
        } else {
            self.encode_plain(&plain_prompt(messages)?.0)
        }
    }

    /// The tokens of a conversation that the assistant is to continue. `tools` is JSON.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_chat_prompt(&self, messages: &[Message], tools: Option<&str>) -> Result<Vec<u32>, Refusal> {
        let conversation = Conversation::new(messages, tools).map_err(Refusal::BadRecord)?;
        let text = self.template.render(&conversation.messages, conversation.tools.as_ref(), true)?;
        self.encode_plain(&text)
    }

    /// The tokens of a text that is to be continued: with the start token where the model wants one, without an end.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let mut encoded = self.tokenizer.encode(text, Specials::None)?;
        self.settle_start(&mut encoded)?;
        Ok(encoded.ids)
    }

    /// The text of an example as it is encoded, for training a tokenizer on and for looking at.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn render(&self, example: &Example) -> Result<String, Refusal> {
        Ok(render(example, &self.template, self.options, &self.markers)?.text)
    }

    /// Exactly one start token where the model wants one: templates may or may not have printed it.
    fn settle_start(&self, encoded: &mut Encoded) -> Result<(), Refusal> {
        let Some(opening) = self.tokenizer.opening() else { return Ok(()) };
        match encoded.ids.iter().take_while(|id| **id == opening).count() {
            0 => {
                encoded.ids.insert(0, opening);
                encoded.characters.insert(0, (0, 0));
                Ok(())
            }
            1 => Ok(()),
            found => Err(Refusal::DoubledStart { token: self.tokenizer.token(opening).unwrap_or_default(), found }),
        }
    }

    /// A plain text ends with the trained end token.
    fn close(&self, encoded: &mut Encoded, labels: &mut Vec<i32>) -> Result<(), Refusal> {
        let eos = self.tokenizer.eos().ok_or(Refusal::NoEnd)?;
        encoded.ids.push(eos);
        encoded.characters.push((encoded.text_characters, encoded.text_characters));
        labels.push(eos as i32);
        Ok(())
    }

    fn injected(&self, encoded: &Encoded, rendered: &Rendered, index: &CharacterIndex) -> usize {
        let spans = spans(rendered, index);
        let inside = |(_, (start, end)): &(&u32, &(u32, u32))| {
            spans.iter().any(|span| *start < span.char_end && span.char_start < *end)
        };
        let special = encoded.ids.iter().zip(&encoded.characters).filter(|(id, _)| self.tokenizer.is_special(**id));
        special.filter(inside).count()
    }

    /// Each trained turn must end in one trained special token: otherwise the model would never learn to stop.
    fn assert_stops(
        &self,
        encoded: &Encoded,
        labels: &[i32],
        rendered: &Rendered,
        index: &CharacterIndex,
    ) -> Result<(), Refusal> {
        for stop in &rendered.stops {
            let (start, end) = index.range(stop.clone());
            let is_stop = |token: usize| {
                let (from, to) = encoded.characters[token];
                from <= start
                    && to >= end
                    && labels[token] != NOT_TRAINED
                    && self.tokenizer.is_special(encoded.ids[token])
            };
            if !(0..encoded.ids.len()).any(is_stop) {
                return Err(Refusal::NoStop {
                    origin: self.template.origin().to_string(),
                    message: 0,
                    tail: rendered.text[stop.clone()].to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// A token is trained if it has any trained character: the answer's first word would be lost otherwise where it shares
/// a token with the space before it. A token without characters counts by its place.
fn label(encoded: &Encoded, trained: &[(u32, u32)]) -> Vec<i32> {
    let mut ranges = trained.iter().peekable();
    let mut labels = Vec::with_capacity(encoded.ids.len() + 1);
    for (id, (start, end)) in encoded.ids.iter().zip(&encoded.characters) {
        while ranges.next_if(|range| range.1 <= *start).is_some() {}
        let is_trained = ranges.peek().is_some_and(|range| touches((*start, *end), **range));
        labels.push(if is_trained { *id as i32 } else { NOT_TRAINED });
    }
    labels
}

fn touches(token: (u32, u32), range: (u32, u32)) -> bool {
    if token.0 == token.1 { range.0 <= token.0 && token.0 < range.1 } else { token.0 < range.1 && range.0 < token.1 }
}

fn straddling(encoded: &Encoded, trained: &[(u32, u32)]) -> usize {
    let begins_before =
        |range: &&(u32, u32)| encoded.characters.iter().any(|token| token.0 < range.0 && range.0 < token.1);
    trained.iter().filter(begins_before).count()
}

fn spans(rendered: &Rendered, index: &CharacterIndex) -> Vec<Span> {
    let span = |(message, bytes): &(usize, std::ops::Range<usize>)| {
        let (char_start, char_end) = index.range(bytes.clone());
        Span { message: *message as u32, char_start, char_end }
    };
    rendered.contents.iter().map(span).collect()
}
