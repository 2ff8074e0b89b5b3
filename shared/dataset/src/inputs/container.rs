//! How records lie in a file: by its ending where it has a known one, by its first bytes otherwise.

use std::path::Path;

/// The container format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// One JSON object in each line.
    JsonLines,
    /// A JSON array of records, one object, or an object of records keyed by id.
    Json,
    /// Delimited values with a header line; the delimiter is found from the header unless given.
    Delimited(Option<u8>),
    /// Apache Parquet.
    Parquet,
    /// An Arrow IPC file (Feather version 2).
    ArrowFile,
    /// An Arrow IPC stream.
    ArrowStream,
    /// Plain text.
    Text,
}

impl Container {
    /// The names that `--input-format` takes.
    pub const NAMES: [&str; 7] = ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "text"];

    /// The container with that name; `arrow` is told file from stream by its first bytes.
    pub fn by_label(label: &str) -> Option<Self> {
        Some(match label {
            "jsonl" => Self::JsonLines,
            "json" => Self::Json,
            "csv" => Self::Delimited(None),
            "tsv" => Self::Delimited(Some(b'\t')),
            "parquet" => Self::Parquet,
            "arrow" => Self::ArrowStream,
            "text" => Self::Text,
            _ => return None,
        })
    }

    /// The name to print.
    pub fn label(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Delimited(Some(b'\t')) => "tsv",
            Self::Delimited(_) => "csv",
            Self::Parquet => "parquet",
            Self::ArrowFile | Self::ArrowStream => "arrow",
            Self::Text => "text",
        }
    }

    /// Whether the file has no records but running text.
    pub fn is_text(self) -> bool {
        self == Self::Text
    }
}

/// The container that a file's ending promises, that of a compression taken off.
pub(crate) fn by_name(path: &Path) -> Option<Container> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let endings = [".gz", ".zst", ".bz2", ".xz"];
    let name = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    Some(match name.rsplit_once('.')?.1 {
        "jsonl" | "ndjson" => Container::JsonLines,
        "json" => Container::Json,
        "csv" => Container::Delimited(None),
        "tsv" | "tab" => Container::Delimited(Some(b'\t')),
        "parquet" | "pq" => Container::Parquet,
        "arrow" | "feather" | "ipc" | "arrows" => Container::ArrowFile,
        "txt" | "text" | "md" => Container::Text,
        _ => return None,
    })
}

/// The container of a stream, from its name's promise and its first plain bytes. The bytes win where they are plain:
/// Parquet and Arrow have magic numbers, and `.json` is often one object in each line.
pub(crate) fn sniff(promised: Option<Container>, first: &[u8]) -> Option<Container> {
    match first {
        [b'P', b'A', b'R', b'1', ..] => return Some(Container::Parquet),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => return Some(Container::ArrowFile),
        [0xff, 0xff, 0xff, 0xff, ..] if promised != Some(Container::Text) => return Some(Container::ArrowStream),
        _ => {}
    }
    let start = first.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    match (promised, start) {
        (Some(Container::JsonLines | Container::Json) | None, Some(b'[')) => Some(Container::Json),
        (Some(Container::Json) | None, Some(b'{')) => {
            Some(if has_second_object(first) { Container::JsonLines } else { Container::Json })
        }
        (Some(promised), _) => Some(promised),
        (None, _) if first.contains(&0) => None,
        (None, _) => Some(Container::Text),
    }
}

/// Whether one whole object is followed by another: then these are lines, not one document.
fn has_second_object(first: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(first).into_iter::<serde::de::IgnoredAny>();
    if !matches!(values.next(), Some(Ok(_))) {
        return false;
    }
    let rest = &first[values.byte_offset().min(first.len())..];
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_correct_a_misleading_name() {
        assert_eq!(sniff(Some(Container::Json), b"{\"a\":1}\n{\"a\":2}\n"), Some(Container::JsonLines));
        assert_eq!(sniff(Some(Container::Json), b"{\n \"a\": {}}"), Some(Container::Json));
        assert_eq!(sniff(Some(Container::JsonLines), b" [\n{}"), Some(Container::Json));
        assert_eq!(sniff(Some(Container::Text), b"{ said"), Some(Container::Text));
        assert_eq!(sniff(None, b"PAR1...."), Some(Container::Parquet));
        assert_eq!(sniff(None, b"\x00\x01binary"), None);
        assert_eq!(sniff(None, b"Zwei junge"), Some(Container::Text));
    }

    #[test]
    fn endings_are_read_below_compression() {
        assert_eq!(by_name(Path::new("a/b.JSONL.gz")), Some(Container::JsonLines));
        assert_eq!(by_name(Path::new("b.tsv.zst")), Some(Container::Delimited(Some(b'\t'))));
        assert_eq!(by_name(Path::new("LICENSE")), None);
    }
}
