//! Metrics of generated text, of loss, and of how far chance alone would carry them.
//!
//! Each [`Metric`] reduces one prediction and its references to a few sums ([`Metric::statistics`]); a value of the
//! whole corpus is a function of the sums over all rows. That one shape serves a mean (exact match), a ratio of sums
//! (BLEU, chrF, TER) and the bootstrap, which needs nothing but sums over resampled rows. Values equal those of
//! sacreBLEU 2.6 and of the `rouge-score` package; a metric's signature says what exactly was computed.

mod bleu;
mod bootstrap;
mod chrf;
mod confusion;
mod exact_match;
mod gate;
mod metric;
mod ngrams;
mod overfitting;
mod perplexity;
mod python;
mod registry;
mod rouge;
mod squad;
mod ter;

pub use bleu::{Bleu, BleuTokenizer};
pub use bootstrap::{Bootstrap, Difference, Interval, confidence_interval, paired_difference};
pub use chrf::ChrF;
pub use confusion::{ClassScore, Confusion};
pub use exact_match::{Accuracy, ExactMatch, Normalisation};
pub use gate::{Comparison, Gate, GateError, GateInput, GateOutcome};
pub use metric::{Metric, Pair, Score, score};
pub use overfitting::{CurvePoint, FitVerdict, Overfitting, judge_fit};
pub use perplexity::{LossSummary, LossTotals};
pub use registry::{UnknownMetric, known_names, select};
pub use rouge::{Rouge, RougeKind};
pub use squad::{SquadF1, normalise_answer};
pub use ter::Ter;
