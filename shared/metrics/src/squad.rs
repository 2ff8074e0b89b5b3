//! SQuAD's answer normalisation and token F1 (Rajpurkar et al. 2016, <https://arxiv.org/abs/1606.05250>).

use std::borrow::Cow;

use crate::metric::Metric;
use crate::ngrams::{self, Vocabulary};
use crate::python;
use std::sync::LazyLock;

/// Runs of what Python's `\w` takes: letters and numbers of any kind and the underscore, but no combining marks, which Rust's
/// takes too.
static WORDS: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"[\p{L}\p{N}_]+").expect("a constant pattern"));

/// Lower case, ASCII punctuation removed, English articles removed, runs of white space made one space.
pub fn normalise_answer(text: &str) -> String {
    let bare: String = text.to_lowercase().chars().filter(|&character| !python::is_punctuation(character)).collect();
    python::split(&without_articles(&bare)).collect::<Vec<_>>().join(" ")
}

/// The text with a space in place of each English article in lower case.
pub(crate) fn without_articles(text: &str) -> String {
    let replaced = WORDS.replace_all(text, |found: &regex::Captures<'_>| match &found[0] {
        "a" | "an" | "the" => " ".to_owned(),
        word => word.to_owned(),
    });
    replaced.into_owned()
}

/// F1 over the words that prediction and reference share, best over references, mean over rows. Where either side has
/// no word left after normalisation it is 1 if both have none, else 0 (the rule of SQuAD 2.0).
#[derive(Debug, Clone, Copy)]
pub struct SquadF1;

impl Metric for SquadF1 {
    fn name(&self) -> Cow<'static, str> {
        "f1".into()
    }

    fn signature(&self, references: &str) -> String {
        format!("nrefs:{references}|tokens:words|case:lc|punct:no|articles:no|like:squad2.0")
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let prediction = normalise_answer(prediction);
        let best =
            references.iter().map(|reference| token_f1(&prediction, &normalise_answer(reference))).fold(0.0, f64::max);
        vec![best]
    }
}

/// F1 of two normalised answers.
fn token_f1(prediction: &str, reference: &str) -> f64 {
    let mut vocabulary = Vocabulary::default();
    let predicted = vocabulary.encode(python::split(prediction));
    let expected = vocabulary.encode(python::split(reference));
    if predicted.is_empty() || expected.is_empty() {
        return f64::from(u8::from(predicted == expected));
    }
    let shared = ngrams::overlap(&ngrams::count(&predicted, 1, 32), &ngrams::count(&expected, 1, 32)) as f64;
    if shared == 0.0 {
        return 0.0;
    }
    let precision = shared / predicted.len() as f64;
    let recall = shared / expected.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combining_mark_ends_a_word_as_in_python() {
        // `re.sub(r"\b(a|an|the)\b", " ", …)` takes the bare letter between two marks.
        assert_eq!(without_articles("e\u{301}a\u{300} an_a the"), "e\u{301} \u{300} an_a  ");
    }

    #[test]
    fn normalisation_follows_squad() {
        assert_eq!(normalise_answer("The  U.S.A.'s an-them, a\tsong"), "usas anthem song");
        // An article is removed only as a whole word, whatever script surrounds it.
        assert_eq!(normalise_answer("theatre a é"), "theatre é");
    }

    #[test]
    fn f1_counts_shared_words_with_repeats() {
        let f1 = |p: &str, r: &[&str]| SquadF1.statistics(p, r)[0];
        assert_eq!(f1("the cat sat", &["a cat sat down"]), 0.8);
        assert_eq!(f1("no no no", &["no"]), 0.5);
        assert_eq!(f1("", &["the"]), 1.0);
        assert_eq!(f1("x", &["y", "x"]), 1.0);
        assert_eq!(f1("x", &["y"]), 0.0);
    }
}
