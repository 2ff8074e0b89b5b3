//! `retune-generate`: text from a model: one prompt, a file of prompts, or a conversation at the terminal.

mod args;
mod chat;
mod prompts;
mod run;
mod session;

fn main() -> std::process::ExitCode {
    retune::memory::keep();
    cli::main(run::run)
}
