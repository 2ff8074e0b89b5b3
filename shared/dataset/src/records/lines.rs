//! JSONL: one JSON object in each line; blank lines are no records.

use std::ops::Range;

use serde_json::Value;

use super::payload::{Item, Payload, Place, Unreadable};
use super::record::{Fields, Record, kind_of};
use super::{CHUNK_BYTES, empty};
use crate::error::Result;
use crate::inputs::ByteStream;

/// Characters of a broken record that a message shows.
pub(crate) const SHOWN: usize = 80;

/// Cuts a stream into chunks of whole lines.
pub(crate) struct JsonLines {
    stream: ByteStream,
    /// The part of a line that the last chunk ended in.
    rest: Vec<u8>,
    lines: u64,
    blank_so_far: bool,
    done: bool,
}

impl JsonLines {
    pub(crate) fn new(stream: ByteStream) -> Self {
        Self { stream, rest: Vec::new(), lines: 0, blank_so_far: true, done: false }
    }

    fn fill(&mut self) -> Result<Option<Payload>> {
        let mut bytes = Vec::with_capacity(self.rest.len() + CHUNK_BYTES);
        bytes.append(&mut self.rest);
        loop {
            let start = bytes.len();
            bytes.resize(start + CHUNK_BYTES, 0);
            let count = match self.stream.read_full(&mut bytes[start..], self.lines) {
                Ok(count) => count,
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            };
            bytes.truncate(start + count);
            if count < CHUNK_BYTES {
                self.done = true;
                break;
            }
            if let Some(end) = memchr::memrchr(b'\n', &bytes[start..]) {
                self.rest = bytes.split_off(start + end + 1);
                break;
            }
        }
        self.lines += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        self.blank_so_far &= bytes.iter().all(u8::is_ascii_whitespace);
        if self.done && self.blank_so_far {
            return Err(empty(self.stream.name(), "only blank lines"));
        }
        Ok(if bytes.is_empty() { None } else { Some(Payload::Lines(bytes)) })
    }
}

impl Iterator for JsonLines {
    type Item = Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done { None } else { self.fill().transpose() }
    }
}

/// Hands each line that is not blank to `each`, with its number from one. Returns the number of lines.
pub(crate) fn split(bytes: &[u8], each: &mut dyn FnMut(u64, Range<usize>)) -> u64 {
    let (mut start, mut number) = (0, 0);
    for end in memchr::memchr_iter(b'\n', bytes).chain((!bytes.ends_with(b"\n")).then_some(bytes.len())) {
        number += 1;
        let line = bytes[start..end].strip_suffix(b"\r").unwrap_or(&bytes[start..end]);
        if !line.iter().all(u8::is_ascii_whitespace) {
            each(number, start..start + line.len());
        }
        start = end + 1;
    }
    number
}

/// Decodes a chunk of lines; a row is a line.
pub(crate) fn visit(bytes: &[u8], each: &mut dyn FnMut(Item)) -> u64 {
    split(bytes, &mut |row, range| {
        let content = parse(&bytes[range.clone()]).and_then(object).map(Record::new);
        each(Item { row, place: Place::Bytes(range), content });
    })
}

/// Parses one line.
pub(crate) fn parse(line: &[u8]) -> Result<Value, Unreadable> {
    let text = std::str::from_utf8(line).map_err(|error| Unreadable::encoding(line, error))?;
    super::strict::parse(text, "one JSON object in the line")
}

/// A record must be an object.
pub(crate) fn object(value: Value) -> Result<Fields, Unreadable> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => {
            let found = excerpt(&other.to_string(), SHOWN);
            Err(Unreadable::syntax(format!("expected an object with named fields, found {}: {found}", kind_of(&other))))
        }
    }
}

/// The first characters of a text, for messages.
pub fn excerpt(text: &str, shown: usize) -> String {
    match text.char_indices().nth(shown) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: &[u8]) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        let mut base = 0;
        for chunk in JsonLines::new(ByteStream::from_bytes("x", bytes.to_vec())) {
            base += chunk.unwrap().visit(None, &mut |item| found.push((base + item.row, item.content.is_ok())));
        }
        found
    }

    #[test]
    fn rows_are_lines_and_blank_lines_count() {
        assert_eq!(rows(b"{\"a\":1}\r\n\n{\"a\":2}\n[1]\n{\"a\""), [(1, true), (3, true), (4, false), (5, false)]);
    }

    #[test]
    fn chunks_hold_whole_lines() {
        let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(70_000));
        let found = rows(line.repeat(40).as_bytes());
        assert_eq!(found.len(), 40);
        assert!(found.iter().enumerate().all(|(index, (row, ok))| *row == index as u64 + 1 && *ok));
    }

    #[test]
    fn a_line_longer_than_a_chunk_is_one_record() {
        let line = format!("{{\"text\":\"{}\"}}\n{{}}", "x".repeat(3 << 20));
        assert_eq!(rows(line.as_bytes()), [(1, true), (2, true)]);
    }

    #[test]
    fn invalid_utf8_is_told_apart() {
        let unreadable = parse(b"{\"a\":\"\xe9\"}").unwrap_err();
        assert!(unreadable.encoding && unreadable.detail.contains("0xe9"), "{unreadable:?}");
    }
}
