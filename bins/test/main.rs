//! `retune-test`: what a model writes for rows it has not seen, scored beside its base, with gates as exit code.

mod args;
mod cost;
mod document;
mod foreign;
mod leakage;
mod predict;
mod rows;
mod run;
mod scorecard;
mod scorer;
mod scoring;

fn main() -> std::process::ExitCode {
    retune::memory::keep();
    cli::main(run::run)
}
