//! The Porter stemmer with the extensions that NLTK applies by default, which is what `rouge-score` stems with.
//!
//! Porter 1980, "An algorithm for suffix stripping". Words here are lower-case ASCII letters and digits only.

/// Words that the rules would get wrong, with their stems.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

const STEP_2: [(&str, &str); 22] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
    ("logi", "log"),
];

const STEP_3: [(&str, &str); 7] =
    [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// The stem of a lower-case word.
pub(super) fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let word = step_1a(word);
    let word = step_1b(&word);
    let word = step_1c(&word);
    let word = step_2(&word);
    let word = step_3(&word);
    let word = step_4(&word);
    let word = step_5a(&word);
    step_5b(&word)
}

/// Plurals.
fn step_1a(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        return if word.len() == 4 { format!("{stem}ie") } else { format!("{stem}i") };
    }
    if let Some(stem) = word.strip_suffix("sses") {
        return format!("{stem}ss");
    }
    if word.ends_with("ss") {
        return word.to_owned();
    }
    word.strip_suffix('s').unwrap_or(word).to_owned()
}

/// Past tense and present participle.
fn step_1b(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return if word.len() == 4 { format!("{stem}ie") } else { format!("{stem}i") };
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word.to_owned() };
    }
    let stem = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix).filter(|stem| contains_vowel(stem)));
    let Some(stem) = stem else { return word.to_owned() };
    if ["at", "bl", "iz"].iter().any(|ending| stem.ends_with(ending)) {
        return format!("{stem}e");
    }
    if ends_double_consonant(stem) {
        let keeps_both = matches!(stem.as_bytes()[stem.len() - 1], b'l' | b's' | b'z');
        return if keeps_both { stem.to_owned() } else { stem[..stem.len() - 1].to_owned() };
    }
    if measure(stem) == 1 && ends_cvc(stem) { format!("{stem}e") } else { stem.to_owned() }
}

/// A final y after a consonant.
fn step_1c(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && is_consonant(stem.as_bytes(), stem.len() - 1) => format!("{stem}i"),
        _ => word.to_owned(),
    }
}

fn step_2(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step_2(&format!("{stem}al"));
    }
    for (suffix, replacement) in STEP_2 {
        if let Some(stem) = word.strip_suffix(suffix) {
            // "logi" counts its own l, so that "geologi" has the measure of "geol".
            let measured = if suffix == "logi" { &word[..word.len() - 3] } else { stem };
            return if measure(measured) > 0 { format!("{stem}{replacement}") } else { word.to_owned() };
        }
    }
    word.to_owned()
}

fn step_3(word: &str) -> String {
    for (suffix, replacement) in STEP_3 {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if measure(stem) > 0 { format!("{stem}{replacement}") } else { word.to_owned() };
        }
    }
    word.to_owned()
}

fn step_4(word: &str) -> String {
    for suffix in STEP_4 {
        if let Some(stem) = word.strip_suffix(suffix) {
            let fits = suffix != "ion" || stem.ends_with(['s', 't']);
            return if measure(stem) > 1 && fits { stem.to_owned() } else { word.to_owned() };
        }
    }
    word.to_owned()
}

/// A final e.
fn step_5a(word: &str) -> String {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || (measure(stem) == 1 && !ends_cvc(stem)) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// A final double l.
fn step_5b(word: &str) -> String {
    let single = word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1;
    if single { word[..word.len() - 1].to_owned() } else { word.to_owned() }
}

/// Whether the letter at `index` is a consonant; y is one at the start and after a vowel.
fn is_consonant(word: &[u8], index: usize) -> bool {
    match word[index] {
        b'a' | b'e' | b'i' | b'o' | b'u' => false,
        b'y' => index == 0 || !is_consonant(word, index - 1),
        _ => true,
    }
}

/// How many times a consonant follows a vowel: Porter's m.
fn measure(stem: &str) -> usize {
    let stem = stem.as_bytes();
    (1..stem.len()).filter(|&i| is_consonant(stem, i) && !is_consonant(stem, i - 1)).count()
}

fn contains_vowel(stem: &str) -> bool {
    (0..stem.len()).any(|index| !is_consonant(stem.as_bytes(), index))
}

fn ends_double_consonant(word: &str) -> bool {
    let bytes = word.as_bytes();
    let last = bytes.len().wrapping_sub(1);
    bytes.len() >= 2 && bytes[last] == bytes[last - 1] && is_consonant(bytes, last)
}

/// Consonant, vowel, consonant at the end, the last one not w, x or y; or just vowel, consonant.
fn ends_cvc(word: &str) -> bool {
    let bytes = word.as_bytes();
    match bytes.len() {
        0 | 1 => false,
        2 => !is_consonant(bytes, 0) && is_consonant(bytes, 1),
        length => {
            is_consonant(bytes, length - 3)
                && !is_consonant(bytes, length - 2)
                && is_consonant(bytes, length - 1)
                && !matches!(bytes[length - 1], b'w' | b'x' | b'y')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn stems_as_nltk_does() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("dies", "die"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("relational", "relat"),
            ("generalizations", "gener"),
            ("geologically", "geolog"),
            ("controlling", "control"),
            ("oscillators", "oscil"),
            ("proceed", "proceed"),
            ("skies", "sky"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
