//! `retune-ingest`: any data set in, examples out, every row accounted for.

mod args;
mod options;
mod output;
mod page;
mod report;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    retune::memory::keep();
    cli::main(run::run)
}
