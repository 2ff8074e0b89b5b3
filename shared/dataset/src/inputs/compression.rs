//! Compression by its first bytes, never by the file's name.

use std::io::{BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Looks at the first bytes of a stream.
    pub(crate) fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Names a compression that is known and not read, so that the message can say so.
    pub(crate) fn unsupported(first: &[u8]) -> Option<(&'static str, &'static str)> {
        match first {
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Some(("bzip2", "bunzip2 -c FILE | retune-ingest -")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(("xz", "xz -dc FILE | retune-ingest -")),
            [b'P', b'K', 3, 4, ..] => Some(("zip", "unzip -p FILE | retune-ingest -")),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Wraps a stream so that what comes out is plain.
    pub(crate) fn decode<R: BufRead + Send + 'static>(self, inner: R) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::None => Box::new(inner),
            Self::Gzip => Box::new(MultiGzDecoder::new(inner)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(inner)?),
        })
    }
}
