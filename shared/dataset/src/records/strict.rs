//! JSON as data sets have it: stricter than the parser where data would be lost, more lenient where Python is.
//!
//! A key that stands twice in a record would lose the first value: it is refused. `NaN` and `Infinity`, which Python
//! writes and JSON does not know, are read as null. An escaped half of a surrogate pair is no character: such a record
//! is set aside as wrongly encoded.

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::lines::{SHOWN, excerpt};
use super::payload::Unreadable;

/// Parses a whole text; `what` is expected in it.
pub(crate) fn parse(text: &str, what: &str) -> Result<Value, Unreadable> {
    let error = match value(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(repaired) = without_numbers_of_python(text)
        && let Ok(value) = value(&repaired)
    {
        return Ok(value);
    }
    // "at line 1" would mislead: the text is one line of many.
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let line = Some(error.line() as u64).filter(|line| *line > 1);
    let place = line.map_or_else(|| format!("column {}", error.column()), |line| format!("its line {line}"));
    let unreadable = if message.contains("hex escape") || message.contains("surrogate") {
        let detail =
            format!("expected whole characters, found half of a surrogate pair (\\ud800 to \\udfff) at {place}");
        Unreadable { encoding: true, ..Unreadable::syntax(detail) }
    } else {
        Unreadable::syntax(format!("expected {what}, found {message} at {place}: {}", excerpt(text, SHOWN)))
    };
    Err(Unreadable { line: line.map(|line| line - 1), ..unreadable })
}

fn value(text: &str) -> Result<Value, serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = Whole.deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// A value in which no object has a key twice.
struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Self)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            match fields.entry(key) {
                Entry::Vacant(place) => place.insert(entries.next_value_seed(Self)?),
                Entry::Occupied(first) => return Err(A::Error::custom(format!("the key `{}` twice", first.key()))),
            };
        }
        Ok(Value::Object(fields))
    }
}

/// The text with `NaN`, `Infinity` and `-Infinity` outside of strings as null; `None` where there is none.
fn without_numbers_of_python(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !text.contains("NaN") && !text.contains("Infinity") {
        return None;
    }
    let mut repaired = String::with_capacity(text.len());
    let (mut rest, mut quoted) = (text, false);
    while let Some(character) = rest.chars().next() {
        if !quoted && let Some(word) = WORDS.into_iter().find(|word| rest.starts_with(word)) {
            repaired.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        let taken = if quoted && character == '\\' {
            1 + rest[1..].chars().next().map_or(0, char::len_utf8)
        } else {
            character.len_utf8()
        };
        quoted ^= character == '"';
        repaired.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Some(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text, "one JSON object in the line") {
            Ok(value) => value.to_string(),
            Err(unreadable) => format!("{}: {}", unreadable.encoding, unreadable.detail),
        }
    }

    #[test]
    fn what_python_writes_is_read() {
        assert_eq!(
            shown(r#"{"a":NaN,"b":[-Infinity,1],"c":"NaN \" NaN"}"#),
            r#"{"a":null,"b":[null,1],"c":"NaN \" NaN"}"#
        );
        assert!(shown(r#"{"a":NaN"#).starts_with("false: expected one JSON object"));
    }

    #[test]
    fn what_would_lose_data_is_refused() {
        assert!(shown(r#"{"a":1,"a":2}"#).contains("the key `a` twice"));
        assert!(shown(r#"{"a":[{"b":1,"c":{},"b":2}]}"#).contains("the key `b` twice"));
        let all = r#"{"a":[1,-2,2.5,"x\\ny",true,null,{}],"b":{"c":18446744073709551615}}"#;
        assert_eq!(shown(all), all);
        assert!(shown(r#"{"a":"\ud800 x"}"#).starts_with("true: expected whole characters"));
        assert!(shown(r#"{"a":"\ude00"}"#).starts_with("true: expected whole characters"));
    }
}
