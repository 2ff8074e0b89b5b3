//! Text from a decoder: choosing tokens, knowing when to stop, many prompts together.
//!
//! A [`Generator`] runs any number of prompts through one [`model::Decoder`], at most `batch_size` at a time; a finished
//! sequence leaves and the next prompt takes its place. What is generated for a prompt depends on the prompt, the
//! options and its index, and on nothing else: not on the batch size, not on the other prompts, not on threads. Random
//! numbers come from a counter of (seed, prompt, token).

mod error;
mod generator;
mod prefix;
mod random;
mod sampling;
mod stopping;
mod stream;

pub use error::GenerationError;
pub use generator::{Generated, Generator, Observer, Silent};
pub use sampling::{Sampling, choose};
pub use stopping::{Finish, Stopping};
pub use stream::{Detokenizer, TextStream};
