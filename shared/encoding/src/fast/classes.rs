//! Unicode classes as the tokenizers' regular expressions see them: asked of that same engine, block by block, so that
//! both agree whatever version of Unicode each was made for.

use std::sync::{LazyLock, OnceLock};
use tokenizers::utils::SysRegex;

/// `\p{L}`.
pub(super) const LETTER: u8 = 1;
/// `\p{N}`.
pub(super) const NUMBER: u8 = 2;
/// `\s`.
pub(super) const SPACE: u8 = 4;
/// `\p{M}`.
pub(super) const MARK: u8 = 8;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what a word of o200k begins with.
pub(super) const UPPER: u8 = 16;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what it ends with.
pub(super) const LOWER: u8 = 32;

const BLOCK: usize = 256;
const BLOCKS: usize = 0x11_0000 / BLOCK;

static TABLE: [OnceLock<Box<[u8; BLOCK]>>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];

static QUESTIONS: LazyLock<Vec<(u8, SysRegex)>> = LazyLock::new(|| {
    let regex = |pattern: &str| SysRegex::new(pattern).expect("the pattern is valid");
    vec![
        (LETTER, regex(r"\p{L}")),
        (NUMBER, regex(r"\p{N}")),
        (SPACE, regex(r"\s")),
        (MARK, regex(r"\p{M}")),
        (UPPER, regex(r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]")),
        (LOWER, regex(r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]")),
    ]
});

/// The classes of a character.
#[inline]
pub(super) fn of(character: char) -> u8 {
    let code = character as usize;
    TABLE[code / BLOCK].get_or_init(|| ask(code / BLOCK))[code % BLOCK]
}

fn ask(block: usize) -> Box<[u8; BLOCK]> {
    let characters: Vec<char> =
        (block * BLOCK..(block + 1) * BLOCK).filter_map(|code| char::from_u32(code as u32)).collect();
    let text: String = characters.iter().collect();
    let mut code_at = vec![0; text.len()];
    for (at, character) in text.char_indices() {
        code_at[at] = character as usize % BLOCK;
    }
    let mut classes = Box::new([0; BLOCK]);
    for (class, regex) in QUESTIONS.iter() {
        for (start, _) in regex.find_iter(&text) {
            classes[code_at[start]] |= class;
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_in_their_classes() {
        assert_eq!(of('a'), LETTER | LOWER);
        assert_eq!(of('É'), LETTER | UPPER);
        assert_eq!(of('字'), LETTER | UPPER | LOWER);
        assert_eq!(of('7'), NUMBER);
        assert_eq!(of('½'), NUMBER);
        assert_eq!(of('\u{301}'), MARK | UPPER | LOWER);
        assert_eq!(["\u{85}", "\u{a0}", "\u{3000}", "\n"].map(|space| of(space.chars().next().unwrap())), [SPACE; 4]);
        assert_eq!(of('.'), 0);
        assert_eq!(of('\u{10ffff}'), 0);
    }
}
