//! Text as comparisons see it: words in lower case, punctuation left out.

use artifact::Example;

/// Hands the hash of each word of the text to `each`, in order. A word is a run of letters and digits, in lower case;
/// scripts without spaces have each ideograph as a word.
pub(crate) fn words(text: &str, each: &mut impl FnMut(u64)) {
    words_until(text, &mut |word| {
        each(word);
        true
    });
}

/// As [`words`], until `each` wants no more.
pub(crate) fn words_until(text: &str, each: &mut impl FnMut(u64) -> bool) {
    let mut word = WordHash::default();
    let mut rest = text;
    loop {
        // Most text is ASCII: byte by byte, through a table.
        let mut at = 0;
        for byte in rest.bytes() {
            let folded = FOLDED[usize::from(byte)];
            if folded == BEYOND {
                break;
            }
            at += 1;
            if folded != 0 {
                word.push(u32::from(folded));
            } else if !word.end(each) {
                return;
            }
        }
        rest = &rest[at..];
        let Some(character) = rest.chars().next() else { break };
        rest = &rest[character.len_utf8()..];
        if is_ideograph(character) {
            if !word.end(each) {
                return;
            }
            word.push(u32::from(character));
            if !word.end(each) {
                return;
            }
        } else if character.is_alphanumeric() {
            character.to_lowercase().for_each(|lower| word.push(u32::from(lower)));
        } else if !word.end(each) {
            return;
        }
    }
    word.end(each);
}

/// Marks bytes that are not ASCII.
const BEYOND: u8 = 0xff;

/// Letters in lower case and digits; zero for all else.
static FOLDED: [u8; 256] = {
    let mut table = [BEYOND; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = if (byte as u8).is_ascii_alphanumeric() { (byte as u8).to_ascii_lowercase() } else { 0 };
        byte += 1;
    }
    table
};

fn is_ideograph(character: char) -> bool {
    matches!(u32::from(character), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

/// FNV-1a over code points, then mixed.
struct WordHash {
    state: u64,
    empty: bool,
}

impl Default for WordHash {
    fn default() -> Self {
        Self { state: 0xcbf2_9ce4_8422_2325, empty: true }
    }
}

impl WordHash {
    fn push(&mut self, code: u32) {
        self.state = (self.state ^ u64::from(code)).wrapping_mul(0x0000_0100_0000_01b3);
        self.empty = false;
    }

    /// Hands out the word, if there is one; whether more is wanted.
    fn end(&mut self, each: &mut impl FnMut(u64) -> bool) -> bool {
        let more = self.empty || each(mix(self.state));
        *self = Self::default();
        more
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// All that an example says, part by part.
pub(crate) fn texts(example: &Example) -> impl Iterator<Item = &str> {
    let turns = example.messages.iter().chain(&example.chosen).chain(&example.rejected);
    let said = turns.flat_map(|message| [message.content.as_deref(), message.tool_calls.as_deref()]).flatten();
    example.text.as_deref().into_iter().chain(said)
}

/// All that people and models say in an example, calls of tools left out.
pub(crate) fn said(example: &Example) -> impl Iterator<Item = &str> {
    let turns = example.messages.iter().chain(&example.chosen).chain(&example.rejected);
    example.text.as_deref().into_iter().chain(turns.filter_map(|message| message.content.as_deref()))
}

/// Word hashes of the whole example.
pub(crate) fn example_words(example: &Example) -> Vec<u64> {
    let mut found = Vec::new();
    texts(example).for_each(|text| words(text, &mut |word| found.push(word)));
    found
}

/// Hashes of all runs of `length` words; a shorter text has the one run of all its words.
pub(crate) fn runs(words: &[u64], length: usize) -> impl Iterator<Item = u64> {
    let length = length.min(words.len()).max(1);
    words.windows(length).map(|run| run.iter().fold(0, |hash: u64, word| mix(hash.rotate_left(7) ^ word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(text: &str) -> Vec<u64> {
        let mut found = Vec::new();
        words(text, &mut |word| found.push(word));
        found
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        assert_eq!(hashes("Hello, World! É"), hashes("hello world é"));
        assert_ne!(hashes("hello world"), hashes("helloworld"));
        assert_eq!(hashes("你好").len(), 2);
    }

    #[test]
    fn short_texts_have_one_run() {
        assert_eq!(runs(&[1, 2, 3], 5).count(), 1);
        assert_eq!(runs(&[1, 2, 3], 2).count(), 2);
        assert_eq!(runs(&[], 2).count(), 0);
    }
}
