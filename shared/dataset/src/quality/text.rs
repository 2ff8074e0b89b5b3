//! The rules of Gopher, C4 and FineWeb for running text, with their published thresholds.

use super::repetition::{self, duplicates};
use super::{Finding, Rule, Rules};

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
const ENDS_OF_SENTENCES: [char; 12] = ['.', '!', '?', '"', '\'', '”', '。', '！', '？', '…', '؟', '।'];

pub(super) fn check(text: &str, rules: Rules, findings: &mut Vec<Finding>) {
    gopher(text, rules, findings);
    repetition::check(text, rules, findings);
    c4(text, rules, findings);
    fineweb(text, rules, findings);
}

fn gopher(text: &str, rules: Rules, findings: &mut Vec<Finding>) {
    if !rules.any("gopher") {
        return;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let count = words.len();
    let of_words = |number: usize| number as f64 / count.max(1) as f64;
    let mut found = |rule: Rule, wrong: bool, detail: String| {
        if wrong {
            findings.push(Finding::new(rule, detail));
        }
    };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let of_lines = |number: usize| number as f64 / lines.len().max(1) as f64;
    found(Rule::GopherWordCount, !(50..=100_000).contains(&count), format!("{count} words"));
    let length = of_words(words.iter().map(|word| word.chars().count()).sum());
    found(Rule::GopherWordLength, !(3.0..=10.0).contains(&length), format!("{length:.1} characters a word"));
    let symbols = text.matches('#').count().max(text.matches("...").count() + text.matches('…').count());
    found(Rule::GopherSymbols, of_words(symbols) > 0.1, format!("{symbols} symbols in {count} words"));
    let bullets = of_lines(lines.iter().filter(|line| line.trim_start().starts_with(['•', '-', '*', '‣'])).count());
    found(Rule::GopherBullets, bullets > 0.9, format!("{:.0} % of lines", bullets * 100.0));
    let open = of_lines(
        lines.iter().filter(|line| line.trim_end().ends_with("...") || line.trim_end().ends_with('…')).count(),
    );
    found(Rule::GopherEllipsis, open > 0.3, format!("{:.0} % of lines", open * 100.0));
    let letters = of_words(words.iter().filter(|word| word.chars().any(char::is_alphabetic)).count());
    found(Rule::GopherAlphabetic, letters < 0.8, format!("{:.0} % of words", letters * 100.0));
    let stop = STOP_WORDS.iter().filter(|stop| {
        words.iter().any(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case(stop))
    });
    let stop = stop.count();
    found(Rule::GopherStopWords, stop < 2, format!("{stop} of them: made for English"));
}

fn c4(text: &str, rules: Rules, findings: &mut Vec<Finding>) {
    if !rules.any("c4") {
        return;
    }
    let lower = text.to_lowercase();
    if text.contains(['{', '}']) {
        findings.push(Finding::new(Rule::C4CurlyBracket, "a curly bracket"));
    }
    if lower.contains("lorem ipsum") {
        findings.push(Finding::new(Rule::C4LoremIpsum, "lorem ipsum"));
    }
    if lower.contains("javascript") {
        findings.push(Finding::new(Rule::C4Javascript, "the word Javascript"));
    }
    let mut sentences = 0;
    let mut inside = false;
    for character in text.chars() {
        if matches!(character, '.' | '!' | '?' | '。' | '！' | '？' | '؟' | '।') {
            sentences += usize::from(inside);
            inside = false;
        } else {
            inside |= character.is_alphanumeric();
        }
    }
    sentences += usize::from(inside);
    if sentences < 3 {
        findings.push(Finding::new(Rule::C4FewSentences, format!("{sentences} sentences")));
    }
}

fn fineweb(text: &str, rules: Rules, findings: &mut Vec<Finding>) {
    if !rules.any("fineweb") {
        return;
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let share = |number: usize| number as f64 / lines.len().max(1) as f64;
    let ended = share(lines.iter().filter(|line| line.ends_with(ENDS_OF_SENTENCES)).count());
    if ended <= 0.12 {
        findings.push(Finding::new(Rule::FinewebLinePunctuation, format!("{:.0} % of lines", ended * 100.0)));
    }
    let short = share(lines.iter().filter(|line| line.chars().count() < 30).count());
    if short >= 0.67 {
        findings.push(Finding::new(Rule::FinewebShortLines, format!("{:.0} % of lines", short * 100.0)));
    }
    let repeated = duplicates(text, "\n").2 as f64 / text.chars().count().max(1) as f64;
    if repeated >= 0.1 {
        findings.push(Finding::new(Rule::FinewebDuplicateLines, format!("{:.0} % of characters", repeated * 100.0)));
    }
}
