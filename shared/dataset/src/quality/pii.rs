//! Secrets and personal data: e-mail addresses, phone numbers, payment cards and keys, found by their patterns.
//!
//! A pattern is a hint, no proof: names and addresses are not found, and a number that looks like a phone number may be
//! something else. Card numbers must pass the Luhn check, keys must have a known prefix.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use artifact::{Example, Message};
use regex::{Captures, Regex, RegexSet};

use super::Finding;
use crate::normal::texts;

/// `--pii`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pii {
    /// Not looked for.
    #[default]
    Off,
    /// Counted, with examples in the report.
    Flag,
    /// Replaced by `[EMAIL]`, `[PHONE]`, `[CARD]`, `[KEY]`.
    Mask,
    /// Rows with any are set aside.
    Reject,
}

/// How many of each kind, by its code.
pub(crate) type Kinds = BTreeMap<&'static str, usize>;

struct Kind {
    code: &'static str,
    mask: &'static str,
    pattern: &'static str,
    /// What the pattern cannot say.
    real: fn(&str) -> bool,
}

const KINDS: [Kind; 4] = [
    Kind { code: "pii_key", mask: "[KEY]", pattern: KEY, real: |_| true },
    Kind { code: "pii_email", mask: "[EMAIL]", pattern: EMAIL, real: |_| true },
    Kind { code: "pii_card", mask: "[CARD]", pattern: CARD, real: is_card },
    Kind { code: "pii_phone", mask: "[PHONE]", pattern: PHONE, real: is_phone },
];

const EMAIL: &str = r"(?i)\b[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}\b";
const CARD: &str = r"\b[2-6](?:[ -]?[0-9]){12,18}\b";
const PHONE: &str = r"(?:\+[0-9]{1,3}(?:[ .\-/]?\(?[0-9]{1,4}\)?){2,6}|\([0-9]{3}\) ?[0-9]{3}[ .\-][0-9]{4}|\b[0-9]{3}[.\-][0-9]{3}[.\-][0-9]{4})\b";
const KEY: &str = r"(?x)
    \bAKIA[0-9A-Z]{16}\b
    | \bgh[pousr]_[A-Za-z0-9]{36,}\b
    | \bgithub_pat_[A-Za-z0-9_]{50,}\b
    | \bsk-[A-Za-z0-9_-]{20,}\b
    | \b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}\b
    | \bxox[abprs]-[A-Za-z0-9-]{10,}\b
    | \bAIza[0-9A-Za-z_-]{35}\b
    | \bhf_[A-Za-z0-9]{30,}\b
    | \bglpat-[A-Za-z0-9_-]{20,}\b
    | \beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}
    | -----BEGIN\x20(?:[A-Z]+\x20)?PRIVATE\x20KEY-----(?s:.)*?(?:-----END\x20(?:[A-Z]+\x20)?PRIVATE\x20KEY-----|\z)";

static PATTERNS: LazyLock<Vec<Regex>> =
    LazyLock::new(|| KINDS.iter().map(|kind| Regex::new(kind.pattern).expect("a pattern of ours")).collect());
static ANY: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(KINDS.iter().map(|kind| kind.pattern)).expect("patterns of ours"));

/// Luhn's check over 13 to 19 digits that are not all the same.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|character| character.to_digit(10)).collect();
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { doubled(*digit) } else { *digit })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != digits[0])
}

/// International numbers have 8 to 15 digits (E.164).
fn is_phone(text: &str) -> bool {
    (8..=15).contains(&text.chars().filter(char::is_ascii_digit).count())
}

/// Cheap to see: without an at sign, a digit run or a key's mark there is nothing to find.
fn may_have(text: &str) -> bool {
    ANY.is_match(text)
}

/// How many of each kind an example has.
pub(crate) fn count(example: &Example) -> Kinds {
    let mut found = Kinds::new();
    for text in texts(example).filter(|text| may_have(text)) {
        mask(text, &mut found);
    }
    found
}

/// Masks all that is said in an example; how many of each kind it had.
pub(crate) fn mask_all(example: &mut Example) -> Kinds {
    let mut found = Kinds::new();
    let mut one = |text: &mut String| {
        if may_have(text) {
            *text = mask(text, &mut found);
        }
    };
    example.text.as_mut().map(&mut one);
    let turns = example.messages.iter_mut().chain(&mut example.chosen).chain(&mut example.rejected);
    for Message { content, tool_calls, .. } in turns {
        content.as_mut().map(&mut one);
        tool_calls.as_mut().map(&mut one);
    }
    found
}

fn mask(text: &str, found: &mut Kinds) -> String {
    let mut masked = text.to_owned();
    for (kind, pattern) in KINDS.iter().zip(PATTERNS.iter()) {
        let replaced = pattern.replace_all(&masked, |captures: &Captures| {
            let whole = &captures[0];
            if (kind.real)(whole) {
                *found.entry(kind.code).or_default() += 1;
                kind.mask.to_owned()
            } else {
                whole.to_owned()
            }
        });
        masked = replaced.into_owned();
    }
    masked
}

/// What was found, one finding for each kind; the values themselves are never told.
pub(crate) fn findings(kinds: &Kinds) -> Vec<Finding> {
    kinds.iter().map(|(code, count)| Finding { code, detail: format!("{count} in the row") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        mask(text, &mut Kinds::new())
    }

    #[test]
    fn patterns_find_what_they_are_for() {
        assert_eq!(masked("Write to jane.doe+x@mail.example.org."), "Write to [EMAIL].");
        assert_eq!(masked("Card 4111 1111 1111 1111, not 4111 1111 1111 1112"), "Card [CARD], not 4111 1111 1111 1112");
        assert_eq!(masked("+49 (0)30 1234567 or (415) 555-0132 or 415-555-0132"), "[PHONE] or [PHONE] or [PHONE]");
        let key = format!("AKIA{} and ghp_{}", "A1".repeat(8), "a".repeat(36));
        assert_eq!(masked(&key), "[KEY] and [KEY]");
        assert_eq!(masked("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----!"), "[KEY]!");
    }

    #[test]
    fn plain_numbers_and_dates_are_left_alone() {
        for text in
            ["2024-11-25", "3.14159265358979", "12345", "1,234,567.89", "1999-2000", "a@b", "+1 is more", "10.0.0.1"]
        {
            assert_eq!(masked(text), text);
        }
    }
}
