//! What is written is read back; what is damaged is refused with a reason.

use super::*;
use std::borrow::Cow;
use std::path::PathBuf;

fn metadata() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.push("general.architecture", "llama");
    metadata.push("llama.block_count", 3u32);
    metadata.push("llama.rope.freq_base", 1e-5f32);
    metadata.push("flag", true);
    metadata.0.push(("tokens".into(), GgufValue::Array(vec!["a".into(), "é".into()])));
    for (key, value) in [
        ("u8", GgufValue::U8(200)),
        ("i8", GgufValue::I8(-3)),
        ("u16", GgufValue::U16(60_000)),
        ("i16", GgufValue::I16(-300)),
        ("i32", GgufValue::I32(-70_000)),
        ("u64", GgufValue::U64(1 << 40)),
        ("i64", GgufValue::I64(-(1 << 40))),
        ("f64", GgufValue::F64(0.1)),
    ] {
        metadata.0.push((key.into(), value));
    }
    metadata
}

fn tensor(name: &str, kind: &str, shape: &[usize]) -> TensorToWrite<'static> {
    let kind = GgmlType::of_name(kind).unwrap();
    let len = kind.tensor_bytes(shape).unwrap();
    let data = (0..len).map(|i| i as u8).collect();
    TensorToWrite { name: name.into(), kind, shape: shape.to_vec(), data: Cow::Owned(data) }
}

fn file(folder: &tempfile::TempDir, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let tensors = [tensor("b", "Q8_0", &[3, 64]), tensor("a", "F32", &[5])];
    let mut bytes = write::header(&metadata(), &tensors);
    for tensor in &tensors {
        bytes.extend_from_slice(&tensor.data);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    change(&mut bytes);
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&file(&folder, |_| ())).unwrap();
    assert_eq!((gguf.version(), gguf.metadata()), (3, &metadata()));
    assert_eq!(gguf.names().collect::<Vec<_>>(), ["a", "b"]);
    let b = gguf.get("b").unwrap();
    assert_eq!((b.kind.name, b.shape, b.data.len()), ("Q8_0", &[3, 64][..], 3 * 2 * 34));
    assert!(b.data.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    assert_eq!(gguf.get("a").unwrap().data[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(gguf.get("c").is_none());
    assert_eq!(gguf.metadata().get("llama.rope.freq_base").unwrap().as_f64(), Some(1e-5));
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| Gguf::open(&file(&folder, change)).unwrap_err().to_string();
    assert!(refusal(&|bytes| bytes[0] = b'X').contains("begins with GGUF"));
    assert!(refusal(&|bytes| bytes[4] = 9).contains("version 9"));
    assert!(refusal(&|bytes| bytes.truncate(bytes.len() - 40)).contains("for the tensor a"));
    assert!(refusal(&|bytes| bytes.truncate(100)).contains("end of the file"));
    assert!(refusal(&|bytes| bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes())).contains("count"));
    // Every place where a file may end in its header is an error, never a panic.
    let whole = std::fs::read(file(&folder, |_| ())).unwrap();
    for len in 0..whole.len() - 64 {
        assert!(Gguf::open(&file(&folder, |bytes| bytes.truncate(len))).is_err(), "{len}");
    }
}
