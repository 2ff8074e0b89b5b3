//! The real binaries, end to end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod evaluate;
mod evaluate_runs;
mod export;
mod generate;
mod house;
mod hub;
mod ingest;
mod inspect;
mod known_answers;
mod make_engine;
mod make_pipeline;
mod places;
mod preference;
mod quantized;
mod quickstart;
mod readme;
mod real_models;
mod report_browser;
mod support;
mod test_scores;
mod test_stage;
mod tokenize;
mod train;
