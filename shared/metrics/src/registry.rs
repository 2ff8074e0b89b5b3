//! Metrics by the names that a person types.

use crate::bleu::{Bleu, BleuTokenizer};
use crate::chrf::ChrF;
use crate::classes::{Average, ClassFigure, ClassMean};
use crate::exact_match::{Accuracy, ExactMatch};
use crate::json::{Json, JsonRule};
use crate::metric::Metric;
use crate::numeric::{Numeric, NumericRule};
use crate::rouge::{Rouge, RougeKind};
use crate::spec::{Spec, SpecError};
use crate::squad::SquadF1;
use crate::ter::Ter;

/// Several metrics under one name.
const GROUPS: [(&str, &[&str]); 5] = [
    ("rouge", &["rouge1", "rouge2", "rougeL", "rougeLsum"]),
    ("rouge_stemmed", &["rouge1_stemmed", "rouge2_stemmed", "rougeL_stemmed", "rougeLsum_stemmed"]),
    ("squad", &["exact_match_squad", "f1"]),
    ("classification", &["accuracy", "f1_macro", "f1_weighted"]),
    ("translation", &["bleu", "chrf", "chrf++", "ter"]),
];

/// Every single metric without options, in the order in which reports show them.
fn names() -> Vec<String> {
    let mut names: Vec<String> = ["exact_match", "exact_match_squad", "f1", "accuracy"].map(str::to_owned).to_vec();
    for average in ["macro", "weighted"] {
        names.extend(["precision", "recall", "f1"].map(|figure| format!("{figure}_{average}")));
    }
    names.extend(["numeric", "gsm8k_strict", "gsm8k_flexible"].map(str::to_owned));
    names.extend(["json_valid", "json_match", "json_fields"].map(str::to_owned));
    for suffix in ["", "_stemmed"] {
        names.extend(["1", "2", "L", "Lsum"].map(|kind| format!("rouge{kind}{suffix}")));
    }
    for case in ["", "_lc"] {
        names.extend(["", "_intl", "_zh", "_char", "_none"].map(|tokenizer| format!("bleu{tokenizer}{case}")));
    }
    names.extend(["chrf", "chrf++", "ter"].map(str::to_owned));
    names
}

/// Every name that [`select`] knows, groups included.
pub fn known_names() -> Vec<String> {
    names().into_iter().chain(GROUPS.map(|(name, _)| name.to_owned())).collect()
}

/// The metrics that `names` stand for, in order and each once. Case, `-` and `_` do not matter; `rouge` stands for
/// `rouge1`, `rouge2`, `rougeL` and `rougeLsum`, and options follow a colon: `bleu:tokenize=zh:lowercase`.
///
/// # Errors
/// [`SpecError`] for the first name that stands for nothing, or option that is not there.
pub fn select<S: AsRef<str>>(names: &[S]) -> Result<Vec<Box<dyn Metric>>, SpecError> {
    let mut chosen: Vec<Box<dyn Metric>> = Vec::new();
    for name in names {
        for metric in expand(name.as_ref())? {
            if chosen.iter().all(|other| other.name() != metric.name()) {
                chosen.push(metric);
            }
        }
    }
    Ok(chosen)
}

/// One metric, or those of a group; options go to each.
fn expand(text: &str) -> Result<Vec<Box<dyn Metric>>, SpecError> {
    let spec = Spec::parse(text);
    let wanted = plain(&spec.name);
    let Some((_, members)) = GROUPS.iter().find(|(group, _)| plain(group) == wanted) else {
        return Ok(vec![single(&spec)?]);
    };
    members.iter().map(|member| single(&Spec { name: (*member).to_owned(), ..spec.clone() })).collect()
}

fn single(spec: &Spec) -> Result<Box<dyn Metric>, SpecError> {
    let name = plain(&spec.name);
    if let Some(rest) = name.strip_prefix("rouge") {
        return rouge(rest, spec);
    }
    if let Some(rest) = name.strip_prefix("bleu") {
        return bleu(rest, spec);
    }
    for (figure, word) in
        [(ClassFigure::Precision, "precision"), (ClassFigure::Recall, "recall"), (ClassFigure::F1, "f1")]
    {
        for (average, ending) in [(Average::Macro, "macro"), (Average::Weighted, "weighted")] {
            if name == format!("{word}{ending}") {
                return fixed(spec, ClassMean::new(figure, average));
            }
        }
    }
    match name.as_str() {
        "exactmatch" => Ok(Box::new(ExactMatch::from_spec(spec)?)),
        "exactmatchsquad" => fixed(spec, ExactMatch::squad()),
        "f1" => fixed(spec, SquadF1),
        "accuracy" => fixed(spec, Accuracy),
        "numeric" => fixed(spec, Numeric { rule: NumericRule::Number }),
        "gsm8kstrict" => fixed(spec, Numeric { rule: NumericRule::Gsm8kStrict }),
        "gsm8kflexible" => fixed(spec, Numeric { rule: NumericRule::Gsm8kFlexible }),
        "jsonvalid" => Ok(Box::new(Json::from_spec(JsonRule::Valid, spec)?)),
        "jsonmatch" => Ok(Box::new(Json::from_spec(JsonRule::Match, spec)?)),
        "jsonfields" => Ok(Box::new(Json::from_spec(JsonRule::Fields, spec)?)),
        "chrf" => Ok(Box::new(ChrF::from_spec(ChrF::default(), spec)?)),
        "chrf++" => Ok(Box::new(ChrF::from_spec(ChrF::plus_plus(), spec)?)),
        "ter" => Ok(Box::new(Ter::from_spec(spec)?)),
        _ => Err(unknown(spec)),
    }
}

fn rouge(rest: &str, spec: &Spec) -> Result<Box<dyn Metric>, SpecError> {
    let (kind, stemmer) = match rest.strip_suffix("stemmed") {
        Some(kind) => (kind, true),
        None => (rest, false),
    };
    let kind = match kind {
        "l" => RougeKind::L,
        "lsum" => RougeKind::Lsum,
        digit => match digit.parse() {
            Ok(order @ 1..=9) if digit.len() == 1 => RougeKind::Ngram(order),
            _ => return Err(unknown(spec)),
        },
    };
    Ok(Box::new(Rouge::from_spec(Rouge::new(kind, stemmer), spec)?))
}

fn bleu(rest: &str, spec: &Spec) -> Result<Box<dyn Metric>, SpecError> {
    let (tokenizer, lowercase) = match rest.strip_suffix("lc") {
        Some(tokenizer) => (tokenizer, true),
        None => (rest, false),
    };
    let known = BleuTokenizer::ALL.into_iter().find(|known| known.label() == tokenizer);
    let tokenizer = match known {
        Some(known) => known,
        None if tokenizer.is_empty() => BleuTokenizer::V13a,
        None => return Err(unknown(spec)),
    };
    Ok(Box::new(Bleu::from_spec(Bleu { tokenizer, lowercase, ..Bleu::default() }, spec)?))
}

/// A metric that takes no option.
fn fixed(spec: &Spec, metric: impl Metric + 'static) -> Result<Box<dyn Metric>, SpecError> {
    spec.only(&[])?;
    Ok(Box::new(metric))
}

fn unknown(spec: &Spec) -> SpecError {
    SpecError::UnknownMetric { name: spec.name.clone() }
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
        let names = |wanted: &[&str]| -> Vec<String> {
            select(wanted).expect("known names").iter().map(|metric| metric.name().into_owned()).collect()
        };
        assert_eq!(names(&["rouge_l", "Exact-Match", "chrF++"]), ["rougeL", "exact_match", "chrf++"]);
        assert_eq!(names(&["rouge", "rouge1"]), ["rouge1", "rouge2", "rougeL", "rougeLsum"]);
        assert_eq!(names(&["bleu:tokenize=intl:lowercase", "bleu_intl_lc"]), ["bleu_intl_lc"]);
        assert_eq!(names(&["rouge9:use_stemmer:part=recall"]), ["rouge9_stemmed:part=recall"]);
        assert_eq!(select(&["blue"]).err(), Some(SpecError::UnknownMetric { name: "blue".to_owned() }));
        assert!(select(&["bleu:tokenise=zh"]).err().is_some_and(|error| error.to_string().contains("tokenize")));
        assert!(select(&["rouge10"]).is_err() && select(&["f1:fast"]).is_err());
    }

    #[test]
    fn a_metric_is_found_by_the_name_that_it_gives_itself() {
        let odd = [
            "bleu:smooth_method=floor:smooth_value=0.5:max_ngram_order=2:effective_order",
            "chrf:char_order=4:word_order=1:beta=3:lowercase:whitespace:eps_smoothing",
            "ter:normalized:no_punct:asian_support:case_sensitive",
            "json_fields:extract:keys=a+b",
            "exact_match:ignore_case:ignore_space",
        ];
        for name in known_names().into_iter().chain(odd.map(str::to_owned)) {
            for metric in select(std::slice::from_ref(&name)).expect("a known name") {
                let again = select(&[metric.name()]).expect("its own name");
                assert_eq!((again.len(), again[0].name()), (1, metric.name()), "{name}");
                assert_eq!(again[0].signature("1"), metric.signature("1"), "{name}");
            }
        }
    }
}
