//! Opening one input: bytes counted as stored, decompressed, made UTF-8, and its container recognised.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compression::{Compression, Undecodable};
use super::container::{self, Container};
use super::discover::Input;
use super::encoding::{Encoding, Found, sample_beyond_ascii};
use crate::error::{Error, Result};
use crate::records::excerpt;

/// Enough to see a few records.
const SNIFFED: usize = 64 * 1024;

/// Bytes read so far from all inputs, as stored on disk.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
}

impl Progress {
    /// Stored bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A plain stream of UTF-8 bytes with its place in the stored file.
pub struct ByteStream {
    inner: Box<dyn BufRead + Send>,
    place: Place,
}

/// Where reading stands, for messages.
#[derive(Clone)]
struct Place {
    name: String,
    size: Option<u64>,
    offset: Arc<AtomicU64>,
    compression: Compression,
}

/// An opened input.
pub(crate) struct Opened {
    pub(crate) stream: ByteStream,
    pub(crate) container: Container,
    /// Things found that a reader of the report should know, such as the encoding.
    pub(crate) notes: Vec<String>,
}

impl ByteStream {
    /// A stream over bytes in memory, for tests and nested use.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Self {
        let size = Some(bytes.len() as u64);
        let place =
            Place { name: name.into(), size, offset: Arc::new(AtomicU64::new(0)), compression: Compression::None };
        Self { inner: Box::new(Cursor::new(bytes)), place }
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Fills as much of `buffer` as the stream still has.
    ///
    /// # Errors
    /// [`Error::CutShort`] and [`Error::Read`], with `rows` as the records read before.
    pub fn read_full(&mut self, buffer: &mut [u8], rows: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error, rows)),
            }
        }
        Ok(filled)
    }

    /// Turns a failure of the stream into a message with its place.
    pub fn failure(&self, error: std::io::Error, rows: u64) -> Error {
        self.place.failure(error, rows)
    }

    /// A function for readers that take the stream away and report their errors later.
    pub(crate) fn failure_later(&self) -> impl Fn(std::io::Error, u64) -> Error + Send + 'static {
        let place = self.place.clone();
        move |error, rows| place.failure(error, rows)
    }

    pub(crate) fn into_reader(self) -> Box<dyn BufRead + Send> {
        self.inner
    }
}

impl Place {
    fn failure(&self, source: std::io::Error, rows: u64) -> Error {
        let offset = self.offset.load(Ordering::Relaxed);
        if source.kind() == std::io::ErrorKind::UnexpectedEof && self.compression != Compression::None {
            return Error::CutShort { file: self.name.clone(), compression: self.compression.name(), offset, rows };
        }
        if matches!(source.get_ref(), Some(cause) if cause.is::<Undecodable>()) {
            let (file, compression, size) = (self.name.clone(), self.compression.name(), size_of(self.size));
            return Error::Damaged { file, compression, offset, size, rows, cause: source.to_string() };
        }
        fail_read(&self.name, self.size, offset, rows, source)
    }
}

fn size_of(size: Option<u64>) -> String {
    size.map_or_else(|| "unknown size".into(), |size| size.to_string())
}

/// What is wrong with the compressed data of a file, if anything, by reading all of it: gzip has its checksum at the
/// end, so that damage shows first as records that make no sense. `rows` is what had been read before that.
pub(crate) fn damage(input: &Input, rows: u64) -> Option<Error> {
    let here = Arc::new(AtomicU64::new(0));
    let source = File::open(input.path.as_ref()?).ok()?;
    let mut stored = BufReader::new(Counting { inner: source, here: Arc::clone(&here), progress: Arc::default() });
    let compression = Compression::of(stored.fill_buf().ok()?);
    let place = Place { name: input.name.clone(), size: input.size, offset: here, compression };
    let decoded = match compression {
        Compression::None => return None,
        other => other.decode(stored).and_then(|mut plain| std::io::copy(&mut plain, &mut std::io::sink())),
    };
    decoded.err().map(|error| place.failure(error, rows))
}

/// A reading failure of a file that is not a stream.
pub(crate) fn fail_read(name: &str, size: Option<u64>, offset: u64, rows: u64, source: std::io::Error) -> Error {
    Error::Read { file: name.into(), offset, size: size_of(size), rows, source }
}

/// Counts what passes through, for this file and for the whole run.
struct Counting<R> {
    inner: R,
    here: Arc<AtomicU64>,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.here.fetch_add(count as u64, Ordering::Relaxed);
        self.progress.add(count as u64);
        Ok(count)
    }
}

/// Opens `input`; `promised` is the container that the user named, which wins over the file's ending, `encoding` the
/// encoding that the user named.
///
/// # Errors
/// A file that cannot be opened, is cut short in its first bytes, has no byte, or is of no known kind.
pub(crate) fn open(
    input: &Input,
    promised: Option<Container>,
    encoding: Option<Encoding>,
    progress: &Arc<Progress>,
) -> Result<Opened> {
    let source: Box<dyn Read + Send> = match &input.path {
        None => Box::new(std::io::stdin()),
        Some(path) => Box::new(File::open(path).map_err(|source| Error::Open { path: path.clone(), source })?),
    };
    let here = Arc::new(AtomicU64::new(0));
    let counting = Counting { inner: source, here: Arc::clone(&here), progress: Arc::clone(progress) };
    let mut stored = BufReader::with_capacity(256 * 1024, counting);
    let mut place = Place { name: input.name.clone(), size: input.size, offset: here, compression: Compression::None };
    let magic = stored.fill_buf().map_err(|error| place.failure(error, 0))?;
    if magic.is_empty() {
        return Err(Error::Empty { file: input.name.clone(), detail: "0 bytes".into() });
    }
    if let Some((found, command)) = Compression::unsupported(magic) {
        return Err(Error::BadFile {
            file: input.name.clone(),
            detail: format!("expected plain data, or gzip, zstd, bzip2 or xz, found {found}"),
            hint: format!("decompress it on the way: {command}"),
        });
    }
    place.compression = Compression::of(magic);
    let plain = place.compression.decode(stored).map_err(|error| place.failure(error, 0))?;
    let mut stream = ByteStream { inner: Box::new(BufReader::new(plain)), place };
    let mut first = vec![0; SNIFFED];
    let length = stream.read_full(&mut first, 0)?;
    first.truncate(length);
    if first.is_empty() {
        return Err(Error::Empty { file: input.name.clone(), detail: "0 bytes after decompression".into() });
    }
    recognise(input, promised, encoding, stream, first)
}

fn recognise(
    input: &Input,
    promised: Option<Container>,
    encoding: Option<Encoding>,
    stream: ByteStream,
    first: Vec<u8>,
) -> Result<Opened> {
    let named = input.path.as_deref().and_then(container::by_name);
    let default = if input.path.is_none() { Some(Container::JsonLines) } else { None };
    let ByteStream { inner, place } = stream;
    let failed = |error| place.failure(error, 0);
    let Plain { inner, first, mut notes, told } = to_utf8(inner, first, encoding).map_err(failed)?;
    if first.is_empty() {
        return Err(Error::Empty { file: input.name.clone(), detail: "a byte order mark and nothing else".into() });
    }
    let container = container::sniff(promised.or(named).or(default), &first).ok_or_else(|| Error::BadFile {
        file: input.name.clone(),
        detail: "expected JSONL, JSON, CSV, TSV, Parquet, Arrow or text, found binary data of an unknown kind".into(),
        hint: format!("name the format with --input-format {}", Container::NAMES.join("|")),
    })?;
    let container = match promised {
        // What the user says is binding, but an Arrow stream and file are one thing to a user.
        Some(Container::ArrowStream) if container == Container::ArrowFile => container,
        Some(promised) => promised,
        None => container,
    };
    let start = first.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    // Standard input has no ending that could tell more.
    if promised.is_none() && named.is_none() && container == Container::JsonLines && start != Some(b'{') {
        let line = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let found = excerpt(&String::from_utf8_lossy(line), 60);
        return Err(Error::BadFile {
            file: input.name.clone(),
            detail: format!("expected JSONL, JSON or an Arrow stream, found `{}`", found.trim()),
            hint: "name another format: --input-format csv, tsv or text".into(),
        });
    }
    let mut inner: Box<dyn BufRead + Send> = Box::new(Cursor::new(first.clone()).chain(inner));
    if !told && matches!(container, Container::Delimited(_) | Container::Text) {
        let found = single_byte(input, &place, &first).map_err(failed)?;
        notes.extend(found.map(|found| format!("encoding found: {}", found.name)));
        inner = found.map_or(Encoding::Utf8, |found| found.encoding).decode(inner);
    }
    Ok(Opened { stream: ByteStream { inner, place }, container, notes })
}

/// Looks for a single-byte encoding, in the first bytes or, where those are ASCII, further on in a plain file.
fn single_byte(input: &Input, place: &Place, first: &[u8]) -> std::io::Result<Option<Found>> {
    match &input.path {
        Some(path) if first.is_ascii() && first.len() >= SNIFFED && place.compression == Compression::None => {
            Ok(Encoding::of_sample(&sample_beyond_ascii(path)?))
        }
        _ => Ok(Encoding::of_sample(first)),
    }
}

/// A stream of UTF-8, or of bytes of which only the container can tell more.
struct Plain {
    inner: Box<dyn BufRead + Send>,
    first: Vec<u8>,
    notes: Vec<String>,
    /// Whether the encoding is known for certain.
    told: bool,
}

/// Takes off a byte order mark; what is not UTF-8 becomes it.
fn to_utf8(inner: Box<dyn BufRead + Send>, mut first: Vec<u8>, asked: Option<Encoding>) -> std::io::Result<Plain> {
    let found = Encoding::of_first(&first);
    let (encoding, note) = match (asked, found) {
        (Some(asked), _) => (asked, None),
        (None, None) => return Ok(Plain { inner, first, notes: Vec::new(), told: false }),
        (None, Some((Encoding::Utf8, _))) => (Encoding::Utf8, Some("UTF-8 with byte order mark".to_owned())),
        (None, Some((found, 0))) => (found, Some(format!("{}, without byte order mark", found.name()))),
        (None, Some((found, _))) => (found, Some(found.name().to_owned())),
    };
    let mark = found.filter(|(found, _)| *found == encoding).map_or(0, |(_, mark)| mark);
    first.drain(..mark);
    let notes = note.into_iter().collect();
    if encoding == Encoding::Utf8 {
        return Ok(Plain { inner, first, notes, told: true });
    }
    let mut decoder = encoding.decode(Box::new(Cursor::new(first).chain(inner)));
    let plain = decoder.fill_buf()?.to_vec();
    decoder.consume(plain.len());
    Ok(Plain { inner: decoder, first: plain, notes, told: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn opened(name: &str, bytes: &[u8]) -> Result<(Container, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let input = Input { path: Some(path), name: name.into(), size: Some(bytes.len() as u64) };
        let mut opened = open(&input, None, None, &Arc::new(Progress::default()))?;
        let mut buffer = vec![0; 1 << 20];
        let length = opened.stream.read_full(&mut buffer, 7)?;
        buffer.truncate(length);
        Ok((opened.container, String::from_utf8(buffer).unwrap()))
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compression_is_told_by_its_bytes() {
        let text = b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(text).unwrap();
        // As the program xz writes it.
        let xz = vec![
            0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x16, 0x00,
            0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0xe0, 0x00, 0x19, 0x00, 0x16, 0x5d, 0x00, 0x3d, 0x88, 0x8a, 0x86, 0x94,
            0x88, 0x13, 0xe0, 0xf3, 0x89, 0x42, 0xa0, 0xef, 0x3a, 0xaa, 0xb1, 0xba, 0x99, 0x7f, 0xde, 0x00, 0x00, 0x00,
            0x00, 0x00, 0xac, 0x72, 0xa4, 0x6c, 0x5e, 0xf5, 0x63, 0xb4, 0x00, 0x01, 0x32, 0x1a, 0x20, 0x18, 0x94, 0x30,
            0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
        ];
        for bytes in [text.to_vec(), gzip(text), zstd::encode_all(&text[..], 1).unwrap(), bzip2.finish().unwrap(), xz] {
            let (container, plain) = opened("x.json", &bytes).unwrap();
            assert_eq!((container, plain.as_bytes()), (Container::JsonLines, &text[..]));
        }
        let members: Vec<u8> = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(opened("x.txt", &members).unwrap().1, "one two");
    }

    #[test]
    fn a_cut_stream_is_told_with_its_place() {
        let noise: Vec<u8> = (0..200_000u32).map(|i| b'a' + (i.wrapping_mul(2654435761) >> 27) as u8 % 26).collect();
        for whole in [gzip(&noise), zstd::encode_all(&noise[..], 1).unwrap()] {
            let cut = &whole[..whole.len() - 1000];
            let message = opened("x.txt", cut).unwrap_err().to_string();
            assert!(message.contains("cut short") && message.contains(&cut.len().to_string()), "{message}");
            assert!(message.contains("7 rows"), "{message}");
        }
    }

    #[test]
    fn byte_order_marks_are_taken_off() {
        let text = "text,label\nGrüße 𝄞,x\n";
        let mut little = vec![0xff, 0xfe];
        little.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let mut big = vec![0xfe, 0xff];
        big.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        for bytes in [[b"\xef\xbb\xbf", text.as_bytes()].concat(), little, big] {
            assert_eq!(opened("x.csv", &bytes).unwrap().1, text);
        }
    }

    #[test]
    fn known_but_unread_kinds_are_named() {
        let error = opened("x.zip", b"PK\x03\x04....").unwrap_err();
        assert!(error.to_string().contains("zip") && error.hint().unwrap().contains("unzip"));
        assert!(matches!(opened("x.jsonl", b""), Err(Error::Empty { .. })));
    }
}
