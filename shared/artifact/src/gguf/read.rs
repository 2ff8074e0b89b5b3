//! Reading: the header is parsed and every tensor's place checked; the data stays in the mapped file.

use super::{ALIGNMENT, ALIGNMENT_KEY, GgmlType, GgufValue, Metadata};
use crate::{ArtifactError, Result};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    version: u32,
    metadata: Metadata,
    tensors: BTreeMap<String, Place>,
}

/// A tensor as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct GgufTensor<'a> {
    /// Element type.
    pub kind: GgmlType,
    /// Row-major shape: the reverse of the order in the file.
    pub shape: &'a [usize],
    /// Its blocks.
    pub data: &'a [u8],
}

#[derive(Debug)]
struct Place {
    kind: GgmlType,
    shape: Vec<usize>,
    start: usize,
    len: usize,
}

impl Gguf {
    /// Opens a file of version 2 or 3.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`], or [`ArtifactError::Unexpected`] where the file is damaged, cut short, or holds a type of
    /// element that is not known.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(ArtifactError::io("cannot read", path))?;
        // SAFETY: the map is only read; a file that another process cuts short while we read it is outside what any
        // reader can defend against.
        let map = unsafe { Mmap::map(&file) }.map_err(ArtifactError::io("cannot read", path))?;
        Self::parse(path, map).map_err(|(expected, found)| ArtifactError::Unexpected {
            path: path.into(),
            expected,
            found,
            hint: "the file is damaged, cut short, or no GGUF file: download or write it again".into(),
        })
    }

    fn parse(path: &Path, map: Mmap) -> Result<Self, (String, String)> {
        let mut header = Header { bytes: &map, at: 0 };
        if header.take(4).ok() != Some(b"GGUF") {
            return Err(("a file that begins with GGUF".into(), "another beginning".into()));
        }
        let version = u32::from_le_bytes(header.array()?);
        if !(2..=3).contains(&version) {
            return Err(("GGUF version 2 or 3".into(), format!("version {version}")));
        }
        let (tensors, entries) = (header.count()?, header.count()?);
        let mut metadata = Metadata::default();
        for _ in 0..entries {
            let (key, kind) = (header.text()?, u32::from_le_bytes(header.array()?));
            let value = header.value(kind, &key)?;
            metadata.0.push((key, value));
        }
        let mut places = Vec::new();
        for _ in 0..tensors {
            places.push(header.place()?);
        }
        let alignment = match metadata.get(ALIGNMENT_KEY) {
            None => ALIGNMENT,
            Some(value) => match value.as_u64().filter(|value| value.is_power_of_two() && *value <= 1 << 20) {
                Some(value) => value as usize,
                None => return Err((format!("a power of two as {ALIGNMENT_KEY}"), format!("{value:?}"))),
            },
        };
        let data = header.at.next_multiple_of(alignment);
        let mut found = BTreeMap::new();
        for (name, mut place) in places {
            let start = data.checked_add(place.start);
            let end = start.and_then(|start| start.checked_add(place.len));
            let (Some(start), Some(end)) = (start, end) else {
                return Err((format!("the tensor {name} inside the file"), "an offset beyond any file".into()));
            };
            if end > map.len() {
                return Err((format!("at least {end} bytes, for the tensor {name}"), format!("{} bytes", map.len())));
            }
            place.start = start;
            if found.insert(name.clone(), place).is_some() {
                return Err(("each tensor once".into(), format!("{name} twice")));
            }
        }
        Ok(Self { path: path.into(), version, metadata, tensors: found, map })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of that name, if it is there.
    pub fn get(&self, name: &str) -> Option<GgufTensor<'_>> {
        let Place { kind, shape, start, len } = self.tensors.get(name)?;
        Some(GgufTensor { kind: *kind, shape, data: &self.map[*start..start + len] })
    }
}

/// What was expected and what was found.
type Damage = (String, String);

struct Header<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Header<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err(("a whole header".into(), "the end of the file in it".into())) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were taken"))
    }

    fn count(&mut self) -> Result<usize, Damage> {
        let count = u64::from_le_bytes(self.array()?);
        // Whatever is counted takes at least a byte.
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.bytes.len())
            .ok_or_else(|| ("a count that fits the file".into(), count.to_string()))
    }

    fn text(&mut self) -> Result<String, Damage> {
        let len = self.count()?;
        let bytes = self.take(len)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| ("text in UTF-8".into(), String::from_utf8_lossy(&bytes[..len.min(80)]).into_owned()))
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<GgufValue, Damage> {
        Ok(match kind {
            0 => GgufValue::U8(self.array::<1>()?[0]),
            1 => GgufValue::I8(i8::from_le_bytes(self.array()?)),
            2 => GgufValue::U16(u16::from_le_bytes(self.array()?)),
            3 => GgufValue::I16(i16::from_le_bytes(self.array()?)),
            4 => GgufValue::U32(u32::from_le_bytes(self.array()?)),
            5 => GgufValue::I32(i32::from_le_bytes(self.array()?)),
            6 => GgufValue::F32(f32::from_le_bytes(self.array()?)),
            7 => GgufValue::Bool(self.array::<1>()?[0] != 0),
            8 => GgufValue::Text(self.text()?),
            9 => {
                let inner = u32::from_le_bytes(self.array()?);
                if inner == 9 {
                    return Err((format!("plain values in {key}"), "a list of lists".into()));
                }
                let count = self.count()?;
                GgufValue::Array((0..count).map(|_| self.value(inner, key)).collect::<Result<_, _>>()?)
            }
            10 => GgufValue::U64(u64::from_le_bytes(self.array()?)),
            11 => GgufValue::I64(i64::from_le_bytes(self.array()?)),
            12 => GgufValue::F64(f64::from_le_bytes(self.array()?)),
            unknown => return Err((format!("a known type of value for {key}"), format!("type {unknown}"))),
        })
    }

    /// Name and place of one tensor, its start still counted from the beginning of the data.
    fn place(&mut self) -> Result<(String, Place), Damage> {
        let name = self.text()?;
        let dimensions = u32::from_le_bytes(self.array()?);
        if dimensions > 4 {
            return Err((format!("at most 4 dimensions of {name}"), dimensions.to_string()));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = u64::from_le_bytes(self.array()?);
            shape.push(usize::try_from(size).map_err(|_| (format!("a size for {name}"), size.to_string()))?);
        }
        shape.reverse();
        let number = u32::from_le_bytes(self.array()?);
        let Some(kind) = GgmlType::of_number(number) else {
            return Err((format!("a known type of element for {name}"), format!("GGML type {number}")));
        };
        let Some(len) = kind.tensor_bytes(&shape) else {
            return Err((
                format!("rows of whole blocks of {} for {name} ({})", kind.block, kind.name),
                format!("{shape:?}"),
            ));
        };
        let start = u64::from_le_bytes(self.array()?);
        let start = usize::try_from(start).map_err(|_| (format!("an offset for {name}"), start.to_string()))?;
        Ok((name, Place { kind, shape, start, len }))
    }
}
