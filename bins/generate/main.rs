//! `retune-generate`: text from a model: one prompt, a file of prompts, or a conversation at the terminal.

mod args;
mod chat;
mod prompts;
mod run;
mod session;

use retune as _;

fn main() -> std::process::ExitCode {
    cli::main(run::run)
}
