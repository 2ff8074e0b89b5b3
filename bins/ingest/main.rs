//! `retune-ingest`: any data set in, examples out, every row accounted for.

mod args;
mod options;
mod output;
mod page;
mod report;
mod run;

use std::process::ExitCode;

// For its global allocator.
use retune as _;

fn main() -> ExitCode {
    cli::main(run::run)
}
