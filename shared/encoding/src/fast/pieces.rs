//! Hand-written splitting of text into words, for the patterns that byte-level vocabularies in use were trained with.
//! Each rule reads as the alternative of the regular expression that it stands for, tried in the same order.

use super::classes::{self, LETTER, LOWER, MARK, NUMBER, SPACE, UPPER};

/// How apostrophe endings (`'s`, `'ll`) are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endings {
    /// Not at all.
    None,
    /// Lower case alone.
    Lower,
    /// Of any case.
    Any,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// ` ?\p{L}+`
    Spaced,
    /// `[^\r\n\p{L}\p{N}]?\p{L}+`
    Letters,
    /// `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+`
    LettersAndMarks,
    /// Upper case, then lower case, as o200k has it.
    Cased,
}

/// One of the known patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    endings: Endings,
    words: Words,
    /// Digits a number has at most; 0: any, with a space before it.
    digits: usize,
    /// Whether punctuation takes line ends along, and a slash too.
    tail: &'static [u8],
    /// Whether white space is cut after line ends.
    lines: bool,
}

const GPT2: Pattern = Pattern { endings: Endings::Lower, words: Words::Spaced, digits: 0, tail: b"", lines: false };
const CL100K: Pattern = Pattern { endings: Endings::Any, words: Words::Letters, digits: 3, tail: b"\r\n", lines: true };
const O200K: Pattern = Pattern { endings: Endings::Any, words: Words::Cased, digits: 3, tail: b"\r\n/", lines: true };

const ANY_CASE: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES: &str = r"|\s*[\r\n]+|\s+(?!\S)|\s+";
const UPPERS: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
const LOWERS: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";

impl Pattern {
    /// The pattern of `ByteLevel` with `use_regex`.
    pub(super) fn of_byte_level() -> Self {
        GPT2
    }

    /// The pattern that a regular expression stands for, if it is a known one.
    pub(super) fn of_regex(regex: &str) -> Option<Self> {
        let letters = |digits: &str| {
            format!(r"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{SPACES}")
        };
        let marks = |digits: &str| {
            format!(
                r"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|{digits}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{SPACES}"
            )
        };
        let cased = |digits: &str, ending: &str| {
            let first = r"[^\r\n\p{L}\p{N}]?";
            format!(
                r"{first}{UPPERS}*{LOWERS}+{ending}|{first}{UPPERS}+{LOWERS}*{ending}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{SPACES}"
            )
        };
        let optional = format!("{ANY_CASE}?");
        let known = [
            (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+".to_owned(), GPT2),
            (letters(r"\p{N}{1,3}"), CL100K),
            (letters(r"\p{N}"), Self { digits: 1, ..CL100K }),
            (marks(r"\p{N}"), Self { digits: 1, words: Words::LettersAndMarks, ..CL100K }),
            (marks(r"\p{N}{1,3}"), Self { words: Words::LettersAndMarks, ..CL100K }),
            (cased(r"\p{N}{1,3}", &optional), O200K),
            (cased(r"\p{N}", ""), Self { digits: 1, endings: Endings::None, ..O200K }),
        ];
        known.into_iter().find(|(source, _)| source == regex).map(|(_, pattern)| pattern)
    }

    /// Cuts `text` into words; `word` gets the bytes of each.
    pub(super) fn split(self, text: &str, mut word: impl FnMut(usize, usize)) {
        let mut at = 0;
        while at < text.len() {
            let length = self.word(&text[at..]);
            word(at, at + length);
            at += length;
        }
    }

    /// Length of the word that a text begins with.
    fn word(self, text: &str) -> usize {
        let first = text.chars().next().expect("the text is not empty");
        let class = classes::of(first);
        if first == '\'' && self.words != Words::Cased {
            let ending = ending(text, self.endings);
            if ending > 0 {
                return ending;
            }
        }
        let length = match self.words {
            Words::Spaced => spaced(text, first, class, LETTER),
            Words::Letters => Self::letters(text, first, class, LETTER),
            Words::LettersAndMarks => Self::letters(text, first, class, LETTER | MARK),
            Words::Cased => self.cased(text, first, class),
        };
        if length > 0 {
            return length;
        }
        let length = if self.digits == 0 { spaced(text, first, class, NUMBER) } else { self.number(text, class) };
        if length > 0 {
            return length;
        }
        let length = self.punctuation(text, first);
        if length > 0 { length } else { self.white_space(text) }
    }

    /// `[^\r\n\p{L}\p{N}]?` and then letters.
    fn letters(text: &str, first: char, class: u8, wanted: u8) -> usize {
        if leads(first, class) {
            let start = first.len_utf8();
            let end = run(text, start, |class| class & wanted != 0);
            if end > start {
                return end;
            }
        }
        // Where the leading character is itself of the kind (a mark), it may also begin the word.
        run(text, 0, |class| class & wanted != 0)
    }

    /// `U*L+` or `U+L*`, with an ending. Greedy, and giving back as a regular expression does.
    fn cased(self, text: &str, first: char, class: u8) -> usize {
        let starts = [leads(first, class).then(|| first.len_utf8()), Some(0)];
        let words = [upper_then_lower as fn(&str, usize) -> usize, uppers];
        for word in words {
            for start in starts.into_iter().flatten() {
                let end = word(text, start);
                if end > start {
                    return end + ending(&text[end..], self.endings);
                }
            }
        }
        0
    }

    fn number(self, text: &str, class: u8) -> usize {
        if class & NUMBER == 0 {
            return 0;
        }
        let digits = text.chars().take(self.digits).take_while(|character| classes::of(*character) & NUMBER != 0);
        digits.map(char::len_utf8).sum()
    }

    /// ` ?[^\s\p{L}\p{N}]+` with what the pattern takes along.
    fn punctuation(self, text: &str, first: char) -> usize {
        let other = match self.words {
            Words::LettersAndMarks => SPACE | LETTER | NUMBER | MARK,
            _ => SPACE | LETTER | NUMBER,
        };
        let start = usize::from(first == ' ');
        let end = run(text, start, |class| class & other == 0);
        if end == start {
            return 0;
        }
        end + text.as_bytes()[end..].iter().take_while(|byte| self.tail.contains(byte)).count()
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`
    fn white_space(self, text: &str) -> usize {
        let end = run(text, 0, |class| class & SPACE != 0);
        if self.lines
            && let Some(last) = text.as_bytes()[..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n'))
        {
            return last + 1;
        }
        if end == text.len() {
            return end;
        }
        // The last one is left to the word that follows, unless it is the only one.
        let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
        if end > last { end - last } else { end }
    }
}

/// `[^\r\n\p{L}\p{N}]`
fn leads(first: char, class: u8) -> bool {
    class & (LETTER | NUMBER) == 0 && first != '\r' && first != '\n'
}

/// ` ?` and then characters of a class.
fn spaced(text: &str, first: char, class: u8, wanted: u8) -> usize {
    let start = usize::from(first == ' ');
    if start == 0 && class & wanted == 0 {
        return 0;
    }
    let end = run(text, start, |class| class & wanted != 0);
    if end > start { end } else { 0 }
}

/// Where the run of characters from `start` on ends.
fn run(text: &str, start: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    loop {
        match bytes.get(at) {
            None => return at,
            Some(byte) if byte.is_ascii() => {
                if !belongs(classes::of(char::from(*byte))) {
                    return at;
                }
                at += 1;
            }
            Some(_) => {
                let character = text[at..].chars().next().expect("a character begins here");
                if !belongs(classes::of(character)) {
                    return at;
                }
                at += character.len_utf8();
            }
        }
    }
}

/// `U*L+`: the upper case as far as it goes, giving back until lower case follows.
fn upper_then_lower(text: &str, start: usize) -> usize {
    let uppers = run(text, start, |class| class & UPPER != 0);
    let end = run(text, uppers, |class| class & LOWER != 0);
    if end > uppers {
        return end;
    }
    // Characters without case are of both kinds: the last of them can be the lower case.
    for (at, character) in text[start..uppers].char_indices().rev() {
        if classes::of(character) & LOWER != 0 {
            return run(text, start + at, |class| class & LOWER != 0);
        }
    }
    start
}

/// `U+L*`.
fn uppers(text: &str, start: usize) -> usize {
    let uppers = run(text, start, |class| class & UPPER != 0);
    if uppers == start { start } else { run(text, uppers, |class| class & LOWER != 0) }
}

/// Length of the apostrophe ending that a text begins with.
fn ending(text: &str, endings: Endings) -> usize {
    let mut rest = text.chars();
    if endings == Endings::None || rest.next() != Some('\'') {
        return 0;
    }
    let mut letter = || {
        let character = rest.next()?;
        let folded = match character {
            // The long s is an s where case does not count.
            'ſ' => 's',
            other => other.to_ascii_lowercase(),
        };
        Some((if endings == Endings::Any { folded } else { character }, character.len_utf8()))
    };
    let Some((first, width)) = letter() else { return 0 };
    match first {
        's' | 't' | 'm' | 'd' => 1 + width,
        'r' | 'v' | 'l' => match letter() {
            Some((second, more)) if second == if first == 'l' { 'l' } else { 'e' } => 1 + width + more,
            _ => 0,
        },
        _ => 0,
    }
}
