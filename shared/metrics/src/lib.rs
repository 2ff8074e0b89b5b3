//! Metrics of generated text, of loss, and of how far chance alone would carry them.
//!
//! Each [`Metric`] reduces one prediction and its references to a few sums ([`Metric::statistics`]); a value of the
//! whole corpus is a function of the sums over all rows. That one shape serves a mean (exact match), a ratio of sums
//! (BLEU, chrF, TER) and the bootstrap, which needs nothing but sums over resampled rows. Values equal those of
//! sacreBLEU 2.6 and of the `rouge-score` package; a metric's signature says what exactly was computed.

mod bleu;
mod bootstrap;
mod chrf;
mod classes;
mod confusion;
mod exact_match;
mod gate;
mod json;
mod metric;
mod ngrams;
mod numeric;
mod overfitting;
mod pattern;
mod perplexity;
mod python;
mod registry;
mod rouge;
mod spec;
mod squad;
mod suspects;
mod ter;

pub use bleu::{Bleu, BleuTokenizer, Smoothing};
pub use bootstrap::{
    Bootstrap, Difference, FEWEST_ROWS, Interval, confidence_interval, difference, differences, interval,
    paired_difference, resample,
};
pub use chrf::ChrF;
pub use classes::{Average, ClassFigure, ClassMean};
pub use confusion::{ClassScore, Confusion};
pub use exact_match::{Accuracy, ExactMatch, Normalisation};
pub use gate::{Comparison, Gate, GateError, GateInput, GateOutcome, Gauge, Unit};
pub use json::{Json, JsonRule};
pub use metric::{MeanOf, Metric, Pair, Score, Statistics, score};
pub use numeric::{Numeric, NumericRule};
pub use overfitting::{CurvePoint, FitVerdict, Overfitting, judge_fit};
pub use pattern::Pattern;
pub use perplexity::{LossSummary, LossTotals, TextFigures};
pub use registry::{known_names, select};
pub use rouge::{Rouge, RougeKind, RougePart};
pub use spec::SpecError;
pub use squad::{SquadF1, normalise_answer};
pub use suspects::{Course, Suspect, SuspectReason, find_suspects};
pub use ter::Ter;
