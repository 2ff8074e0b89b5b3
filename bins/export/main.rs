//! `retune-export`: a tuned model as one folder that other tools load, with the adapter folded into the base.

mod args;
mod gguf;
mod run;

use retune as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(run::run)
}
