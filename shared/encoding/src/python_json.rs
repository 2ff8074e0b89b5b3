//! JSON and text as Python writes them. Chat templates were written against Jinja2 on Python, so `tojson`, and the
//! printing of `true`, `none`, numbers, lists and dictionaries, must agree with it to the character.

use minijinja::Value;
use minijinja::value::ValueKind;
use std::fmt::Write;

/// The options of Python's `json.dumps`, with the defaults that transformers gives its `tojson` filter.
#[derive(Clone, Debug)]
pub(crate) struct JsonStyle {
    /// Text of one level of indentation; `None` writes everything on one line.
    pub(crate) indent: Option<String>,
    pub(crate) item_separator: String,
    pub(crate) key_separator: String,
    pub(crate) ensure_ascii: bool,
    pub(crate) sort_keys: bool,
}

/// `json.dumps(value)` in the given style.
pub(crate) fn to_json(value: &Value, style: &JsonStyle) -> Result<String, minijinja::Error> {
    let mut out = String::new();
    write_json(&mut out, value, style, 0)?;
    Ok(out)
}

fn write_json(out: &mut String, value: &Value, style: &JsonStyle, depth: usize) -> Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style.ensure_ascii),
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            write_items(out, style, depth, ['{', '}'], keys.len(), |out, index| {
                let key = &keys[index];
                write_string(out, &key_text(key), style.ensure_ascii);
                out.push_str(&style.key_separator);
                write_json(out, &value.get_item(key)?, style, depth + 1)
            })?;
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_items(out, style, depth, ['[', ']'], items.len(), |out, index| {
                write_json(out, &items[index], style, depth + 1)
            })?;
        }
        other => {
            let message = format!("a value of kind {other} cannot be written as JSON");
            return Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message));
        }
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    style: &JsonStyle,
    depth: usize,
    [open, close]: [char; 2],
    count: usize,
    mut item: impl FnMut(&mut String, usize) -> Result<(), minijinja::Error>,
) -> Result<(), minijinja::Error> {
    out.push(open);
    for index in 0..count {
        if index > 0 {
            out.push_str(&style.item_separator);
        }
        new_line(out, style, depth + 1);
        item(out, index)?;
    }
    if count > 0 {
        new_line(out, style, depth);
    }
    out.push(close);
    Ok(())
}

fn new_line(out: &mut String, style: &JsonStyle, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(indent.as_str(), depth));
    }
}

fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => key.is_true().to_string(),
        ValueKind::Number => number(key),
        _ => key.as_str().map_or_else(|| key.to_string(), str::to_owned),
    }
}

fn write_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => write_escape(out, control as u16),
            wide if ensure_ascii && !wide.is_ascii() => {
                let mut units = [0; 2];
                for unit in wide.encode_utf16(&mut units) {
                    write_escape(out, *unit);
                }
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

fn write_escape(out: &mut String, unit: u16) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\u{unit:04x}");
}

/// A number as Python's `repr` writes it: `1e-05`, `1e+16`, `0.1`, `3`.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let float = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    if float.is_nan() {
        return "NaN".into();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` always writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if float != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{float}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// `str(value)`: what `{{ value }}` prints under Python.
pub(crate) fn python_str(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => python_repr(value),
    }
}

/// `repr(value)`: how a value looks inside a printed list or dictionary.
fn python_repr(value: &Value) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value.kind() {
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::None => "None".into(),
        ValueKind::Bool => (if value.is_true() { "True" } else { "False" }).into(),
        ValueKind::Number => number(value).replace("NaN", "nan").replace("Infinity", "inf"),
        ValueKind::String => repr_text(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let items = value.try_iter().map(|items| items.map(|item| python_repr(&item)).collect());
            format!("[{}]", joined(items.unwrap_or_default()))
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter().map(Iterator::collect).unwrap_or_default();
            let entry = |key: &Value| {
                let found = value.get_item(key).unwrap_or_default();
                format!("{}: {}", python_repr(key), python_repr(&found))
            };
            format!("{{{}}}", joined(keys.iter().map(entry).collect()))
        }
        _ => value.to_string(),
    }
}

fn repr_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            same if same == quote => {
                out.push('\\');
                out.push(same);
            }
            control if control < ' ' || control == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", control as u32);
            }
            plain => out.push(plain),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style() -> JsonStyle {
        JsonStyle {
            indent: None,
            item_separator: ", ".into(),
            key_separator: ": ".into(),
            ensure_ascii: false,
            sort_keys: false,
        }
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = Value::from_pairs([("b", Value::from(1.0)), ("a", Value::from(vec!["<é>", "\u{1}\"\n"]))]);
        assert_eq!(to_json(&value, &style()).unwrap(), "{\"b\": 1.0, \"a\": [\"<é>\", \"\\u0001\\\"\\n\"]}");
        let indented = JsonStyle { indent: Some("  ".into()), item_separator: ",".into(), sort_keys: true, ..style() };
        let expected = "{\n  \"a\": [\n    \"<é>\",\n    \"\\u0001\\\"\\n\"\n  ],\n  \"b\": 1.0\n}";
        assert_eq!(to_json(&value, &indented).unwrap(), expected);
        let ascii = JsonStyle { ensure_ascii: true, ..style() };
        assert_eq!(to_json(&Value::from("é😀"), &ascii).unwrap(), r#""\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn floats_look_as_in_python() {
        for (float, text) in [
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (-2.5e-7, "-2.5e-07"),
            (0.0, "0.0"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(number(&Value::from(float)), text);
        }
    }

    #[test]
    fn values_print_as_in_python() {
        let value = Value::from(vec![Value::from(true), Value::from(()), Value::from("it's"), Value::from("a\"'")]);
        assert_eq!(python_str(&value), r#"[True, None, "it's", 'a"\'']"#);
        assert_eq!(python_str(&Value::from("plain")), "plain");
    }
}
