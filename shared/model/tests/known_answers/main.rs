//! Models against what transformers and PEFT compute with the same weights.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips and fails where it stands")]

mod architectures;
mod decoding;
mod gradients;
mod real_models;
mod support;
