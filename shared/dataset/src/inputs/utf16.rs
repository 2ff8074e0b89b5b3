//! UTF-16 to UTF-8 on the way, for spreadsheets that export it.

use std::io::{Error, ErrorKind, Read, Result};

/// Reads UTF-16 and gives UTF-8.
pub(crate) struct Utf16Reader<R> {
    inner: R,
    big_endian: bool,
    /// Bytes read that do not make a whole character yet.
    pending: Vec<u8>,
    /// UTF-8 not handed out yet, and how much of it was.
    ready: Vec<u8>,
    given: usize,
}

impl<R: Read> Utf16Reader<R> {
    /// `inner` starts after the byte order mark.
    pub(crate) fn new(inner: R, big_endian: bool) -> Self {
        Self { inner, big_endian, pending: Vec::new(), ready: Vec::new(), given: 0 }
    }

    fn refill(&mut self) -> Result<()> {
        self.ready.clear();
        self.given = 0;
        while self.ready.is_empty() {
            let kept = self.pending.len();
            self.pending.resize(kept + 16 * 1024, 0);
            let count = self.inner.read(&mut self.pending[kept..])?;
            self.pending.truncate(kept + count);
            if count == 0 {
                return if kept == 0 { Ok(()) } else { Err(broken("the data ends inside a UTF-16 character")) };
            }
            self.decode()?;
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<()> {
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let mut units: Vec<u16> = self.pending.chunks_exact(2).map(unit).collect();
        // A high surrogate at the end waits for its other half.
        if units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
            units.pop();
        }
        self.pending.drain(..units.len() * 2);
        let mut buffer = [0; 4];
        for character in char::decode_utf16(units) {
            let character = character.map_err(|_| broken("a UTF-16 surrogate stands alone"))?;
            self.ready.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
        Ok(())
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.given == self.ready.len() {
            self.refill()?;
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}
