//! CSV and TSV: a header line, then records whose fields may hold line ends in quotes.

use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::payload::{Payload, Unreadable};
use super::record::Fields;
use super::{CHUNK_BYTES, empty};
use crate::error::{Error, Result};
use crate::inputs::ByteStream;

/// Delimiters that are looked for in a header line.
const DELIMITERS: [(u8, &str); 4] = [(b',', "comma"), (b';', "semicolon"), (b'\t', "tab"), (b'|', "bar")];

/// Cuts delimited values into chunks of records.
pub(crate) struct Delimited {
    name: String,
    reader: csv::Reader<Quotes>,
    quotes: Arc<AtomicU64>,
    failure: Box<dyn Fn(std::io::Error, u64) -> Error + Send>,
    header: Arc<Vec<String>>,
    note: Option<String>,
    rows: u64,
    done: bool,
}

impl Delimited {
    /// Reads the header.
    pub(crate) fn new(stream: ByteStream, delimiter: Option<u8>) -> Result<Self> {
        let name = stream.name().to_owned();
        let failure = Box::new(stream.failure_later());
        let mut reader = stream.into_reader();
        let first = reader.fill_buf().map_err(|error| failure(error, 0))?;
        let found = delimiter.unwrap_or_else(|| find_delimiter(first));
        let note = DELIMITERS.iter().find(|(byte, _)| *byte == found && found != b',' && delimiter.is_none());
        let note = note.map(|(_, word)| format!("delimiter found: {word}"));
        let quotes = Arc::new(AtomicU64::new(0));
        let reader = Quotes { inner: reader, found: Arc::clone(&quotes) };
        let mut reader = csv::ReaderBuilder::new().delimiter(found).flexible(true).from_reader(reader);
        let header = reader.byte_headers().map_err(|error| csv_failure(error, &failure, 0))?;
        let header = Arc::new(column_names(&name, header)?);
        Ok(Self { name, reader, quotes, failure, header, note, rows: 0, done: false })
    }

    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    pub(crate) fn note(&self) -> Option<String> {
        self.note.clone()
    }

    fn fill(&mut self) -> Result<Option<Payload>> {
        let (mut records, mut size) = (Vec::new(), 0);
        while size < CHUNK_BYTES {
            let mut record = csv::ByteRecord::new();
            let more = self.reader.read_byte_record(&mut record);
            if !more.map_err(|error| csv_failure(error, &self.failure, self.rows))? {
                self.done = true;
                self.check_quotes(records.last())?;
                break;
            }
            self.rows += 1;
            size += record.as_slice().len();
            records.push(record);
        }
        if self.rows == 0 {
            return Err(empty(&self.name, &format!("a header line and nothing below it: {}", self.header.join(", "))));
        }
        Ok((!records.is_empty()).then(|| Payload::Delimited { header: Arc::clone(&self.header), records }))
    }
}

impl Delimited {
    /// A quote that never closes takes all that follows into one field: then the quotes of the file are of odd
    /// number, and its last record holds line ends.
    fn check_quotes(&self, last: Option<&csv::ByteRecord>) -> Result<()> {
        let odd = !self.quotes.load(Ordering::Relaxed).is_multiple_of(2);
        match last.filter(|last| odd && last.as_slice().contains(&b'\n')) {
            None => Ok(()),
            Some(last) => Err(Error::Broken {
                file: self.name.clone(),
                row: last.position().map_or(self.rows, csv::Position::line),
                detail: "the record that begins here has a quote that never closes".into(),
                skippable: false,
            }),
        }
    }
}

/// Counts the quotes that pass.
struct Quotes {
    inner: Box<dyn BufRead + Send>,
    found: Arc<AtomicU64>,
}

impl Read for Quotes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let quotes = memchr::memchr_iter(b'"', &buffer[..count]).count();
        self.found.fetch_add(quotes as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Iterator for Delimited {
    type Item = Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let filled = self.fill();
        self.done |= filled.is_err();
        filled.transpose()
    }
}

fn csv_failure(error: csv::Error, failure: &dyn Fn(std::io::Error, u64) -> Error, rows: u64) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => failure(error, rows),
        other => failure(std::io::Error::other(format!("{other:?}")), rows),
    }
}

/// The delimiter that the header line has most of outside quotes; comma where none is there.
fn find_delimiter(first: &[u8]) -> u8 {
    let mut counts = [0usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in first {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            byte if !quoted => {
                if let Some(index) = DELIMITERS.iter().position(|(delimiter, _)| delimiter == byte) {
                    counts[index] += 1;
                }
            }
            _ => {}
        }
    }
    let best = counts.iter().max().copied().unwrap_or_default();
    let index = counts.iter().position(|count| *count == best).unwrap_or_default();
    DELIMITERS[index].0
}

fn column_names(file: &str, header: &csv::ByteRecord) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name).map_err(|error| Error::BadFile {
            file: file.to_owned(),
            detail: format!("the header line: {}", Unreadable::encoding(name, error).detail),
            hint: String::new(),
        })?;
        let name = if name.trim().is_empty() { format!("column_{}", index + 1) } else { name.trim().to_owned() };
        if names.contains(&name) {
            return Err(Error::BadFile {
                file: file.to_owned(),
                detail: format!("the header has the column `{name}` twice: {}", names.join(", ")),
                hint: "rename one of them in the header line".into(),
            });
        }
        names.push(name);
    }
    Ok(names)
}

/// A record as an object; all values are text.
pub(crate) fn value(header: &[String], record: &csv::ByteRecord) -> Result<Value, Unreadable> {
    let line = record.position().map(csv::Position::line);
    if record.len() != header.len() {
        let (expected, names) = (header.len(), header.join(", "));
        let first = super::lines::excerpt(&String::from_utf8_lossy(record.as_slice()), super::lines::SHOWN);
        let detail = format!("expected {expected} fields ({names}), found {}: {first}", record.len());
        return Err(Unreadable { line, ..Unreadable::syntax(detail) });
    }
    let mut fields = Fields::new();
    for (name, field) in header.iter().zip(record) {
        let text = std::str::from_utf8(field).map_err(|error| Unreadable {
            line,
            detail: format!("column `{name}`: {}", Unreadable::encoding(field, error).detail),
            ..Unreadable::encoding(field, error)
        })?;
        fields.insert(name.clone(), Value::String(text.to_owned()));
    }
    Ok(Value::Object(fields))
}

/// A record as JSON text, whatever is wrong with it.
pub(crate) fn raw(header: &[String], record: &csv::ByteRecord) -> String {
    let name = |index: usize| header.get(index).cloned().unwrap_or_else(|| format!("column_{}", index + 1));
    let text = |field: &[u8]| Value::String(String::from_utf8_lossy(field).into_owned());
    Value::Object(record.iter().enumerate().map(|(index, field)| (name(index), text(field))).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Result<String, String>> {
        let reader = Delimited::new(ByteStream::from_bytes("x.csv", text.into()), None).unwrap();
        let mut found = Vec::new();
        for chunk in reader {
            chunk.unwrap().visit(None, &mut |item| {
                found.push(
                    item.content.map(|record| Value::Object(record.fields).to_string()).map_err(|bad| bad.detail),
                );
            });
        }
        found
    }

    #[test]
    fn quoted_line_ends_and_delimiters() {
        let expected = vec![Ok("{\"a\":\"x\\ny\",\"b\":\"1, \\\"2\\\"\"}".to_owned())];
        assert_eq!(rows("a,b\r\n\"x\ny\",\"1, \"\"2\"\"\"\r\n"), expected);
        assert_eq!(rows("a;b\n\"x\ny\";\"1, \"\"2\"\"\"\n"), expected);
    }

    #[test]
    fn a_missing_field_is_told_with_the_columns() {
        let found = rows("a,b,c\n1,2,3\n4,5\n");
        assert!(found[0].is_ok());
        assert!(found[1].as_ref().unwrap_err().starts_with("expected 3 fields (a, b, c), found 2"));
    }

    #[test]
    fn a_quote_that_never_closes_is_told() {
        let read =
            |text: &str| Delimited::new(ByteStream::from_bytes("x.csv", text.into()), None).unwrap().next().unwrap();
        let error = read("a,b\n1,\"2\n3,4\n5,6\n").unwrap_err().to_string();
        assert!(error.starts_with("x.csv:2: the record that begins here has a quote"), "{error}");
        assert!(read("a,b\n1,5\" pipe\n").is_ok());
        assert!(read("a,b\n1,\"x\ny\"\n").is_ok());
    }

    #[test]
    fn headers_are_checked() {
        let open = |text: &str| Delimited::new(ByteStream::from_bytes("x.csv", text.into()), None);
        assert!(open("a,a\n").is_err());
        assert_eq!(open("a,,b\n").unwrap().header(), ["a", "column_2", "b"]);
        assert!(matches!(open("a,b\n").unwrap().next(), Some(Err(Error::Empty { .. }))));
    }
}
