//! sacreBLEU's tokenizers `13a`, `intl`, `char` and `none`, as text in which words stand between spaces.

use std::sync::LazyLock;

use regex::Regex;

/// How BLEU cuts a segment into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BleuTokenizer {
    /// mteval-v13a's rules, the default of sacreBLEU.
    V13a,
    /// mteval-v14's international rules: Unicode punctuation and symbols stand alone.
    International,
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
    /// The name in a signature.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::Character => "char",
            Self::None => "none",
        }
    }

    /// The text with white space between words.
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Self::V13a => rewrite(&format!(" {} ", unescape(text)), RULES_13A.as_slice()),
            Self::International => rewrite(text, RULES_INTERNATIONAL.as_slice()),
            Self::Character => text.chars().flat_map(|character| [character, ' ']).collect(),
            Self::None => text.to_owned(),
        }
    }
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
