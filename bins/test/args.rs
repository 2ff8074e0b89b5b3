//! The command line of `retune-test`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser};
use encoding::Render;

/// Let a model answer the prompts of the test split, score the answers beside those of its base, and check gates.
///
/// Reads test.parquet of retune-ingest (or any table of examples) and a Hugging Face model folder. The prompt of an
/// example is all before its last assistant message. Writes predictions.parquet, scorecard.json and report.html; exits
/// with 3 where a gate is missed. With --predictions it scores what another tool wrote and needs no model.
#[derive(Debug, Parser)]
#[command(
    name = "retune-test",
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-test data/test.parquet --model base --adapter model --baseline --out test
  retune-test data --model base --adapter model --metrics exact_match,rouge --gate 'exact_match>=0.8' --out test
  retune-test data --model base --adapter model --baseline --gate 'rougeL-baseline>=0.05@95%' --out test
  retune-test --predictions answers.jsonl --metrics bleu,chrf,ter --out scores

  retune-test data --model base --metrics accuracy,f1_macro --regex 'intent=([a-z_]+)' --out test

Metrics, 0 to 1:
  exact_match         with :ignore_case :ignore_punctuation :ignore_numbers :ignore_articles :ignore_space
  squad               exact_match_squad and f1, by SQuAD's rules
  classification      accuracy, f1_macro and f1_weighted, with a confusion table; also precision_ and recall_
  numeric             the number that the answer ends in; gsm8k_strict and gsm8k_flexible as lm-evaluation-harness
  json_valid, json_match, json_fields    with :extract :keys=a+b
  rouge, rouge_stemmed                   rouge1, rouge2, rougeL, rougeLsum, up to rouge9; with :part=recall
Metrics, 0 to 100, as sacreBLEU:
  bleu                bleu_intl, _zh, _char, _none, _lc; with :smooth_method=floor|add-k|none :smooth_value=X
                      :max_ngram_order=N :effective_order
  chrf, chrf++        with :lowercase :whitespace :char_order=N :word_order=N :beta=N :eps_smoothing
  ter                 with :normalized :no_punct :asian_support :case_sensitive
Options follow the name, as in bleu:tokenize=zh:smooth_method=floor.

A gate is METRIC>=NUMBER (or >, <=, <), METRIC-baseline for the gain over the base; @95% takes the cautious end of that
confidence interval instead of the value. Also: latency_p50, _p95, _p99, time_to_first_token_p50, _p95 (as in <=200ms),
tokens_per_second, peak_memory (as in <=2GiB)."
)]
pub(crate) struct Args {
    /// Folder written by retune-ingest (its test split is read), or a Parquet file of examples
    #[arg(value_name = "DATA", required_unless_present = "predictions", conflicts_with = "predictions")]
    pub(crate) data: Option<PathBuf>,

    /// Score this file instead (Parquet, Arrow, JSONL, JSON or CSV): columns prediction and reference, perhaps
    /// baseline_prediction
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: Option<PathBuf>,

    /// The model, or the base under the adapter: a Hugging Face folder, or a name on a hub such as org/name
    #[arg(long, value_name = "DIR|NAME", required_unless_present = "predictions", conflicts_with = "predictions")]
    pub(crate) model: Option<String>,

    /// The tuned adapter: a PEFT folder, such as retune-train writes
    #[arg(long, value_name = "DIR|NAME", conflicts_with = "predictions")]
    pub(crate) adapter: Option<PathBuf>,

    /// Let the base answer too: the model without its adapter, or for a whole tuned model the one in =DIR|NAME
    #[arg(long, value_name = "DIR|NAME", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with = "predictions")]
    pub(crate) baseline: Option<String>,

    /// What to measure
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "exact_match,f1,rouge",
        help_heading = "Scores"
    )]
    pub(crate) metrics: Vec<String>,

    /// A regular expression as a metric: 1 where the answer has it; with a group, where what it holds equals that of the
    /// reference (of several groups, the first that took part); may be given several times
    #[arg(long, value_name = "NAME=PATTERN", help_heading = "Scores")]
    pub(crate) regex: Vec<String>,

    /// A command as a metric: JSON lines with id, prompt, prediction and references in, one score a line out; NAME- where
    /// less is better; may be given several times
    #[arg(long, value_name = "NAME=COMMAND", help_heading = "Scores")]
    pub(crate) scorer: Vec<String>,

    /// Seconds without a score after which a scorer is ended
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1800,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000),
        help_heading = "Scores"
    )]
    pub(crate) scorer_timeout: u64,

    /// What the model was trained on, to list test rows that it has seen: a folder of retune-ingest or retune-tokenize, or
    /// a file [default: the train split beside DATA]
    #[arg(long, value_name = "PATH", help_heading = "Scores")]
    pub(crate) train: Vec<PathBuf>,

    /// A condition that must hold, else the exit code is 3; may be given several times
    #[arg(long, value_name = "CONDITION", help_heading = "Scores")]
    pub(crate) gate: Vec<String>,

    /// Resampled data sets for confidence intervals, up to 100000; 0 for none
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(..=100_000),
        help_heading = "Scores"
    )]
    pub(crate) resamples: u32,

    #[command(flatten)]
    pub(crate) generation: GenerationArgs,

    #[command(flatten)]
    pub(crate) output: cli::Output,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Flags of how answers are generated.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Generation")]
#[group(conflicts_with = "predictions")]
pub(crate) struct GenerationArgs {
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_new_tokens: u32,

    /// Answers at a time; changes speed and memory, never an answer
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: u32,

    /// 0 takes the most likely token each time; more draws at random, the same for the same --seed
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f32,

    /// Draw among so many of the most likely tokens
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<usize>,

    /// Draw among the most likely tokens that together have this probability
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,

    /// Draw among tokens at least this share as likely as the most likely one
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,

    /// Above 1 makes tokens less likely that the text already has
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f32,

    /// A text that ends an answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,

    /// What goes through the chat template, as it was tokenized: chats, prompts with completion too, or nothing
    #[arg(long, value_name = "WHAT", default_value = "auto", value_parser = render())]
    pub(crate) render: Render,

    /// Use this chat template instead of the model's
    #[arg(long, value_name = "FILE")]
    pub(crate) chat_template: Option<PathBuf>,
}

/// The words of `--render`, as retune-tokenize has them.
fn render() -> impl TypedValueParser<Value = Render> {
    PossibleValuesParser::new(["auto", "chat", "plain"]).map(|word| match word.as_str() {
        "chat" => Render::Chat,
        "plain" => Render::Plain,
        _ => Render::Auto,
    })
}
