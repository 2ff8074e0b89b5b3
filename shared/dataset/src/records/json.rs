//! JSON documents, element by element: an array of records, an object of records keyed by id, one record, or
//! records deeper inside by `--records`.

use serde_json::Value;

use super::nested::{RecordsPath, Step};
use super::payload::{Element, Payload, Unreadable};
use super::scanner::Scanner;
use super::{CHUNK_BYTES, empty};
use crate::error::{Error, Result};
use crate::inputs::ByteStream;

/// Cuts a document into chunks of elements.
pub(crate) struct JsonValues {
    scanner: Scanner,
    state: State,
    /// Whether the records lie inside an object that goes on after them.
    inside: bool,
    bytes: Vec<u8>,
    elements: Vec<Element>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between the elements of an array.
    Array { first: bool },
    /// Between the entries of an object; `decided` once it is known that they are records.
    Object { first: bool, decided: bool },
    /// One value, still to be read.
    Whole,
    /// Nothing more to read.
    Done,
}

impl JsonValues {
    /// Goes to where the records begin. Returns also the steps of the path that are left inside each element.
    pub(crate) fn new(stream: ByteStream, path: Option<&RecordsPath>) -> Result<(Self, Option<RecordsPath>)> {
        let mut scanner = Scanner::new(stream);
        let mut steps = path.map(|path| path.steps().to_vec()).unwrap_or_default();
        // The outermost list may be left out of the path.
        if scanner.peek()? == Some(b'[') && !steps.is_empty() && steps[0] != Step::Each {
            steps.insert(0, Step::Each);
        }
        let mut left = steps.as_slice();
        while let [Step::Field(name), rest @ ..] = left {
            enter(&mut scanner, name)?;
            left = rest;
        }
        let state = match (left.first(), scanner.peek()?) {
            (Some(Step::Each) | None, Some(b'[')) => State::Array { first: true },
            (Some(Step::Values), Some(b'{')) => State::Object { first: true, decided: true },
            (None, Some(b'{')) if path.is_none() => State::Object { first: true, decided: false },
            (None, Some(_)) => State::Whole,
            (_, None) => return Err(empty(scanner.name(), "only white space")),
            (Some(Step::Each), found) => return Err(scanner.unexpected("`[`, a list, as --records says", found)),
            (Some(_), found) => return Err(scanner.unexpected("`{`, an object, as --records says", found)),
        };
        if matches!(state, State::Array { .. } | State::Object { .. }) {
            scanner.expect(b"[{", "a list or an object")?;
        }
        let rest = RecordsPath::of_steps(left.get(1..).unwrap_or_default());
        let nested = path.map(|_| rest.unwrap_or_else(RecordsPath::itself));
        let inside = left.len() < steps.len();
        Ok((Self { scanner, state, inside, bytes: Vec::new(), elements: Vec::new() }, nested))
    }

    fn next_element(&mut self) -> Result<bool> {
        let key = match self.state {
            State::Done => return Ok(false),
            State::Whole => None,
            State::Array { first } => {
                if self.ends(first, b']', "`,` or `]` after a record")? {
                    return Ok(false);
                }
                self.state = State::Array { first: false };
                None
            }
            State::Object { first, decided } => {
                if self.ends(first, b'}', "`,` or `}` after a value")? {
                    return Ok(false);
                }
                let key = self.scanner.key()?;
                self.scanner.expect(b":", "`:` after the key")?;
                self.state = State::Object { first: false, decided };
                Some(key)
            }
        };
        self.scanner.peek()?;
        let line = self.scanner.line;
        let start = self.bytes.len();
        self.scanner.copy_value(&mut self.bytes)?;
        self.scanner.values += 1;
        self.elements.push(Element { range: start..self.bytes.len(), line, key });
        if self.state == State::Whole {
            self.state = State::Done;
        }
        self.one_record_after_all()?;
        Ok(true)
    }

    /// Takes the separator; whether the list or object ends here.
    fn ends(&mut self, first: bool, close: u8, what: &str) -> Result<bool> {
        if self.scanner.take(close)? {
            self.state = State::Done;
            return self.nothing_follows().map(|()| true);
        }
        if !first {
            self.scanner.expect(b",", what)?;
        }
        Ok(false)
    }

    /// An object whose values are not all objects is one record, not an object of records: reads the rest of it.
    fn one_record_after_all(&mut self) -> Result<()> {
        let State::Object { decided: false, .. } = self.state else { return Ok(()) };
        let last = &self.elements[self.elements.len() - 1];
        if self.bytes[last.range.start] == b'{' {
            return Ok(());
        }
        let mut whole = vec![b'{'];
        for (index, element) in self.elements.iter().enumerate() {
            if index > 0 {
                whole.push(b',');
            }
            push_entry(&mut whole, element.key.as_deref().unwrap_or_default(), &self.bytes[element.range.clone()]);
        }
        while !self.scanner.take(b'}')? {
            self.scanner.expect(b",", "`,` or `}` after a value")?;
            let key = self.scanner.key()?;
            self.scanner.expect(b":", "`:` after the key")?;
            let mut value = Vec::new();
            self.scanner.copy_value(&mut value)?;
            whole.push(b',');
            push_entry(&mut whole, &key, &value);
        }
        whole.push(b'}');
        self.elements = vec![Element { range: 0..whole.len(), line: 1, key: None }];
        self.bytes = whole;
        self.state = State::Done;
        self.nothing_follows()
    }

    /// After the outermost value there may be only white space; around an inner one the rest is not looked at.
    fn nothing_follows(&mut self) -> Result<()> {
        match self.scanner.peek()? {
            Some(found) if !self.inside => Err(self.scanner.unexpected("the end of the file", Some(found))),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> Result<Option<Payload>> {
        while self.bytes.len() < CHUNK_BYTES && self.next_element()? {}
        if self.elements.is_empty() {
            return if self.scanner.values == 0 {
                Err(empty(self.scanner.name(), "a list without elements"))
            } else {
                Ok(None)
            };
        }
        if let State::Object { decided, .. } = &mut self.state {
            *decided = true;
        }
        let (bytes, elements) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.elements));
        Ok(Some(Payload::Json { bytes, elements }))
    }
}

impl Iterator for JsonValues {
    type Item = Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done && self.elements.is_empty() {
            return None;
        }
        let filled = self.fill();
        if filled.is_err() {
            self.state = State::Done;
            self.elements.clear();
        }
        filled.transpose()
    }
}

/// Goes into the value of `name` of the object that begins here.
fn enter(scanner: &mut Scanner, name: &str) -> Result<()> {
    scanner.expect(b"{", &format!("an object with the key `{name}`, as --records says"))?;
    let mut seen: Vec<String> = Vec::new();
    let mut scratch = Vec::new();
    loop {
        if scanner.take(b'}')? {
            return Err(Error::NoSuchColumn {
                file: scanner.name().to_owned(),
                option: "--records",
                column: name.to_owned(),
                nearest: crate::error::nearest(name, seen.iter().map(String::as_str)),
                found: seen.join(", "),
            });
        }
        if !seen.is_empty() {
            scanner.expect(b",", "`,` or `}` after a value")?;
        }
        let key = scanner.key()?;
        scanner.expect(b":", "`:` after the key")?;
        if key == name {
            return Ok(());
        }
        scratch.clear();
        scanner.copy_value(&mut scratch)?;
        seen.push(key);
    }
}

fn push_entry(whole: &mut Vec<u8>, key: &str, value: &[u8]) {
    whole.extend_from_slice(Value::String(key.to_owned()).to_string().as_bytes());
    whole.push(b':');
    whole.extend_from_slice(value);
}

/// Parses one element; its key becomes the field `key`, a value that is no object the field `value`.
pub(crate) fn parse(bytes: &[u8], element: &Element) -> Result<Value, Unreadable> {
    let at_line = |unreadable: Unreadable, more: u64| Unreadable { line: Some(element.line + more), ..unreadable };
    let text = std::str::from_utf8(bytes).map_err(|error| at_line(Unreadable::encoding(bytes, error), 0))?;
    let value = super::strict::parse(text, "a JSON value").map_err(|unreadable| {
        let more = unreadable.line.unwrap_or_default();
        at_line(unreadable, more)
    })?;
    let Some(key) = &element.key else { return Ok(value) };
    let mut fields = match value {
        Value::Object(fields) => fields,
        other => [("value".to_owned(), other)].into_iter().collect(),
    };
    fields.entry("key").or_insert_with(|| Value::String(key.clone()));
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(document: &str, path: Option<&str>) -> Result<Vec<String>> {
        let path = path.map(|path| RecordsPath::parse(path).unwrap());
        let (reader, nested) = JsonValues::new(ByteStream::from_bytes("x.json", document.into()), path.as_ref())?;
        let mut found = Vec::new();
        for chunk in reader {
            chunk?.visit(nested.as_ref(), &mut |item| {
                found.push(match item.content {
                    Ok(record) => Value::Object(record.fields).to_string(),
                    Err(unreadable) => format!("{}: {}", unreadable.line.unwrap_or(0), unreadable.detail),
                });
            });
        }
        Ok(found)
    }

    #[test]
    fn arrays_single_objects_and_objects_by_id() {
        assert_eq!(
            records(" [ {\"a\": 1} , {\"a\":\"]\\\"\"}\n]\n", None).unwrap(),
            ["{\"a\":1}", "{\"a\":\"]\\\"\"}"]
        );
        assert_eq!(records("{\"a\": {\"b\": 1}, \"c\": [2]}", None).unwrap(), ["{\"a\":{\"b\":1},\"c\":[2]}"]);
        let keyed = records("{\"7\": {\"q\": 1}, \"8\": {\"q\": 2}}", None).unwrap();
        assert_eq!(keyed, ["{\"q\":1,\"key\":\"7\"}", "{\"q\":2,\"key\":\"8\"}"]);
        assert_eq!(records("{\"7\": \"yes\"}", Some("*")).unwrap(), ["{\"value\":\"yes\",\"key\":\"7\"}"]);
    }

    #[test]
    fn nested_records_keep_their_parents() {
        let squad = r#"{"version": 1, "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"q": 1}, {"q": 2}]}]}]}"#;
        assert_eq!(records(squad, Some("data[].paragraphs[].qas[]")).unwrap(), ["{\"q\":1}", "{\"q\":2}"]);
        assert_eq!(records("[{\"qs\": [{\"q\": 1}]}]", Some("qs[]")).unwrap(), ["{\"q\":1}"]);
        let error = records(squad, Some("date[].paragraphs[]")).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `data`?");
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        for (document, line) in [("[{\"a\":1}\n {\"a\":2}]", 2), ("[{\"a\":1},\n{\"a\":\"x", 2), ("[\n{}] x", 2)] {
            match records(document, None) {
                Err(Error::Broken { row, .. }) => assert_eq!(row, line, "{document}"),
                other => panic!("{document}: {other:?}"),
            }
        }
        assert_eq!(
            records("[{\"a\":1},\n{\"a\" 2}]", None).unwrap()[1],
            "2: expected a JSON value, found expected `:` at column 6: {\"a\" 2}"
        );
        assert!(matches!(records("[]", None), Err(Error::Empty { .. })));
    }

    #[test]
    fn escapes_may_lie_across_blocks() {
        let text = "\\\"".repeat(400_000);
        assert_eq!(records(&format!("[{{\"a\":\"{text}\"}}]"), None).unwrap().len(), 1);
        assert_eq!(records(&format!("[ {{\"a\":\"{text}\"}}]"), None).unwrap().len(), 1);
    }
}
