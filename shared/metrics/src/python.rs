//! The few string rules of Python on which the reference implementations' numbers rest.

/// True for what Python's `str.split()` and `str.strip()` treat as white space: Unicode white space and the four
/// information separators, which Rust leaves out.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// `text.split()`: words between runs of white space, none of them empty.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `text.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `string.punctuation`: the 32 ASCII marks.
pub(crate) fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_split_as_in_python() {
        assert_eq!(split(" a\u{1f}b\u{a0}c\n").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(strip("\u{1c} x "), "x");
        assert_eq!((0u8..128).filter(|&b| is_punctuation(b as char)).count(), 32);
    }
}
