//! Compression by its first bytes, never by the file's name.

use std::io::{BufRead, Error, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Looks at the first bytes of a stream.
    pub(crate) fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// Names a compression that is known and not read, so that the message can say so.
    pub(crate) fn unsupported(first: &[u8]) -> Option<(&'static str, &'static str)> {
        match first {
            [b'P', b'K', 3, 4, ..] => Some(("zip", "unzip -p FILE | retune-ingest -")),
            [b'7', b'z', 0xbc, 0xaf, ..] => Some(("7z", "7z x -so FILE | retune-ingest -")),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// Wraps a stream so that what comes out is plain. Streams of several members come out as one.
    pub(crate) fn decode<R: BufRead + Send + 'static>(self, inner: R) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::None => Box::new(inner),
            Self::Gzip => Box::new(Decoded(Members { member: Some(GzDecoder::new(inner)) })),
            Self::Zstd => Box::new(Decoded(zstd::stream::read::Decoder::with_buffer(inner)?)),
            Self::Bzip2 => Box::new(Decoded(bzip2::bufread::MultiBzDecoder::new(inner))),
            Self::Xz => Box::new(Decoded(lzma_rust2::XzReader::new(inner, true))),
        })
    }
}

/// What a decoder says of data that it cannot decode, told apart from what the system says of a file and from what
/// later readers say of the plain text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Undecodable(String);

/// Marks the errors of a decoder.
struct Decoded<R>(R);

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::Interrupted => error,
            _ if error.raw_os_error().is_some() => error,
            kind => Error::new(kind, Undecodable(error.to_string())),
        })
    }
}

/// All members of a gzip file. As the gzip program does, zeros that pad the end are passed over; anything else that
/// follows is told as what it is.
struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.member = match self.member.take() {
                Some(ended) => next_member(ended.into_inner())?,
                None => None,
            };
        }
        Ok(0)
    }
}

fn next_member<R: BufRead>(mut rest: R) -> std::io::Result<Option<GzDecoder<R>>> {
    loop {
        let bytes = rest.fill_buf()?;
        match bytes.iter().position(|byte| *byte != 0) {
            None if bytes.is_empty() => return Ok(None),
            None => {
                let zeros = bytes.len();
                rest.consume(zeros);
            }
            Some(at) if bytes[at] == 0x1f => {
                rest.consume(at);
                return Ok(Some(GzDecoder::new(rest)));
            }
            Some(_) => return Err(Error::new(ErrorKind::InvalidData, "what follows the gzip data is no gzip data")),
        }
    }
}
