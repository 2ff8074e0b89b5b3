//! `retune-evaluate`: how well a model predicts tokens it was not trained on, beside its base, and whether it overfits.

mod args;
mod document;
mod fit;
mod loss;
mod run;
mod summary;

fn main() -> std::process::ExitCode {
    retune::memory::keep();
    cli::main(run::run)
}
