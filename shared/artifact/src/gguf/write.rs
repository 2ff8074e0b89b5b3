//! Writing: header, then each tensor at the next multiple of the alignment, made as its turn comes.

use super::{ALIGNMENT, GgmlType, GgufValue, Metadata};
use crate::{ArtifactError, FinishedFile, Result, StagedFile};
use std::borrow::Cow;
use std::io::Write;

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct TensorToWrite<'a> {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub kind: GgmlType,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Its blocks.
    pub data: Cow<'a, [u8]>,
}

/// Writes a file of version 3, tensors in the order given.
///
/// # Errors
/// [`ArtifactError::Io`].
///
/// # Panics
/// If a tensor's bytes do not fit its shape, or a list holds values of several types: a defect of the caller.
pub fn write_gguf(mut file: StagedFile, metadata: &Metadata, tensors: &[TensorToWrite<'_>]) -> Result<FinishedFile> {
    let path = file.path().to_path_buf();
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(ArtifactError::io("cannot write", &path));
    write(&header(metadata, tensors))?;
    for tensor in tensors {
        write(&tensor.data)?;
        write(&vec![0; tensor.data.len().next_multiple_of(ALIGNMENT) - tensor.data.len()])?;
    }
    file.finish()
}

pub(super) fn header(metadata: &Metadata, tensors: &[TensorToWrite<'_>]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.0.len() as u64).to_le_bytes());
    for (key, value) in &metadata.0 {
        text(&mut out, key);
        out.extend(value.kind().to_le_bytes());
        bytes_of(&mut out, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        assert_eq!(tensor.kind.tensor_bytes(&tensor.shape), Some(tensor.data.len()), "the bytes of {}", tensor.name);
        text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            out.extend((*size as u64).to_le_bytes());
        }
        out.extend(tensor.kind.number.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += tensor.data.len().next_multiple_of(ALIGNMENT) as u64;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn bytes_of(out: &mut Vec<u8>, value: &GgufValue) {
    match value {
        GgufValue::U8(value) => out.extend(value.to_le_bytes()),
        GgufValue::I8(value) => out.extend(value.to_le_bytes()),
        GgufValue::U16(value) => out.extend(value.to_le_bytes()),
        GgufValue::I16(value) => out.extend(value.to_le_bytes()),
        GgufValue::U32(value) => out.extend(value.to_le_bytes()),
        GgufValue::I32(value) => out.extend(value.to_le_bytes()),
        GgufValue::F32(value) => out.extend(value.to_le_bytes()),
        GgufValue::Bool(value) => out.push(u8::from(*value)),
        GgufValue::Text(value) => text(out, value),
        GgufValue::Array(values) => {
            // A list without values is one of texts.
            let kind = values.first().map_or(8, GgufValue::kind);
            assert!(values.iter().all(|value| value.kind() == kind), "a list holds values of one type");
            out.extend(kind.to_le_bytes());
            out.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| bytes_of(out, value));
        }
        GgufValue::U64(value) => out.extend(value.to_le_bytes()),
        GgufValue::I64(value) => out.extend(value.to_le_bytes()),
        GgufValue::F64(value) => out.extend(value.to_le_bytes()),
    }
}
