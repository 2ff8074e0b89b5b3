//! Rules of quality: each has a code, looks at one example alone, and says in a sentence what it found.
//!
//! The rules for running text bear the names and thresholds under which they were published: Gopher (Rae et al. 2021,
//! table A1 and section A.1), C4 (Raffel et al. 2020, section 2.2) and FineWeb (Penedo et al. 2024, section 3.4).

mod language;
mod pii;
mod repetition;
mod text;
mod turns;
mod unicode;

pub use language::Languages;
pub use pii::Pii;
pub(crate) use pii::{count as count_pii, findings as pii_findings, mask_all as mask_pii};
pub use unicode::Cleaning;

use artifact::Example;

macro_rules! rules {
    ($($rule:ident $code:literal $group:literal $text:literal),+ $(,)?) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule { $(#[doc = $text] $rule),+ }

        impl Rule {
            /// All of them, in the order of reports.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// The word for it on the command line, in reports and in the `code` column of rejects.
            pub fn code(self) -> &'static str {
                match self { $(Self::$rule => $code),+ }
            }

            /// The name of the group that it belongs to.
            pub fn group(self) -> &'static str {
                match self { $(Self::$rule => $group),+ }
            }

            /// What it finds.
            pub fn describe(self) -> &'static str {
                match self { $(Self::$rule => $text),+ }
            }
        }
    };
}

rules! {
    RepeatedTurn "repeated_turn" "turns" "a turn says what the turn before it, or the last turn of its speaker, said",
    RoleOrder "role_order" "turns" "system not first, two turns of one speaker, an answer without a question, a question without an answer",
    ControlCharacters "control_characters" "unicode" "control characters other than tab and line ends, byte order marks, U+FFFD",
    NotNfc "not_nfc" "unicode" "text that is not in Unicode normal form C",
    GopherWordCount "gopher_word_count" "gopher" "fewer than 50 or more than 100,000 words",
    GopherWordLength "gopher_word_length" "gopher" "words of fewer than 3 or more than 10 characters on average",
    GopherSymbols "gopher_symbols" "gopher" "more than one # or ellipsis for every ten words",
    GopherBullets "gopher_bullets" "gopher" "more than 90 % of lines begin with a bullet",
    GopherEllipsis "gopher_ellipsis" "gopher" "more than 30 % of lines end in an ellipsis",
    GopherAlphabetic "gopher_alphabetic" "gopher" "fewer than 80 % of words have a letter",
    GopherStopWords "gopher_stop_words" "gopher" "fewer than two of the, be, to, of, and, that, have, with",
    GopherDuplicateLines "gopher_duplicate_lines" "gopher" "more than 30 % of lines, or 20 % of characters in them, repeat a line",
    GopherDuplicateParagraphs "gopher_duplicate_paragraphs" "gopher" "more than 30 % of paragraphs, or 20 % of characters in them, repeat a paragraph",
    GopherTopNgram "gopher_top_ngram" "gopher" "the most frequent run of 2, 3 or 4 words makes up more than 20, 18 or 16 % of characters",
    GopherDuplicateNgrams "gopher_duplicate_ngrams" "gopher" "runs of 5 to 10 words that stand twice make up more than 15 to 10 % of characters",
    C4CurlyBracket "c4_curly_bracket" "c4" "a curly bracket: probably code",
    C4LoremIpsum "c4_lorem_ipsum" "c4" "the words lorem ipsum",
    C4FewSentences "c4_few_sentences" "c4" "fewer than three sentences",
    C4Javascript "c4_javascript" "c4" "a line with the word Javascript",
    FinewebLinePunctuation "fineweb_line_punctuation" "fineweb" "at most 12 % of lines end in a mark that ends a sentence",
    FinewebDuplicateLines "fineweb_duplicate_lines" "fineweb" "at least 10 % of characters stand in lines that repeat a line",
    FinewebShortLines "fineweb_short_lines" "fineweb" "at least 67 % of lines have fewer than 30 characters",
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// What is looked at unless the user says otherwise: what costs next to nothing and fits every kind of data.
    pub const DEFAULT: &str = "turns,unicode";

    /// Parses codes and groups, by commas; `all` and `none` too.
    ///
    /// # Errors
    /// A sentence that names what is not known, and what is near.
    pub fn parse(words: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "none") {
            let before = rules;
            for rule in Rule::ALL.iter().filter(|rule| word == "all" || rule.code() == word || rule.group() == word) {
                rules.0 |= 1 << *rule as u32;
            }
            let known = Rule::ALL.iter().any(|rule| word == "all" || rule.code() == word || rule.group() == word);
            if rules == before && !known {
                let names = Rule::ALL.iter().flat_map(|rule| [rule.code(), rule.group()]);
                let near =
                    crate::nearest(word, names).map_or_else(String::new, |name| format!("; did you mean {name}?"));
                return Err(format!("`{word}` is no rule{near}"));
            }
        }
        Ok(rules)
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the rule is in the set.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }

    /// Whether the rule of this code is in the set.
    pub fn has_code(self, code: &str) -> bool {
        Rule::ALL.iter().any(|rule| rule.code() == code && self.has(*rule))
    }

    fn any(self, group: &str) -> bool {
        Rule::ALL.iter().any(|rule| rule.group() == group && self.has(*rule))
    }
}

/// One thing that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The code of a rule, or of what else looks at examples.
    pub code: &'static str,
    /// What was found.
    pub detail: String,
}

impl Finding {
    fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { code: rule.code(), detail: detail.into() }
    }
}

/// Looks at an example by all rules of a set. Those of Gopher, C4 and FineWeb look at running text only; the rules
/// about repetition look at answers too.
pub fn check(example: &Example, rules: Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    if rules == Rules::default() {
        return findings;
    }
    turns::check(example, rules, &mut findings);
    unicode::check(example, rules, &mut findings);
    if ["gopher", "c4", "fineweb"].iter().any(|group| rules.any(group)) {
        match &example.text {
            Some(text) => text::check(text, rules, &mut findings),
            None => {
                let answers = example.messages.iter().filter(|message| message.role == "assistant");
                let said: Vec<&str> = answers.filter_map(|message| message.content.as_deref()).collect();
                repetition::check(&said.join("\n\n"), rules, &mut findings);
            }
        }
    }
    findings.retain(|finding| Rule::ALL.iter().any(|rule| rule.code() == finding.code && rules.has(*rule)));
    findings
}

#[cfg(test)]
mod tests;
