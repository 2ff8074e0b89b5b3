//! Tercom's normalisation of a segment, as sacreBLEU carries it over: case, punctuation, characters of East Asia.

use std::sync::LazyLock;

use regex::Regex;

use super::Ter;
use crate::python;

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// Punctuation apart from words, as 13a does it, with the possessive apart from its noun.
static WESTERN: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (pattern(r"([\{-~\[-` -&\(-\+:-@/])"), " $1 "),
        (pattern(r"'s "), " 's "),
        (pattern(r"([^0-9])([\.,])"), "$1 $2 "),
        (pattern(r"([\.,])([^0-9])"), " $1 $2"),
        (pattern(r"([0-9])(-)"), "$1 $2 "),
    ]
});

const ASIAN_PUNCTUATION: &str = r"[\u{3001}\u{3002}\u{3008}-\u{3011}\u{3014}-\u{301f}\u{ff61}-\u{ff65}\u{30fb}]";
const FULL_WIDTH_PUNCTUATION: &str = r"[\u{ff0e}\u{ff0c}\u{ff1f}\u{ff1a}\u{ff1b}\u{ff01}\u{ff02}\u{ff08}\u{ff09}]";

/// Characters that stand alone. The range that begins at U+3200 is as wide as sacreBLEU has it. Its rules for kana look
/// for a segment that is nothing else, which the spaces around each segment rule out: there is nothing to follow.
static ASIAN: LazyLock<[Regex; 6]> = LazyLock::new(|| {
    [
        pattern(r"([\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}])"),
        pattern(r"([\u{31c0}-\u{31ef}\u{2e80}-\u{2eff}])"),
        pattern(r"([\u{3300}-\u{33ff}\u{f900}-\u{faff}\u{fe30}-\u{fe4f}])"),
        pattern(r"([\u{3200}-\u{3f22}])"),
        pattern(&format!("({ASIAN_PUNCTUATION})")),
        pattern(&format!("({FULL_WIDTH_PUNCTUATION})")),
    ]
});

static PUNCTUATION: LazyLock<Regex> = LazyLock::new(|| pattern(r#"[\.,\?:;!"\(\)]"#));
static EASTERN_PUNCTUATION: LazyLock<[Regex; 2]> =
    LazyLock::new(|| [pattern(ASIAN_PUNCTUATION), pattern(FULL_WIDTH_PUNCTUATION)]);

impl Ter {
    /// The text whose words are compared.
    pub(super) fn normalise(self, text: &str) -> String {
        let text = text.trim_end_matches(python::is_space);
        if text.is_empty() {
            return String::new();
        }
        let mut text = if self.case_sensitive { text.to_owned() } else { text.to_lowercase() };
        if self.normalized {
            text = western(&text);
            if self.asian_support {
                text = ASIAN.iter().fold(text, |text, rule| rule.replace_all(&text, " $1 ").into_owned());
            }
        }
        if self.no_punct {
            text = PUNCTUATION.replace_all(&text, "").into_owned();
            if self.asian_support {
                text = EASTERN_PUNCTUATION.iter().fold(text, |text, rule| rule.replace_all(&text, "").into_owned());
            }
        }
        text
    }
}

fn western(text: &str) -> String {
    let joined = text.replace("\n-", "").replace('\n', " ");
    let plain = joined.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let rules = WESTERN.iter();
    rules.fold(format!(" {plain} "), |text, (rule, replacement)| rule.replace_all(&text, *replacement).into_owned())
}
