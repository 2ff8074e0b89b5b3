//! Metrics by the names that a person types.

use crate::bleu::{Bleu, BleuTokenizer};
use crate::chrf::ChrF;
use crate::exact_match::{Accuracy, ExactMatch, Normalisation};
use crate::metric::Metric;
use crate::rouge::{Rouge, RougeKind};
use crate::squad::SquadF1;
use crate::ter::Ter;

/// A name that stands for no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{name}`")]
pub struct UnknownMetric {
    /// What was asked for.
    pub name: String,
}

const ROUGE_KINDS: [RougeKind; 4] = [RougeKind::One, RougeKind::Two, RougeKind::L, RougeKind::Lsum];

/// Every single metric, in the order in which reports show them.
fn all() -> Vec<Box<dyn Metric>> {
    let mut metrics: Vec<Box<dyn Metric>> = vec![
        Box::new(ExactMatch { normalisation: Normalisation::Trimmed }),
        Box::new(ExactMatch { normalisation: Normalisation::Squad }),
        Box::new(SquadF1),
        Box::new(Accuracy),
    ];
    for stemmer in [false, true] {
        for kind in ROUGE_KINDS {
            metrics.push(Box::new(Rouge { kind, stemmer }));
        }
    }
    for lowercase in [false, true] {
        for tokenizer in
            [BleuTokenizer::V13a, BleuTokenizer::International, BleuTokenizer::Character, BleuTokenizer::None]
        {
            metrics.push(Box::new(Bleu { tokenizer, lowercase }));
        }
    }
    metrics.push(Box::new(ChrF { word_order: 0 }));
    metrics.push(Box::new(ChrF { word_order: 2 }));
    metrics.push(Box::new(Ter));
    metrics
}

/// Every name that [`select`] knows, groups included.
pub fn known_names() -> Vec<String> {
    let groups = ["rouge", "rouge_stemmed"].map(str::to_owned);
    all().iter().map(|metric| metric.name().to_owned()).chain(groups).collect()
}

/// The metrics that `names` stand for, in order and each once. Case, `-` and `_` do not matter; `rouge` stands for
/// `rouge1`, `rouge2`, `rougeL` and `rougeLsum`.
///
/// # Errors
/// [`UnknownMetric`] for the first name that stands for nothing.
pub fn select<S: AsRef<str>>(names: &[S]) -> Result<Vec<Box<dyn Metric>>, UnknownMetric> {
    let mut chosen: Vec<Box<dyn Metric>> = Vec::new();
    for name in names {
        let wanted = plain(name.as_ref());
        let mut found = false;
        for metric in all().into_iter().filter(|metric| fits(&wanted, metric.name())) {
            found = true;
            if chosen.iter().all(|other| other.name() != metric.name()) {
                chosen.push(metric);
            }
        }
        if !found {
            return Err(UnknownMetric { name: name.as_ref().to_owned() });
        }
    }
    Ok(chosen)
}

fn fits(wanted: &str, name: &str) -> bool {
    let group = match wanted {
        "rouge" => name.starts_with("rouge") && !name.ends_with("_stemmed"),
        "rougestemmed" => name.ends_with("_stemmed"),
        _ => false,
    };
    group || plain(name) == wanted
}

/// A name without what people write in different ways.
fn plain(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_forgiving_and_unique() {
        let names = |wanted: &[&str]| -> Vec<&str> {
            select(wanted).expect("known names").iter().map(|metric| metric.name()).collect()
        };
        assert_eq!(names(&["rouge_l", "Exact-Match", "chrF++"]), ["rougeL", "exact_match", "chrf++"]);
        assert_eq!(names(&["rouge", "rouge1"]), ["rouge1", "rouge2", "rougeL", "rougeLsum"]);
        assert_eq!(select(&["blue"]).err(), Some(UnknownMetric { name: "blue".to_owned() }));
        for name in known_names() {
            assert!(select(&[name]).is_ok());
        }
    }
}
