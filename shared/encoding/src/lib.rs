//! Examples to tokens: tokenizers, chat templates, loss masks, packing.
//!
//! The way of an example: rendered to one text (by the chat template, or plainly), encoded once, masked by character
//! offsets, fitted to the row length, packed. [`ExampleEncoder`] does the first three, [`fit`] and [`Packer`] the rest.

mod bpe;
mod calendar;
mod conversation;
mod encoder;
mod endings;
mod error;
mod facts;
mod fast;
mod files;
mod generation_tags;
mod gguf;
mod new_tokenizer;
mod offsets;
mod options;
mod overflow;
mod packing;
mod python_json;
mod refusal;
mod rendered;
mod statistics;
mod tagged;
mod template;
mod tokenizer;
mod turns;
mod unigram;

pub use calendar::Day;
pub use encoder::{EncodedExample, ExampleEncoder, NOT_TRAINED};
pub use error::{EncodingError, Result};
pub use facts::TokenizerFacts;
pub use files::tokenizer_files;
pub use gguf::to_gguf;
pub use new_tokenizer::{END_OF_TEXT, NewTokenizer, PADDING, SpecialTokens, TokenizerTrainer, new_tokenizer_facts};
pub use options::{EncodeOptions, Overflow, Packing, Render, RewrittenTurns, TrainOn};
pub use overflow::{Fitted, Lost, fit};
pub use packing::{Packer, packing_window};
pub use refusal::Refusal;
pub use rendered::vocabulary_text;
pub use statistics::{Bar, Lengths, Longest, Statistics, StatisticsBuilder, sparkline};
pub use template::{ChatTemplate, DEFAULT_TEMPLATE, TemplateOptions, TemplateOrigin};
pub use tokenizer::{Encoded, Specials, TOKENIZER_FILE, Tokenizer};
