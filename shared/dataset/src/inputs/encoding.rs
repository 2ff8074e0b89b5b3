//! Character encodings: told by the byte order mark, by the bytes themselves, or by the user; all become UTF-8.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Result};
use std::path::Path;

use super::utf16::Utf16Reader;

/// How characters are written in a file of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
    /// Latin-1, with the characters that Windows-1252 has in the place of Latin-1's second row of control characters.
    Windows1252,
}

impl Encoding {
    /// The names that `--encoding` takes, beside `auto`.
    pub const NAMES: [&str; 5] = ["utf-8", "utf-16le", "utf-16be", "latin-1", "windows-1252"];

    /// The encoding of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "utf-8" => Self::Utf8,
            "utf-16le" => Self::Utf16Le,
            "utf-16be" => Self::Utf16Be,
            "latin-1" | "windows-1252" => Self::Windows1252,
            _ => return None,
        })
    }

    /// From the first bytes: a byte order mark, or the zeros of UTF-16 text; the length of the mark comes with it.
    pub(super) fn of_first(first: &[u8]) -> Option<(Self, usize)> {
        match first {
            [0xef, 0xbb, 0xbf, ..] => return Some((Self::Utf8, 3)),
            [0xff, 0xfe, rest @ ..] if !rest.starts_with(&[0xff, 0xff]) => return Some((Self::Utf16Le, 2)),
            [0xfe, 0xff, ..] => return Some((Self::Utf16Be, 2)),
            // Tables have zeros of their own.
            [b'P', b'A', b'R', b'1', ..] | [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => {
                return None;
            }
            _ => {}
        }
        let sample = &first[..first.len().min(SAMPLE)];
        let zeros = |from: usize| sample.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
        // The zero is the high byte of a Latin letter, a space or a line end; four are the least to tell by, and NUL itself
        // may stand in a text too.
        let (found, high) = match (zeros(0), zeros(1)) {
            (even, odd) if odd >= 4 && even * 8 <= odd => (Self::Utf16Le, odd),
            (even, odd) if even >= 4 && odd * 8 <= even => (Self::Utf16Be, even),
            _ => return None,
        };
        let latin = high * 20 > sample.len() * 7;
        (latin || (!is_bytewise(sample) && found.reads(sample))).then_some((found, 0))
    }

    /// Whether a sample makes sense as UTF-16: no half of a character alone, and next to no control characters.
    fn reads(self, sample: &[u8]) -> bool {
        let unit = |pair: &[u8]| match self {
            Self::Utf16Be => u16::from_be_bytes([pair[0], pair[1]]),
            _ => u16::from_le_bytes([pair[0], pair[1]]),
        };
        let mut units: Vec<u16> = sample.chunks_exact(2).map(unit).collect();
        // The sample may end inside a character.
        units.pop_if(|last| (0xd800..0xdc00).contains(last));
        match char::decode_utf16(units.iter().copied()).collect::<std::result::Result<String, _>>() {
            Ok(text) => {
                let controls = text.chars().filter(|c| c.is_control() && !"\0\t\r\n".contains(*c)).count();
                controls * 50 <= units.len()
            }
            Err(_) => false,
        }
    }

    /// From bytes that are no UTF-8: where nothing in them is a character of UTF-8 beyond ASCII, they are of a
    /// single-byte encoding. Otherwise they are UTF-8 with damage, or no text, which is told row by row.
    pub(super) fn of_sample(sample: &[u8]) -> Option<Found> {
        if controls(sample) * 50 > sample.len() {
            return None;
        }
        let mut rest = sample;
        let mut damaged = false;
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) if !valid.is_ascii() => return None,
                Ok(_) => break,
                Err(error) if !rest[..error.valid_up_to()].is_ascii() => return None,
                // The sample may end inside a character.
                Err(error) if error.error_len().is_none() => break,
                Err(error) => {
                    damaged = true;
                    rest = &rest[error.valid_up_to() + error.error_len().unwrap_or(1)..];
                }
            }
        }
        let name = if sample.iter().any(|byte| (0x80..0xa0).contains(byte)) { "Windows-1252" } else { "Latin-1" };
        damaged.then_some(Found { encoding: Self::Windows1252, name })
    }

    /// Wraps a stream so that UTF-8 comes out.
    pub(super) fn decode(self, inner: Box<dyn BufRead + Send>) -> Box<dyn BufRead + Send> {
        match self {
            Self::Utf8 => inner,
            Self::Utf16Le => Box::new(BufReader::new(Utf16Reader::new(inner, false))),
            Self::Utf16Be => Box::new(BufReader::new(Utf16Reader::new(inner, true))),
            Self::Windows1252 => Box::new(BufReader::new(SingleByte { inner, ready: Cursor::new(Vec::new()) })),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16, little endian",
            Self::Utf16Be => "UTF-16, big endian",
            Self::Windows1252 => "Latin-1 (Windows-1252)",
        }
    }
}

/// First bytes by which UTF-16 is told.
const SAMPLE: usize = 4096;

/// Whether bytes can be text of an encoding in which ASCII is one byte a character: few of them are control characters, and
/// those beyond ASCII make sense in UTF-8.
fn is_bytewise(sample: &[u8]) -> bool {
    let damaged = std::str::from_utf8(sample).is_err_and(|error| error.error_len().is_some());
    !damaged && controls(sample) * 5 <= sample.len()
}

fn controls(sample: &[u8]) -> usize {
    sample.iter().filter(|byte| byte.is_ascii_control() && !b"\t\r\n".contains(byte)).count()
}

/// An encoding and what to call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) encoding: Encoding,
    pub(super) name: &'static str,
}

/// A sample of a plain file from its first byte on that is not ASCII; empty where there is none.
pub(super) fn sample_beyond_ascii(path: &Path) -> Result<Vec<u8>> {
    const BLOCK: usize = 256 * 1024;
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match file.read(&mut block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Ok(Vec::new());
        }
        if !block[..filled].is_ascii() {
            let at = block[..filled].iter().position(|byte| !byte.is_ascii()).unwrap_or_default();
            // A character may lie across the border of two blocks.
            let mut sample = block[at..filled].to_vec();
            (&file).take(1024).read_to_end(&mut sample)?;
            return Ok(sample);
        }
    }
}

/// Reads Windows-1252 and gives UTF-8.
struct SingleByte {
    inner: Box<dyn BufRead + Send>,
    ready: Cursor<Vec<u8>>,
}

/// What the bytes from 0x80 to 0x9f stand for, as the WHATWG encoding standard has it.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

impl Read for SingleByte {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.ready.position() as usize == self.ready.get_ref().len() {
            let bytes = self.inner.fill_buf()?;
            let count = bytes.len();
            let text: String = bytes
                .iter()
                .map(|byte| match byte {
                    0x80..0xa0 => HIGH[usize::from(byte - 0x80)],
                    other => char::from(*other),
                })
                .collect();
            self.inner.consume(count);
            self.ready = Cursor::new(text.into_bytes());
        }
        self.ready.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_are_told_from_damaged_utf8() {
        let name = |bytes: &[u8]| Encoding::of_sample(bytes).map(|found| found.name);
        assert_eq!(name(b"caf\xe9 cr\xe8me"), Some("Latin-1"));
        assert_eq!(name(b"\x93smart\x94"), Some("Windows-1252"));
        assert_eq!(name("café".as_bytes()), None);
        assert_eq!(name("café and caf\u{e9}".as_bytes()), None);
        assert_eq!(name(b"caf\xc3\xa9 and caf\xe9!"), None);
        assert_eq!(name(b"plain"), None);
        // Cut inside a character.
        assert_eq!(name(b"plain \xc3"), None);
    }

    #[test]
    fn windows_1252_becomes_utf8() {
        let mut text = String::new();
        let inner: Box<dyn BufRead + Send> = Box::new(Cursor::new(b"\x93caf\xe9\x94 \x80".to_vec()));
        Encoding::Windows1252.decode(inner).read_to_string(&mut text).unwrap();
        assert_eq!(text, "“café” €");
    }

    #[test]
    fn utf16_is_told_without_a_mark() {
        let little: Vec<u8> = "text,label\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "text,label\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(Encoding::of_first(&little), Some((Encoding::Utf16Le, 0)));
        assert_eq!(Encoding::of_first(&big), Some((Encoding::Utf16Be, 0)));
        assert_eq!(Encoding::of_first(b"text,label\n"), None);
        assert_eq!(Encoding::of_first(b"a\0b"), None);
        // With NUL among the characters, and in scripts whose high bytes are others.
        for text in ["with \0 in a line\n", "今天天气很好\n", "Добрый день, мир\n", "{\"text\":\"我们去公园散步吧\"}\n"]
        {
            let text = text.repeat(8);
            let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            assert_eq!(Encoding::of_first(&little), Some((Encoding::Utf16Le, 0)), "{text}");
            assert_eq!(Encoding::of_first(&big), Some((Encoding::Utf16Be, 0)), "{text}");
            assert_eq!(Encoding::of_first(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Encoding::of_first("näme\0x, näme\0yz\n".repeat(9).as_bytes()), None);
    }
}
