//! Gopher's rules about repetition (Rae et al. 2021, table A1).

use std::collections::{HashMap, HashSet};

use super::{Finding, Rule, Rules};

/// Share of characters up to which the most frequent run of 2, 3 and 4 words is fine.
const TOP: [(usize, f64); 3] = [(2, 0.20), (3, 0.18), (4, 0.16)];
/// Share of characters up to which runs of that many words may stand twice.
const TWICE: [(usize, f64); 6] = [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)];

pub(super) fn check(text: &str, rules: Rules, findings: &mut Vec<Finding>) {
    let total = text.chars().count() as f64;
    if total == 0.0 {
        return;
    }
    let percent = |share: f64| (share * 100.0).round();
    for (rule, separator) in [(Rule::GopherDuplicateParagraphs, "\n\n"), (Rule::GopherDuplicateLines, "\n")] {
        if !rules.has(rule) {
            continue;
        }
        let (count, repeated, characters) = duplicates(text, separator);
        let (parts, share) = (repeated as f64 / count.max(1) as f64, characters as f64 / total);
        if parts > 0.3 || share > 0.2 {
            let what = if separator == "\n" { "lines" } else { "paragraphs" };
            let detail =
                format!("{} % of {what} with {} % of the characters are repeated", percent(parts), percent(share));
            findings.push(Finding::new(rule, detail));
        }
    }
    if !rules.has(Rule::GopherTopNgram) && !rules.has(Rule::GopherDuplicateNgrams) {
        return;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let top = TOP.iter().find_map(|(length, most)| {
        let share = top_run(&words, *length) as f64 / total;
        (share > *most).then(|| format!("one run of {length} words makes up {} % of the characters", percent(share)))
    });
    findings.extend(top.map(|detail| Finding::new(Rule::GopherTopNgram, detail)));
    let twice = TWICE.iter().find_map(|(length, most)| {
        let share = repeated_runs(&words, *length) as f64 / total;
        (share > *most)
            .then(|| format!("repeated runs of {length} words make up {} % of the characters", percent(share)))
    });
    findings.extend(twice.map(|detail| Finding::new(Rule::GopherDuplicateNgrams, detail)));
}

/// Parts that are not blank, those that stood before, and the characters of these.
pub(super) fn duplicates(text: &str, separator: &str) -> (usize, usize, usize) {
    let mut seen = HashSet::new();
    let (mut count, mut repeated, mut characters) = (0, 0, 0);
    for part in text.split(separator).map(str::trim).filter(|part| !part.is_empty()) {
        count += 1;
        if !seen.insert(part) {
            repeated += 1;
            characters += part.chars().count();
        }
    }
    (count, repeated, characters)
}

fn characters(run: &[&str]) -> usize {
    run.iter().map(|word| word.chars().count()).sum::<usize>() + run.len() - 1
}

/// Characters of all occurrences of the most frequent run, if it stands more than once; the longest of equals.
fn top_run(words: &[&str], length: usize) -> usize {
    let mut counts: HashMap<&[&str], usize> = HashMap::new();
    for run in words.windows(length) {
        *counts.entry(run).or_default() += 1;
    }
    let best = counts.values().copied().max().filter(|count| *count > 1);
    let top = counts.iter().filter(|(_, count)| Some(**count) == best).map(|(run, count)| characters(run) * count);
    top.max().unwrap_or_default()
}

/// Characters of runs that stood before; runs that overlap count once.
fn repeated_runs(words: &[&str], length: usize) -> usize {
    let mut seen: HashSet<&[&str]> = HashSet::new();
    let (mut index, mut total) = (0, 0);
    while index + length <= words.len() {
        let run = &words[index..index + length];
        if seen.insert(run) {
            index += 1;
        } else {
            total += run.iter().map(|word| word.chars().count()).sum::<usize>();
            index += length;
        }
    }
    total
}
