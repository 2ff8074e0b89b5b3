//! sacreBLEU's tokenizers `13a`, `intl`, `zh`, `char` and `none`, as text in which words stand between spaces.

use std::sync::LazyLock;

use regex::Regex;

/// How BLEU cuts a segment into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BleuTokenizer {
    /// mteval-v13a's rules, the default of sacreBLEU.
    V13a,
    /// mteval-v14's international rules: Unicode punctuation and symbols stand alone.
    International,
    /// Chinese: each Chinese character is a word, the rest as in 13a.
    Chinese,
    /// Each character is a word.
    Character,
    /// Words are what stands between white space.
    None,
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

static RULES_13A: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    [
        // ASCII punctuation other than , . - and ' stands alone.
        (pattern(r"([\{-\~\[-\` -\&\(-\+\:-\@/])"), " $1 "),
        // A period or comma not preceded by a digit, and one not followed by a digit.
        (pattern(r"([^0-9])([\.,])"), "$1 $2 "),
        (pattern(r"([\.,])([^0-9])"), " $1 $2"),
        // A dash preceded by a digit.
        (pattern(r"([0-9])(-)"), "$1 $2 "),
    ]
});

static RULES_INTERNATIONAL: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    [(pattern(r"(\P{N})(\p{P})"), "$1 $2 "), (pattern(r"(\p{P})(\P{N})"), " $1 $2"), (pattern(r"(\p{S})"), " $1 ")]
});

impl BleuTokenizer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::V13a, Self::International, Self::Chinese, Self::Character, Self::None];

    /// The name in a signature.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::Chinese => "zh",
            Self::Character => "char",
            Self::None => "none",
        }
    }

    /// The text with white space between words.
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Self::V13a => rewrite(&format!(" {} ", unescape(text)), RULES_13A.as_slice()),
            Self::International => rewrite(text, RULES_INTERNATIONAL.as_slice()),
            Self::Chinese => rewrite(&apart(text), RULES_13A.as_slice()),
            Self::Character => text.chars().flat_map(|character| [character, ' ']).collect(),
            Self::None => text.to_owned(),
        }
    }
}

/// The text with each Chinese character between spaces.
fn apart(text: &str) -> String {
    let mut found = String::with_capacity(2 * text.len());
    for character in text.trim_matches(crate::python::is_space).chars() {
        if is_chinese(character) {
            found.extend([' ', character, ' ']);
        } else {
            found.push(character);
        }
    }
    found
}

/// What sacreBLEU's `zh` takes for a Chinese character. Two of its ranges are meant for characters above U+FFFF and are
/// read as others: the first covers U+2001 to U+2A6D. We follow what it computes.
fn is_chinese(character: char) -> bool {
    matches!(u32::from(character),
        0x3400..=0x4db5 | 0x4e00..=0x9fa5 | 0x9fa6..=0x9fbb | 0xf900..=0xfa2d | 0xfa30..=0xfa6a | 0xfa70..=0xfad9
        | 0x2001..=0x2a6d | 0x2f81..=0x2fa1 | 0xff00..=0xffef | 0x2e80..=0x2eff | 0x3000..=0x303f | 0x31c0..=0x31ef
        | 0x2f00..=0x2fdf | 0x2ff0..=0x2fff | 0x3100..=0x312f | 0x31a0..=0x31bf | 0xfe10..=0xfe1f | 0xfe30..=0xfe4f
        | 0x3200..=0x33ff)
}

/// The rules applied one after the other, each to the result of the one before.
fn rewrite(text: &str, rules: &[(Regex, &str)]) -> String {
    rules.iter().fold(text.to_owned(), |text, (rule, replacement)| rule.replace_all(&text, *replacement).into_owned())
}

/// What mteval-v13a undoes first: marks of skipped text, words broken over lines, and four SGML entities.
fn unescape(text: &str) -> String {
    let joined = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if !joined.contains('&') {
        return joined;
    }
    joined.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tokenizer: BleuTokenizer, text: &str) -> Vec<String> {
        tokenizer.apply(text).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn numbers_keep_their_points() {
        let expected = ["It", "'s", "1,000.5", "%", ",", "e", ".", "g", "."];
        assert_eq!(words(BleuTokenizer::V13a, "It 's 1,000.5%, e.g."), expected);
        assert_eq!(words(BleuTokenizer::V13a, "&quot;a&quot; 3-4"), ["\"", "a", "\"", "3", "-", "4"]);
    }

    #[test]
    fn international_splits_unicode_marks() {
        assert_eq!(words(BleuTokenizer::International, "„Ja“, 5€"), ["„", "Ja", "“", ",", "5", "€"]);
        assert_eq!(words(BleuTokenizer::Character, "a b"), ["a", "b"]);
    }
}
