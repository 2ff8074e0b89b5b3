//! Cutting a JSON document into values without parsing them: quotes and brackets are matched, nothing else is
//! looked at. Parsing proper happens later, on all threads.

use crate::error::{Error, Result};
use crate::inputs::ByteStream;

const BLOCK: usize = 256 * 1024;

/// A place in a JSON document.
pub(crate) struct Scanner {
    stream: ByteStream,
    block: Vec<u8>,
    position: usize,
    /// The line at `position`, one-based.
    pub(crate) line: u64,
    /// Values cut so far, for messages.
    pub(crate) values: u64,
}

impl Scanner {
    pub(crate) fn new(stream: ByteStream) -> Self {
        Self { stream, block: Vec::new(), position: 0, line: 1, values: 0 }
    }

    pub(crate) fn name(&self) -> &str {
        self.stream.name()
    }

    /// Whether another byte is there, after reading on where needed.
    fn has_byte(&mut self) -> Result<bool> {
        if self.position == self.block.len() {
            self.block.resize(BLOCK, 0);
            let filled = self.stream.read_full(&mut self.block, self.values);
            self.block.truncate(*filled.as_ref().unwrap_or(&0));
            self.position = 0;
            filled?;
        }
        Ok(self.position < self.block.len())
    }

    /// The next byte that is not white space, not taken.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>> {
        while self.has_byte()? {
            let byte = self.block[self.position];
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.line += u64::from(byte == b'\n');
            self.position += 1;
        }
        Ok(None)
    }

    /// Takes the next byte that is not white space if it is `wanted`.
    pub(crate) fn take(&mut self, wanted: u8) -> Result<bool> {
        let found = self.peek()? == Some(wanted);
        self.position += usize::from(found);
        Ok(found)
    }

    /// Takes one of the bytes, or fails by naming them.
    pub(crate) fn expect(&mut self, wanted: &[u8], what: &str) -> Result<u8> {
        match self.peek()? {
            Some(byte) if wanted.contains(&byte) => {
                self.position += 1;
                Ok(byte)
            }
            found => Err(self.unexpected(what, found)),
        }
    }

    /// Takes a whole string and parses it.
    pub(crate) fn key(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let line = self.line;
        if self.peek()? != Some(b'"') {
            let found = self.peek()?;
            return Err(self.unexpected("a key in quotes", found));
        }
        self.copy_value(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(line, format!("expected a key, found {error}")))
    }

    /// Copies the value that begins here to the end of `into`, with matched quotes and brackets.
    pub(crate) fn copy_value(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let first = self.peek()?;
        let begun = self.line;
        if !matches!(first, Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')) {
            return Err(self.unexpected("a value", first));
        }
        let (mut depth, mut in_string) = (0usize, false);
        loop {
            if !self.has_byte()? {
                let scalar = depth == 0 && !in_string;
                return if scalar { Ok(()) } else { Err(self.ends_inside(begun)) };
            }
            let rest = &self.block[self.position..];
            let (taken, ended) = if in_string {
                step_string(rest, &mut in_string, depth)
            } else {
                step_plain(rest, &mut depth, &mut in_string)
            };
            // An escape's second byte may lie in the next block.
            let escaped = in_string && rest[..taken].ends_with(b"\\");
            into.extend_from_slice(&rest[..taken]);
            self.line += memchr::memchr_iter(b'\n', &rest[..taken]).count() as u64;
            self.position += taken;
            if escaped {
                if !self.has_byte()? {
                    return Err(self.ends_inside(begun));
                }
                into.push(self.block[self.position]);
                self.position += 1;
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn ends_inside(&self, begun: u64) -> Error {
        self.broken(begun, "the file ends inside the value that begins here: it was probably cut short".into())
    }

    pub(crate) fn unexpected(&self, what: &str, found: Option<u8>) -> Error {
        let found = match found {
            None => "the end of the file".into(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", byte as char),
            Some(byte) => format!("byte 0x{byte:02x}"),
        };
        self.broken(self.line, format!("expected {what}, found {found}"))
    }

    pub(crate) fn broken(&self, line: u64, detail: String) -> Error {
        Error::Broken { file: self.name().to_owned(), row: line, detail, skippable: false }
    }
}

/// Bytes up to and with the next quote or backslash; whether the value ends there.
fn step_string(rest: &[u8], in_string: &mut bool, depth: usize) -> (usize, bool) {
    match memchr::memchr2(b'"', b'\\', rest) {
        None => (rest.len(), false),
        Some(at) if rest[at] == b'"' => {
            *in_string = false;
            (at + 1, depth == 0)
        }
        Some(at) => (at + 1, false),
    }
}

/// Bytes up to and with the next quote or the bracket that ends the value; whether the value ends there.
fn step_plain(rest: &[u8], depth: &mut usize, in_string: &mut bool) -> (usize, bool) {
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'"' => {
                *in_string = true;
                return (at + 1, false);
            }
            b'{' | b'[' => *depth += 1,
            b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if *depth == 0 => return (at, true),
            b'}' | b']' => {
                *depth -= 1;
                if *depth == 0 {
                    return (at + 1, true);
                }
            }
            _ => {}
        }
    }
    (rest.len(), false)
}
