//! `retune-evaluate`: how well a model predicts tokens it was not trained on, beside its base, and whether it overfits.

mod args;
mod choices;
mod compare;
mod data_counts;
mod document;
mod fit;
mod general;
mod groups;
mod loss;
mod preference;
mod run;
mod summary;
mod suspects;

fn main() -> std::process::ExitCode {
    retune::memory::keep();
    cli::main(run::run)
}
