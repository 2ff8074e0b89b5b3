//! `retune-train`: tunes a language model on tokens, with LoRA or in full, or pre-trains a small one.

mod args;
mod base;
mod budget;
mod checkpoint;
mod failure;
mod history;
mod init;
mod inputs;
mod lora_settings;
mod plan;
mod preference;
mod profile;
mod quantize;
mod report;
mod resolve;
mod resume;
mod run;
mod warnings;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    retune::memory::keep();
    cli::main(run::run)
}
