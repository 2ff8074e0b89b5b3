//! Byte positions to character positions. A token may begin or end inside a character (byte-level vocabularies split
//! `é` and `字`); it then covers the whole character.

use std::ops::Range;

/// Maps byte positions of one text to character positions.
pub(crate) struct CharacterIndex {
    /// For each byte, the index of the character it belongs to; empty for ASCII, where both are the same.
    character_of_byte: Vec<u32>,
    bytes: usize,
    characters: u32,
}

impl CharacterIndex {
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.len();
        if text.is_ascii() {
            return Self { character_of_byte: Vec::new(), bytes, characters: bytes as u32 };
        }
        let mut character_of_byte = Vec::with_capacity(bytes);
        let mut characters = 0;
        for character in text.chars() {
            character_of_byte.extend(std::iter::repeat_n(characters, character.len_utf8()));
            characters += 1;
        }
        Self { character_of_byte, bytes, characters }
    }

    /// Number of characters in the text.
    pub(crate) fn characters(&self) -> u32 {
        self.characters
    }

    /// The characters that the bytes touch; an empty byte range gives an empty character range.
    pub(crate) fn range(&self, bytes: Range<usize>) -> (u32, u32) {
        let start = self.character(bytes.start);
        if bytes.end <= bytes.start {
            return (start, start);
        }
        (start, self.character(bytes.end - 1) + 1)
    }

    fn character(&self, byte: usize) -> u32 {
        if byte >= self.bytes {
            self.characters
        } else if self.character_of_byte.is_empty() {
            byte as u32
        } else {
            self.character_of_byte[byte]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CharacterIndex;

    #[test]
    fn a_part_of_a_character_counts_as_the_whole() {
        let text = "aé字😀b";
        let index = CharacterIndex::new(text);
        assert_eq!(index.characters(), 5);
        assert_eq!(index.range(0..1), (0, 1));
        assert_eq!(index.range(2..3), (1, 2));
        assert_eq!(index.range(2..4), (1, 3));
        assert_eq!(index.range(7..8), (3, 4));
        assert_eq!(index.range(6..11), (3, 5));
        assert_eq!(index.range(3..3), (2, 2));
        assert_eq!(index.range(11..11), (5, 5));
        assert_eq!(CharacterIndex::new("abc").range(1..3), (1, 3));
    }
}
