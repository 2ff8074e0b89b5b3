//! Running text: a document in each file, in each line, or between separators; and pairs of line-aligned texts.

use super::payload::Payload;
use super::{CHUNK_BYTES, empty};
use crate::error::{Error, Result};
use crate::inputs::ByteStream;

/// `--text-split`: what one text is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TextSplit {
    /// The whole file.
    #[default]
    Document,
    /// Each line that is not blank.
    Line,
    /// What stands between two occurrences of this text; white space around it is taken off.
    Separator(String),
}

impl TextSplit {
    /// `document`, `line`, or any other text as the separator, with `\n` and `\t` for line end and tab.
    ///
    /// # Errors
    /// A sentence where the text is empty.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "document" => Ok(Self::Document),
            "line" => Ok(Self::Line),
            "" => Err("expected document, line or a separator, found nothing".into()),
            other => Ok(Self::Separator(other.replace("\\n", "\n").replace("\\t", "\t"))),
        }
    }
}

/// Cuts a stream at a separator.
struct Pieces {
    stream: ByteStream,
    separator: Vec<u8>,
    pending: Vec<u8>,
    /// Where in `pending` the search goes on.
    from: usize,
    ended: bool,
    rows: u64,
}

impl Pieces {
    fn new(stream: ByteStream, separator: &[u8]) -> Self {
        Self { stream, separator: separator.to_vec(), pending: Vec::new(), from: 0, ended: false, rows: 0 }
    }

    /// The next piece, blank ones too; `None` at the end. What follows the last separator counts if not blank.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.pending[self.from..], &self.separator) {
                let end = self.from + at;
                let piece = self.pending[..end].to_vec();
                self.pending.drain(..end + self.separator.len());
                self.from = 0;
                self.rows += 1;
                return Ok(Some(piece));
            }
            if self.ended {
                let piece = std::mem::take(&mut self.pending);
                self.from = 0;
                self.rows += 1;
                return Ok(if piece.is_empty() { None } else { Some(piece) });
            }
            self.from = (self.pending.len() + 1).saturating_sub(self.separator.len());
            let start = self.pending.len();
            self.pending.resize(start + CHUNK_BYTES, 0);
            let count = self.stream.read_full(&mut self.pending[start..], self.rows)?;
            self.pending.truncate(start + count);
            self.ended = count < CHUNK_BYTES;
        }
    }
}

/// Cuts text into chunks.
pub(crate) struct Texts {
    stream: Option<ByteStream>,
    pieces: Option<Pieces>,
    line: bool,
    name: String,
    found: bool,
}

impl Texts {
    pub(crate) fn new(stream: ByteStream, split: TextSplit) -> Self {
        let name = stream.name().to_owned();
        let line = split == TextSplit::Line;
        let (stream, pieces) = match split {
            TextSplit::Document => (Some(stream), None),
            TextSplit::Line => (None, Some(Pieces::new(stream, b"\n"))),
            TextSplit::Separator(separator) => (None, Some(Pieces::new(stream, separator.as_bytes()))),
        };
        Self { stream, pieces, line, name, found: false }
    }

    fn document(&self, mut stream: ByteStream) -> Result<Payload> {
        let mut bytes = Vec::new();
        loop {
            let start = bytes.len();
            bytes.resize(start + CHUNK_BYTES, 0);
            let count = stream.read_full(&mut bytes[start..], 0)?;
            bytes.truncate(start + count);
            if count < CHUNK_BYTES {
                break;
            }
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(empty(&self.name, "only white space"));
        }
        Ok(texts(vec![(1, vec![bytes])], 1))
    }

    fn fill(&mut self) -> Result<Option<Payload>> {
        if let Some(stream) = self.stream.take() {
            return self.document(stream).map(Some);
        }
        let Some(pieces) = &mut self.pieces else { return Ok(None) };
        let (mut records, mut size, mut span) = (Vec::new(), 0, 0);
        while size < CHUNK_BYTES {
            let Some(piece) = pieces.next()? else {
                self.pieces = None;
                break;
            };
            span += 1;
            let text = if self.line { piece.strip_suffix(b"\r").unwrap_or(&piece) } else { piece.trim_ascii() };
            if !text.trim_ascii().is_empty() {
                size += text.len();
                records.push((span, vec![text.to_vec()]));
            }
        }
        self.found |= !records.is_empty();
        if self.pieces.is_none() && !self.found {
            return Err(empty(&self.name, "only white space"));
        }
        Ok((span > 0).then(|| texts(records, span)))
    }
}

impl Iterator for Texts {
    type Item = Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        let filled = self.fill();
        if filled.is_err() {
            (self.stream, self.pieces) = (None, None);
        }
        filled.transpose()
    }
}

fn texts(records: Vec<(u64, Vec<Vec<u8>>)>, span: u64) -> Payload {
    Payload::Texts { fields: &["text"], records, span }
}

/// Reads two texts line by line in step.
pub(crate) struct Aligned {
    sides: Option<[Pieces; 2]>,
}

impl Aligned {
    pub(crate) fn new(source: ByteStream, target: ByteStream) -> Self {
        Self { sides: Some([Pieces::new(source, b"\n"), Pieces::new(target, b"\n")]) }
    }

    fn fill(&mut self) -> Result<Option<Payload>> {
        let Some([source, target]) = &mut self.sides else { return Ok(None) };
        let (mut records, mut size, mut span) = (Vec::new(), 0, 0);
        while size < CHUNK_BYTES {
            match (source.next()?, target.next()?) {
                (Some(left), Some(right)) => {
                    span += 1;
                    size += left.len() + right.len();
                    let line = |bytes: Vec<u8>| bytes.strip_suffix(b"\r").map(<[u8]>::to_vec).unwrap_or(bytes);
                    records.push((span, vec![line(left), line(right)]));
                }
                (None, None) => {
                    self.sides = None;
                    break;
                }
                (left, _) => {
                    let (longer, shorter) = if left.is_some() { (&*source, &*target) } else { (&*target, &*source) };
                    let (longer, shorter, lines) = (longer.stream.name(), shorter.stream.name(), shorter.rows - 1);
                    return Err(Error::BadFile {
                        file: longer.to_owned(),
                        detail: format!("expected as many lines as {shorter} has ({lines}), found more"),
                        hint: "aligned texts have one line for each line of the other; check for lost lines".into(),
                    });
                }
            }
        }
        Ok((span > 0).then(|| Payload::Texts { fields: &["source", "target"], records, span }))
    }
}

impl Iterator for Aligned {
    type Item = Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        let filled = self.fill();
        if filled.is_err() {
            self.sides = None;
        }
        filled.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, split: &str) -> Vec<(u64, String)> {
        let stream = ByteStream::from_bytes("x.txt", text.into());
        let mut found = Vec::new();
        for chunk in Texts::new(stream, TextSplit::parse(split).unwrap()) {
            chunk.unwrap().visit(None, &mut |item| {
                let record = item.content.unwrap();
                found.push((item.row, record.fields["text"].as_str().unwrap().to_owned()));
            });
        }
        found
    }

    #[test]
    fn documents_lines_and_separators() {
        assert_eq!(rows("a\n\nb\n", "document"), [(1, "a\n\nb\n".into())]);
        assert_eq!(rows("a\r\n\nb", "line"), [(1, "a".into()), (3, "b".into())]);
        assert_eq!(rows("a <e>\n<e>b\nc<e>\n", "<e>"), [(1, "a".into()), (3, "b\nc".into())]);
    }

    #[test]
    fn aligned_texts_must_have_as_many_lines() {
        let stream = |text: &str, name: &str| ByteStream::from_bytes(name, text.into());
        let pairs: Vec<_> = Aligned::new(stream("a\nb\n", "en"), stream("c\nd", "de")).collect();
        assert!(matches!(&pairs[..], [Ok(Payload::Texts { records, .. })] if records.len() == 2));
        let error = Aligned::new(stream("a\nb\n", "en"), stream("c\n", "de")).next().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("en: expected as many lines as de has (1)"), "{error}");
    }
}
