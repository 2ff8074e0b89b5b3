//! `retune-tokenize`: turns examples into tokens with labels, packed into rows that a trainer reads as they are.

mod args;
mod inputs;
mod making;
mod pipeline;
mod report;
mod run;
mod split;

use retune as _;

fn main() -> std::process::ExitCode {
    cli::main(run::run)
}
