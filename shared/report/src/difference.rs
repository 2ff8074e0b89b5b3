//! A text with the words marked in which it differs from another: words outside their longest common subsequence.

use serde::Serialize;

/// A text cut into pieces that do or do not stand in the other text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The pieces; together they are the text.
    pub pieces: Vec<Piece>,
}

/// A run of words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// The words, with the white space between them.
    pub text: String,
    /// Whether the other text lacks them.
    pub differs: bool,
}

/// Above this many word pairs the comparison would cost more than it shows; the text is then not marked.
const MOST_PAIRS: usize = 4_000_000;

impl Difference {
    /// A text with nothing marked.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { pieces: vec![Piece { text: text.into(), differs: false }] }
    }

    /// `text` with the words marked that `other` lacks.
    pub fn between(text: &str, other: &str) -> Self {
        let (words, others) = (words(text), words(other));
        if words.len() * others.len() > MOST_PAIRS {
            return Self::plain(text);
        }
        let common = common_words(&words, &others);
        let mut pieces: Vec<Piece> = Vec::new();
        for (word, common) in words.iter().zip(common) {
            match pieces.last_mut() {
                Some(piece) if piece.differs != common => piece.text.push_str(word),
                _ => pieces.push(Piece { text: (*word).to_owned(), differs: !common }),
            }
        }
        Self { pieces }
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }
}

/// Words, each with the white space that follows it.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(char::is_whitespace).collect()
}

/// For each word whether one longest common subsequence uses it.
fn common_words(words: &[&str], others: &[&str]) -> Vec<bool> {
    let width = others.len() + 1;
    let same = |i: usize, j: usize| words[i].trim_end() == others[j].trim_end();
    let mut table = vec![0u32; (words.len() + 1) * width];
    for i in (0..words.len()).rev() {
        for j in (0..others.len()).rev() {
            table[i * width + j] = if same(i, j) {
                table[(i + 1) * width + j + 1] + 1
            } else {
                table[(i + 1) * width + j].max(table[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut common = vec![false; words.len()];
    while i < words.len() && j < others.len() {
        if same(i, j) {
            common[i] = true;
            i += 1;
            j += 1;
        } else if table[(i + 1) * width + j] >= table[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_what_the_other_lacks() {
        let difference = Difference::between("refund within 5 days please", "refund within 14 days");
        let marked: Vec<_> = difference.pieces.iter().map(|piece| (piece.text.as_str(), piece.differs)).collect();
        assert_eq!(marked, [("refund within ", false), ("5 ", true), ("days ", false), ("please", true)]);
        assert_eq!(difference.text(), "refund within 5 days please");
    }

    #[test]
    fn empty_texts_are_empty() {
        assert_eq!(Difference::between("", "a").text(), "");
        assert!(Difference::between("a", "").pieces[0].differs);
    }
}
