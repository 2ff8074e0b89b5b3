//! Text from tokens as they come: whole characters only, and nothing shown that a stop string may still take back.

/// Turns tokens into text.
pub trait Detokenizer: Sync {
    /// The text of the tokens, special ones left out.
    ///
    /// # Errors
    /// Where the tokens are not of this vocabulary.
    fn text(&self, tokens: &[u32]) -> Result<String, Box<dyn std::error::Error + Send + Sync>>;
}

/// The text of one sequence under construction.
///
/// A token's text may depend on the token before it (spaces, characters of several bytes), so each step decodes a short
/// window that begins one step back, and takes what is new in it.
#[derive(Debug, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// Begin of the window.
    window: usize,
    /// Tokens whose text is in `text`.
    read: usize,
    text: String,
    /// Bytes of `text` that were handed out.
    shown: usize,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl TextStream {
    /// Tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Takes a token and returns whether the text now holds one of `stops`; it is then cut before it.
    ///
    /// # Errors
    /// Where the detokenizer fails.
    pub fn push(&mut self, token: u32, stops: &[String], detokenizer: &dyn Detokenizer) -> Result<bool, Failure> {
        self.tokens.push(token);
        let before = detokenizer.text(&self.tokens[self.window..self.read])?;
        let now = detokenizer.text(&self.tokens[self.window..])?;
        // A replacement character at the end is the beginning of a character whose other bytes are still to come.
        if now.ends_with('\u{fffd}') {
            return Ok(false);
        }
        let from = self.text.len();
        match now.strip_prefix(before.as_str()) {
            Some(new) => self.text.push_str(new),
            None => self.text = detokenizer.text(&self.tokens)?,
        }
        (self.window, self.read) = (self.read, self.tokens.len());
        Ok(self.cut(stops, from))
    }

    /// Cuts the text before the first stop string, looking no further back than one could begin.
    fn cut(&mut self, stops: &[String], from: usize) -> bool {
        let reach = stops.iter().map(String::len).max().unwrap_or(0);
        let mut start = from.min(self.text.len()).saturating_sub(reach);
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let found =
            stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| self.text[start..].find(stop.as_str()));
        let Some(at) = found.min() else { return false };
        self.text.truncate(start + at);
        true
    }

    /// Text that has not been handed out and that no stop string can take back any more.
    pub fn settled(&mut self, stops: &[String]) -> &str {
        let held = stops.iter().map(|stop| beginning_at_end(&self.text, stop)).max().unwrap_or(0);
        let end = self.text.len() - held;
        self.hand_out(end)
    }

    /// The rest, at the end of the text.
    ///
    /// # Errors
    /// Where the detokenizer fails.
    pub fn rest(&mut self, stopped: bool, detokenizer: &dyn Detokenizer) -> Result<&str, Failure> {
        if !stopped && self.read < self.tokens.len() {
            let whole = detokenizer.text(&self.tokens)?;
            if whole.starts_with(self.text.as_str()) {
                self.text = whole;
            }
        }
        Ok(self.hand_out(self.text.len()))
    }

    fn hand_out(&mut self, end: usize) -> &str {
        let start = self.shown.min(self.text.len());
        self.shown = end.max(start);
        &self.text[start..self.shown]
    }

    /// The whole text and its tokens.
    pub fn into_parts(self) -> (String, Vec<u32>) {
        (self.text, self.tokens)
    }
}

/// How many bytes at the end of `text` are the beginning, but not the whole, of `stop`.
fn beginning_at_end(text: &str, stop: &str) -> usize {
    (1..stop.len())
        .rev()
        .filter(|&length| stop.is_char_boundary(length))
        .find(|&length| text.ends_with(&stop[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token for each byte; text is lossy, as byte-level vocabularies are.
    struct Bytes;
    impl Detokenizer for Bytes {
        fn text(&self, tokens: &[u32]) -> Result<String, Failure> {
            let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }

    fn run(text: &str, stops: &[&str]) -> (String, bool, Vec<String>) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut stream = TextStream::default();
        let (mut stopped, mut shown) = (false, Vec::new());
        for byte in text.bytes() {
            stopped = stream.push(u32::from(byte), &stops, &Bytes).expect("bytes");
            if stopped {
                break;
            }
            shown.push(stream.settled(&stops).to_owned());
        }
        shown.push(stream.rest(stopped, &Bytes).expect("bytes").to_owned());
        (stream.into_parts().0, stopped, shown)
    }

    #[test]
    fn characters_come_whole() {
        let (text, _, shown) = run("aé🙂", &[]);
        assert_eq!(text, "aé🙂");
        assert_eq!(shown, ["a", "", "é", "", "", "", "🙂", ""]);
    }

    #[test]
    fn a_stop_string_is_never_shown() {
        let (text, stopped, shown) = run("one\nUs two\nUser: x", &["\nUser:"]);
        assert!(stopped);
        assert_eq!(text, "one\nUs two");
        assert_eq!(shown.concat(), "one\nUs two");
    }

    #[test]
    fn broken_bytes_at_the_end_are_kept() {
        let mut stream = TextStream::default();
        stream.push(u32::from(b'a'), &[], &Bytes).expect("bytes");
        stream.push(0xc3, &[], &Bytes).expect("bytes");
        assert_eq!(stream.rest(false, &Bytes).expect("bytes"), "a\u{fffd}");
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_the_text(text in "[abé ]{0,30}", stop in "[ab]{1,3}") {
            let (whole, stopped, shown) = run(&text, &[&stop]);
            proptest::prop_assert_eq!(shown.concat(), whole.clone());
            proptest::prop_assert_eq!(stopped, text.contains(&stop));
            proptest::prop_assert_eq!(whole.as_str(), text.split(stop.as_str()).next().unwrap_or_default());
        }
    }
}
