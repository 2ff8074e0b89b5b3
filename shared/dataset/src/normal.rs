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
    let bytes = text.as_bytes();
    let mut word = WordHash::default();
    let mut at = 0;
    while at < bytes.len() {
        // Most text is ASCII: eight bytes at once.
        let (letters, count) = leading_word(eight(bytes, at));
        word.push(letters, count);
        at += count;
        let Some(byte) = bytes.get(at) else { break };
        if count == 8 {
            continue;
        }
        if byte.is_ascii() {
            at += 1;
            if !word.end(each) {
                return;
            }
            continue;
        }
        let Some(character) = text[at..].chars().next() else { break };
        at += character.len_utf8();
        if is_ideograph(character) {
            if !word.end(each) {
                return;
            }
            word.push_character(character);
            if !word.end(each) {
                return;
            }
        } else if character.is_alphanumeric() {
            character.to_lowercase().for_each(|lower| word.push_character(lower));
        } else if !word.end(each) {
            return;
        }
    }
    word.end(each);
}

/// Eight bytes from a place on, the first in the lowest bits; zeros behind the end.
fn eight(bytes: &[u8], at: usize) -> u64 {
    let rest = &bytes[at..];
    if let Some(whole) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*whole);
    }
    let mut padded = [0; 8];
    padded[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(padded)
}

/// The ASCII letters and digits at the beginning of eight bytes, letters in lower case, and how many they are.
fn leading_word(window: u64) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let seven = window & !HIGH;
    // Of seven bits each, so that no sum carries into the next byte.
    let from = |bytes: u64, least: u8| bytes + u64::from(0x80 - least) * EACH;
    // Digits have the bit already that makes letters lower.
    let lower = seven | (0x20 * EACH);
    let letter = from(lower, b'a') & !from(lower, b'z' + 1);
    let digit = from(seven, b'0') & !from(seven, b'9' + 1);
    let other = (!(letter | digit) | window) & HIGH;
    let count = (other.trailing_zeros() / 8) as usize;
    let kept = if count == 8 { u64::MAX } else { (1 << (8 * count)) - 1 };
    (lower & kept, count)
}

fn is_ideograph(character: char) -> bool {
    matches!(u32::from(character), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

/// A hash of the bytes of a word, eight at a time.
#[derive(Default)]
struct WordHash {
    state: u64,
    /// Bytes that are fewer than eight.
    pending: u64,
    length: usize,
}

impl WordHash {
    /// Adds the lowest `count` bytes; those above must be zero.
    fn push(&mut self, bytes: u64, count: usize) {
        let filled = self.length % 8;
        self.pending |= bytes << (8 * filled);
        self.length += count;
        if filled + count >= 8 {
            self.state = mix(self.state ^ self.pending);
            self.pending = if filled == 0 { 0 } else { bytes >> (64 - 8 * filled) };
        }
    }

    fn push_character(&mut self, character: char) {
        let mut bytes = [0; 8];
        let count = character.encode_utf8(&mut bytes).len();
        self.push(u64::from_le_bytes(bytes), count);
    }

    /// Hands out the word, if there is one; whether more is wanted.
    fn end(&mut self, each: &mut impl FnMut(u64) -> bool) -> bool {
        if self.length == 0 {
            return true;
        }
        // Fewer than eight bytes are pending: the highest is free.
        let word = mix(self.state ^ self.pending ^ ((self.length as u64) << 56));
        *self = Self::default();
        each(word)
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

    /// The same, character by character.
    fn plainly(text: &str) -> Vec<u64> {
        let mut found = Vec::new();
        let mut word = WordHash::default();
        let mut each = |hash| {
            found.push(hash);
            true
        };
        for character in text.chars() {
            if is_ideograph(character) {
                word.end(&mut each);
                word.push_character(character);
                word.end(&mut each);
            } else if character.is_alphanumeric() {
                character.to_lowercase().for_each(|lower| word.push_character(lower));
            } else {
                word.end(&mut each);
            }
        }
        word.end(&mut each);
        found
    }

    proptest::proptest! {
        #[test]
        fn eight_bytes_at_once_are_the_same_words(text in "([a-zA-Z0-9]{0,20}|[ -~]|\\PC|[ÄéßKİ你好カ¾²٣])*") {
            proptest::prop_assert_eq!(hashes(&text), plainly(&text));
        }
    }

    #[test]
    fn short_texts_have_one_run() {
        assert_eq!(runs(&[1, 2, 3], 5).count(), 1);
        assert_eq!(runs(&[1, 2, 3], 2).count(), 2);
        assert_eq!(runs(&[], 2).count(), 0);
    }
}
