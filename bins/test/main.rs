//! `retune-test`: what a model writes for rows it has not seen, scored beside its base, with gates as exit code.

mod args;
mod document;
mod foreign;
mod predict;
mod rows;
mod run;
mod scorecard;
mod scoring;

use retune as _;

fn main() -> std::process::ExitCode {
    cli::main(run::run)
}
