//! The number that an answer ends in, as grade-school word problems ask for it (Cobbe et al. 2021,
//! <https://arxiv.org/abs/2110.14168>).
//!
//! `numeric` compares numbers. `gsm8k_strict` and `gsm8k_flexible` compare texts exactly as the task `gsm8k` of
//! lm-evaluation-harness does with its filters `strict-match` and `flexible-extract`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::metric::Metric;
use crate::python::strip;

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?|-?\.[0-9]+"));
static STRICT: LazyLock<Regex> = LazyLock::new(|| pattern(r"#### (\-?[0-9\.,]+)"));
static FLEXIBLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(-?[$0-9.,]{2,})|(-?[0-9]+)"));
static BEFORE_ANSWER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s).*#### "));
static LAST_POINT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\.(\n?)\z"));

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// How the answer is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumericRule {
    /// The last number behind the last `####`, or of the whole text where there is none; equal as a number.
    Number,
    /// What stands behind `#### `; equal as a text.
    Gsm8kStrict,
    /// The last thing that looks like a number; equal as a text.
    Gsm8kFlexible,
}

/// 1 where the answer's number is the reference's, else 0.
#[derive(Debug, Clone, Copy)]
pub struct Numeric {
    /// How it is found.
    pub rule: NumericRule,
}

/// A difference of numbers that counts as none, as a share of the larger one.
const TOLERANCE: f64 = 1e-6;

impl Metric for Numeric {
    fn name(&self) -> Cow<'static, str> {
        match self.rule {
            NumericRule::Number => "numeric",
            NumericRule::Gsm8kStrict => "gsm8k_strict",
            NumericRule::Gsm8kFlexible => "gsm8k_flexible",
        }
        .into()
    }

    fn signature(&self, references: &str) -> String {
        let rule = match self.rule {
            NumericRule::Number => "take:last|after:####|tolerance:1e-6",
            NumericRule::Gsm8kStrict => "filter:strict-match|case:lc|like:lm-evaluation-harness",
            NumericRule::Gsm8kFlexible => "filter:flexible-extract|case:lc|like:lm-evaluation-harness",
        };
        format!("nrefs:{references}|{rule}")
    }

    fn statistics(&self, prediction: &str, references: &[&str]) -> Vec<f64> {
        let held = match self.rule {
            NumericRule::Number => match number(prediction) {
                Some(found) => references.iter().filter_map(|reference| number(reference)).any(|n| near(found, n)),
                None => false,
            },
            NumericRule::Gsm8kStrict => equal_text(&strict(prediction), references),
            NumericRule::Gsm8kFlexible => equal_text(&flexible(prediction), references),
        };
        vec![f64::from(u8::from(held))]
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
}

/// The number that a text ends in.
fn number(text: &str) -> Option<f64> {
    // Models that write mathematics as it is printed have a minus of their own.
    let text = text.replace('\u{2212}', "-");
    let (_, answer) = text.rsplit_once("####").unwrap_or(("", &text));
    let found = NUMBER.find_iter(answer).last()?;
    // A hyphen between two numbers, as in 3-4, is no sign.
    let before = answer[..found.start()].chars().next_back();
    let text = match before {
        Some(character) if character.is_ascii_digit() => found.as_str().trim_start_matches('-'),
        _ => found.as_str(),
    };
    text.replace(',', "").parse().ok()
}

const INVALID: &str = "[invalid]";

fn strict(text: &str) -> String {
    let found = STRICT.captures(text).map(|found| strip(&found[1]).to_owned());
    found.unwrap_or_else(|| INVALID.to_owned())
}

fn flexible(text: &str) -> String {
    let found = FLEXIBLE.find_iter(text).last().map(|found| strip(found.as_str()).to_owned());
    found.unwrap_or_else(|| INVALID.to_owned())
}

fn equal_text(answer: &str, references: &[&str]) -> bool {
    let bare = |text: &str| {
        let text = text.replace([',', '$'], "");
        let text = BEFORE_ANSWER.replace_all(&text, "");
        LAST_POINT.replace(&text, "$1").to_lowercase()
    };
    let answer = bare(answer);
    references.iter().any(|reference| bare(reference) == answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(rule: NumericRule, prediction: &str, reference: &str) -> bool {
        Numeric { rule }.statistics(prediction, &[reference]) == [1.0]
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let reference = "She sold 48 / 2 = 24 clips.\n#### 1,072";
        for right in ["#### 1072", "So it is $1,072.00.", "1072", "the answer: 1072 dollars."] {
            assert!(held(NumericRule::Number, right, reference), "{right}");
        }
        for wrong in ["", "#### none", "-1072", "1072 and then 3", "#### 1073"] {
            assert!(!held(NumericRule::Number, wrong, reference), "{wrong}");
        }
        let numbers = ["3-4", "x = -.5", "10,", "x = \u{2212}5"].map(number);
        assert_eq!(numbers, [Some(4.0), Some(-0.5), Some(10.0), Some(-5.0)]);
    }

    #[test]
    fn the_harness_filters_are_followed() {
        let reference = "so 70,000.\n#### 70000";
        assert!(held(NumericRule::Gsm8kStrict, "first\n#### 70,000.", reference));
        assert!(!held(NumericRule::Gsm8kStrict, "70000", reference));
        assert!(held(NumericRule::Gsm8kFlexible, "he made $70,000.", reference));
        assert!(!held(NumericRule::Gsm8kFlexible, "70000 or 5", reference));
        assert!(!held(NumericRule::Gsm8kFlexible, "none", reference));
    }
}
