//! The header of a GGUF file: version, tensors and the plain metadata (llama.cpp, `docs/gguf.md`).

use crate::view::View;
use anyhow::{Context, Result, anyhow, bail};
use cli::format::{bytes, count};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// No text in a header is longer; a larger number means a damaged file.
const LONGEST_TEXT: u64 = 1 << 26;

/// Describes the file.
pub(crate) fn describe(path: &Path) -> Result<View> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut header = Header(BufReader::new(file));
    let parsed = header.read().with_context(|| format!("{}: not a whole GGUF file", path.display()))?;
    let name = parsed.metadata.get("general.name").and_then(Value::as_str).unwrap_or("a model");
    let mut view = View::new("gguf", format!("{}: {name} in GGUF version {}", path.display(), parsed.version));
    view.section("").fact("size", bytes(size)).fact("tensors", count(parsed.tensors));
    let section = view.section("metadata");
    for (key, value) in &parsed.metadata {
        let text = value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string());
        section.fact(key, text.chars().take(80).collect::<String>());
    }
    view.set("version", parsed.version);
    view.set("tensors", parsed.tensors);
    view.set("metadata", parsed.metadata);
    Ok(view)
}

struct Parsed {
    version: u32,
    tensors: u64,
    metadata: Map<String, Value>,
}

struct Header<R>(R);

impl<R: Read> Header<R> {
    fn read(&mut self) -> Result<Parsed> {
        if &self.array::<4>()? != b"GGUF" {
            bail!("it does not begin with GGUF");
        }
        let version = u32::from_le_bytes(self.array()?);
        let tensors = self.count()?;
        let entries = self.count()?;
        let mut metadata = Map::new();
        for _ in 0..entries {
            let key = self.text()?;
            let kind = u32::from_le_bytes(self.array()?);
            let value = self.value(kind)?;
            metadata.insert(key, value);
        }
        Ok(Parsed { version, tensors, metadata })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).context("it ends early")?;
        Ok(bytes)
    }

    fn count(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.count()?;
        if length > LONGEST_TEXT {
            return Err(anyhow!("a text of {length} bytes"));
        }
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes).context("it ends early")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value types in the order of the format's enumeration. Arrays are read to their end and told by their length.
    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => json!(u8::from_le_bytes(self.array()?)),
            1 => json!(i8::from_le_bytes(self.array()?)),
            2 => json!(u16::from_le_bytes(self.array()?)),
            3 => json!(i16::from_le_bytes(self.array()?)),
            4 => json!(u32::from_le_bytes(self.array()?)),
            5 => json!(i32::from_le_bytes(self.array()?)),
            6 => json!(f32::from_le_bytes(self.array()?)),
            7 => json!(self.array::<1>()?[0] != 0),
            8 => json!(self.text()?),
            9 => {
                let inner = u32::from_le_bytes(self.array()?);
                if inner == 9 {
                    bail!("an array of arrays");
                }
                let length = self.count()?;
                for _ in 0..length {
                    self.value(inner)?;
                }
                json!(format!("{length} values"))
            }
            10 => json!(self.count()?),
            11 => json!(i64::from_le_bytes(self.array()?)),
            12 => json!(f64::from_le_bytes(self.array()?)),
            unknown => bail!("a value of unknown type {unknown}"),
        })
    }
}
