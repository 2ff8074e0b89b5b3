//! BLEU, equal to sacreBLEU 2.6 (Post 2018, <https://aclanthology.org/W18-6319>; Papineni et al. 2002).
//!
//! Precisions of 1- to 4-grams clipped by the references, smoothing (Chen and Cherry 2014,
//! <https://aclanthology.org/W14-3346>), brevity penalty against the closest reference length. 0 to 100. A row's own
//! value uses the effective order, as sacreBLEU's sentence score does.

mod tokenize;

use std::borrow::Cow;

use crate::metric::Metric;
use crate::ngrams::{self, Vocabulary};
use crate::python;
use crate::spec::{Spec, SpecError, named};
pub use tokenize::BleuTokenizer;

const ORDER: usize = 4;

/// What stands for a precision that is zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothing {
    /// Nothing: the score is zero.
    None,
    /// This count in place of no match.
    Floor(f64),
    /// This count added to matches and totals of all orders above one.
    AddK(f64),
    /// Halved with each order without a match: sacreBLEU's default.
    Exponential,
}

/// BLEU with sacreBLEU's options.
#[derive(Debug, Clone, Copy)]
pub struct Bleu {
    /// How a segment is cut into words.
    pub tokenizer: BleuTokenizer,
    /// Whether case is ignored.
    pub lowercase: bool,
    /// What happens to a precision of zero.
    pub smoothing: Smoothing,
    /// The longest n-gram.
    pub max_ngram_order: usize,
    /// Whether the corpus value stops at the first order that no prediction reaches.
    pub effective_order: bool,
}

impl Default for Bleu {
    fn default() -> Self {
        Self {
            tokenizer: BleuTokenizer::V13a,
            lowercase: false,
            smoothing: Smoothing::Exponential,
            max_ngram_order: ORDER,
            effective_order: false,
        }
    }
}

impl Bleu {
    const OPTIONS: [&'static str; 6] =
        ["tokenize", "lowercase", "smooth_method", "smooth_value", "max_ngram_order", "effective_order"];

    /// BLEU as written, on top of `base`.
    pub(crate) fn from_spec(base: Self, spec: &Spec) -> Result<Self, SpecError> {
        spec.only(&Self::OPTIONS)?;
        let tokenizers = BleuTokenizer::ALL.map(|tokenizer| (tokenizer.label(), tokenizer));
        let methods = [("exp", 0), ("floor", 1), ("add-k", 2), ("none", 3)];
        let method = spec.word("smooth_method", &methods)?.unwrap_or(0);
        let value = |default| spec.number("smooth_value", default, 0.0..=1e9, "a number of 0 or more");
        let smoothing = match method {
            1 => Smoothing::Floor(value(0.1)?),
            2 => Smoothing::AddK(value(1.0)?),
            _ if spec.text("smooth_value").is_some() => {
                return Err(spec.wrong("smooth_value", "smooth_method floor or add-k beside it", "another method"));
            }
            3 => Smoothing::None,
            _ => Smoothing::Exponential,
        };
        Ok(Self {
            tokenizer: spec.word("tokenize", &tokenizers)?.unwrap_or(base.tokenizer),
            lowercase: base.lowercase || spec.switch("lowercase")?,
            smoothing,
            max_ngram_order: spec.number("max_ngram_order", ORDER, 1..=16, "1 to 16")?,
            effective_order: spec.switch("effective_order")?,
        })
    }
}

/// Sums of a row: the two lengths, then matches of each order, then totals of each order.
const PREDICTED_LENGTH: usize = 0;
const REFERENCE_LENGTH: usize = 1;
const MATCHES: usize = 2;

impl Metric for Bleu {
    fn name(&self) -> Cow<'static, str> {
        let tokenizer = match self.tokenizer {
            BleuTokenizer::V13a => String::new(),
            other => format!("_{}", other.label()),
        };
        let base = format!("bleu{tokenizer}{}", if self.lowercase { "_lc" } else { "" });
        let (method, value) = match self.smoothing {
            Smoothing::Exponential => ("exp", None),
            Smoothing::None => ("none", None),
            Smoothing::Floor(value) => ("floor", Some(value).filter(|&value| value != 0.1)),
            Smoothing::AddK(value) => ("add-k", Some(value).filter(|&value| value != 1.0)),
        };
        named(
            &base,
            &[
                (method != "exp", format!("smooth_method={method}")),
                (value.is_some(), format!("smooth_value={}", value.unwrap_or_default())),
                (self.max_ngram_order != ORDER, format!("max_ngram_order={}", self.max_ngram_order)),
                (self.effective_order, "effective_order".to_owned()),
            ],
        )
    }

    fn signature(&self, references: &str) -> String {
        let case = if self.lowercase { "lc" } else { "mixed" };
        let effective = if self.effective_order { "yes" } else { "no" };
        let smooth = match self.smoothing {
            Smoothing::None => "none".to_owned(),
            Smoothing::Floor(value) => format!("floor[{value:.2}]"),
            Smoothing::AddK(value) => format!("add-k[{value:.2}]"),
            Smoothing::Exponential => "exp".to_owned(),
        };
        let order = if self.max_ngram_order == ORDER { String::new() } else { format!("|n:{}", self.max_ngram_order) };
        let tokenizer = self.tokenizer.label();
        format!("nrefs:{references}|case:{case}|eff:{effective}|tok:{tokenizer}|smooth:{smooth}{order}|version:2.6.0")
    }

    fn scale(&self) -> f64 {
        100.0
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let prediction = self.prepare(prediction);
        let references: Vec<String> = references.iter().map(|reference| self.prepare(reference)).collect();
        let mut vocabulary = Vocabulary::default();
        let predicted = vocabulary.encode(python::split(&prediction));
        let expected: Vec<Vec<u32>> =
            references.iter().map(|reference| vocabulary.encode(python::split(reference))).collect();
        let orders = self.max_ngram_order;
        let mut sums = vec![0.0; 2 * orders + 2];
        for order in 1..=orders {
            let counts = ngrams::count(&predicted, order, 32);
            let clip = expected
                .iter()
                .map(|words| ngrams::count(words, order, 32))
                .fold(Vec::new(), |clip, counts| ngrams::union_max(clip, &counts));
            sums[MATCHES + order - 1] = ngrams::overlap(&counts, &clip) as f64;
            sums[MATCHES + orders + order - 1] = ngrams::total(&counts) as f64;
        }
        sums[PREDICTED_LENGTH] = predicted.len() as f64;
        sums[REFERENCE_LENGTH] = closest_length(predicted.len(), expected.iter().map(Vec::len)) as f64;
        sums
    }

    fn row_value(&self, statistics: &[f64]) -> f64 {
        self.value(statistics, true)
    }

    fn corpus_value(&self, sums: &[f64], rows: usize) -> f64 {
        if rows == 0 { f64::NAN } else { self.value(sums, self.effective_order) }
    }
}

impl Bleu {
    fn prepare(self, text: &str) -> String {
        if self.lowercase {
            let text = text.to_lowercase();
            return self.tokenizer.apply(text.trim_end_matches(python::is_space));
        }
        self.tokenizer.apply(text.trim_end_matches(python::is_space))
    }

    fn value(self, sums: &[f64], effective_order: bool) -> f64 {
        let orders = self.max_ngram_order;
        let (matches, totals) = sums[MATCHES..].split_at(orders);
        if matches.iter().all(|&matches| matches == 0.0) {
            return 0.0;
        }
        let (mut smooth, mut order) = (1.0, orders);
        let mut logs = vec![finite_log(0.0); orders];
        for n in 0..orders {
            let added = match self.smoothing {
                Smoothing::AddK(value) if n > 0 => value,
                _ => 0.0,
            };
            let (matches, total) = (matches[n] + added, totals[n] + added);
            if total == 0.0 {
                break;
            }
            if effective_order {
                order = n + 1;
            }
            logs[n] = finite_log(match self.smoothing {
                _ if matches > 0.0 => 100.0 * matches / total,
                Smoothing::Exponential => {
                    smooth *= 2.0;
                    100.0 / (smooth * total)
                }
                Smoothing::Floor(value) => 100.0 * value / total,
                Smoothing::None | Smoothing::AddK(_) => 0.0,
            });
        }
        let (predicted, expected) = (sums[PREDICTED_LENGTH], sums[REFERENCE_LENGTH]);
        let brevity = match predicted < expected {
            true if predicted > 0.0 => (1.0 - expected / predicted).exp(),
            true => 0.0,
            false => 1.0,
        };
        brevity * (logs[..order].iter().sum::<f64>() / order as f64).exp()
    }
}

/// The reference length nearest to the prediction's; of two as near, the shorter.
fn closest_length(predicted: usize, lengths: impl Iterator<Item = usize>) -> usize {
    lengths.min_by_key(|&length| (predicted.abs_diff(length), length)).unwrap_or(0)
}

/// sacreBLEU's logarithm, finite at zero so that a missing order makes the score vanish rather than fail.
fn finite_log(value: f64) -> f64 {
    if value == 0.0 { -9_999_999_999.0 } else { value.ln() }
}
