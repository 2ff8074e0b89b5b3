//! Weights on disk: safetensors files, alone or as the shards of a Hugging Face folder, read by memory mapping and
//! written as a stream. No tensor library is needed here: a tensor is a type, a shape and bytes.

use crate::{ArtifactError, FinishedFile, Result, StagedFile, files};
use memmap2::Mmap;
pub use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A tensor as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct TensorBytes<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: &'a [usize],
    /// Little-endian elements.
    pub data: &'a [u8],
}

/// The tensors of one safetensors file or of all shards of a model.
#[derive(Debug)]
pub struct Weights {
    shards: Vec<Shard>,
    /// Which shard holds a name.
    names: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    data_start: usize,
    metadata: Metadata,
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens one safetensors file.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`], or [`ArtifactError::Unexpected`] where the file is damaged or cut short, with the
    /// bytes expected and found.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_shards(vec![Shard::open(path)?])
    }

    /// Opens a model folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// As [`Weights::open`]; also where a listed shard is missing or lacks a tensor the index promises.
    pub fn open_model(folder: &Path) -> Result<Self> {
        let whole = folder.join(files::MODEL_WEIGHTS);
        let index_path = folder.join(files::MODEL_INDEX);
        if whole.is_file() || !index_path.is_file() {
            return Self::open(&whole).map_err(|error| match error {
                ArtifactError::Missing { path, .. } => ArtifactError::Missing {
                    path,
                    hint: format!(
                        "a model folder holds {} or {}; PyTorch .bin files must be converted to safetensors first",
                        files::MODEL_WEIGHTS,
                        files::MODEL_INDEX
                    ),
                },
                other => other,
            });
        }
        let index: Index = files::read_json(&index_path)?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        let shards = names.iter().map(|name| {
            Shard::open(&folder.join(name)).map_err(|error| match error {
                ArtifactError::Missing { path, .. } => ArtifactError::Missing {
                    path,
                    hint: format!("{} lists this shard: download the model again", index_path.display()),
                },
                other => other,
            })
        });
        let weights = Self::from_shards(shards.collect::<Result<_>>()?)?;
        match index.weight_map.iter().find(|(name, _)| !weights.names.contains_key(*name)) {
            None => Ok(weights),
            Some((name, shard)) => Err(ArtifactError::Unexpected {
                path: folder.join(shard),
                expected: format!("the tensor {name}, which {} lists", files::MODEL_INDEX),
                found: "no such tensor".into(),
                hint: "download the model again".into(),
            }),
        }
    }

    fn from_shards(shards: Vec<Shard>) -> Result<Self> {
        let mut names = BTreeMap::new();
        for (index, shard) in shards.iter().enumerate() {
            for name in shard.metadata.offset_keys() {
                if let Some(other) = names.insert(name.clone(), index) {
                    return Err(ArtifactError::Unexpected {
                        path: shard.path.clone(),
                        expected: "each tensor in one shard only".into(),
                        found: format!("{name} also in {}", shards[other].path.display()),
                        hint: "download the model again".into(),
                    });
                }
            }
        }
        Ok(Self { shards, names })
    }

    /// The files, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The tensor of that name, if it is there.
    pub fn get(&self, name: &str) -> Option<TensorBytes<'_>> {
        let shard = &self.shards[*self.names.get(name)?];
        let info = shard.metadata.info(name)?;
        let (start, end) = info.data_offsets;
        let data = &shard.map[shard.data_start + start..shard.data_start + end];
        Some(TensorBytes { dtype: info.dtype, shape: &info.shape, data })
    }
}

impl Weights {
    /// Says that a tensor's bytes have been copied: the pages of the file that hold nothing else no longer count as memory
    /// of this process. They are read again where they are asked for again.
    pub fn forget(&self, name: &str) {
        let Some(shard) = self.names.get(name).map(|&index| &self.shards[index]) else { return };
        let Some(info) = shard.metadata.info(name) else { return };
        let (start, end) = (shard.data_start + info.data_offsets.0, shard.data_start + info.data_offsets.1);
        #[cfg(unix)]
        {
            // SAFETY: the map is read-only and backed by the file, so that dropped pages come back with the same bytes.
            // What the system refuses costs memory and nothing else.
            let _ = unsafe { shard.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
        #[cfg(not(unix))]
        let _ = (start, end);
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(ArtifactError::io("cannot read", path))?;
        // SAFETY: the map is only read; a file that another process cuts short while we read it is outside what any
        // reader can defend against, and outputs are only ever replaced by rename, never rewritten in place.
        let map = unsafe { Mmap::map(&file) }.map_err(ArtifactError::io("cannot read", path))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| damaged(path, &map, &error))?;
        Ok(Self { path: path.into(), map, data_start: header + 8, metadata })
    }
}

/// Says of a damaged file how many bytes its header promises, where the header can be read.
fn damaged(path: &Path, bytes: &[u8], error: &safetensors::SafeTensorError) -> ArtifactError {
    let (expected, found) = match promised_length(bytes) {
        Some(promised) if promised != bytes.len() as u64 => {
            (format!("{promised} bytes as its header says"), format!("{} bytes", bytes.len()))
        }
        _ => ("a safetensors file".into(), error.to_string()),
    };
    let hint = "the file is damaged or cut short: download or write it again".into();
    ArtifactError::Unexpected { path: path.into(), expected, found, hint }
}

fn promised_length(bytes: &[u8]) -> Option<u64> {
    let header = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let text = bytes.get(8..8usize.checked_add(usize::try_from(header).ok()?)?)?;
    let tensors: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    let ends = tensors.iter().filter(|(name, _)| *name != "__metadata__");
    let data = ends.filter_map(|(_, tensor)| tensor["data_offsets"][1].as_u64()).max()?;
    Some(8 + header + data)
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct NamedTensor<'a> {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Little-endian elements.
    pub data: std::borrow::Cow<'a, [u8]>,
}

impl<'a> NamedTensor<'a> {
    /// A tensor of 32-bit numbers, borrowed: nothing is copied.
    pub fn of_floats(name: String, shape: Vec<usize>, values: &'a [f32]) -> Self {
        let data = if cfg!(target_endian = "little") {
            bytemuck::cast_slice(values).into()
        } else {
            values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
        };
        Self { name, dtype: Dtype::F32, shape, data }
    }
}

/// Writes tensors in the order of their names, with the metadata `{"format": "pt"}` that transformers asks for.
///
/// # Errors
/// [`ArtifactError::Io`].
///
/// # Panics
/// If a tensor's bytes do not fit its shape: a defect of the caller.
pub fn write_weights(mut file: StagedFile, mut tensors: Vec<NamedTensor<'_>>) -> Result<FinishedFile> {
    tensors.sort_by(|left, right| left.name.cmp(&right.name));
    let header = weights_header(&tensors);
    let path = file.path().to_path_buf();
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(ArtifactError::io("cannot write", &path));
    write(&header)?;
    for tensor in &tensors {
        write(&tensor.data)?;
    }
    file.finish()
}

/// Writes tensors to `path` at once, as [`write_weights`] does; for files outside an output folder's commit, such as
/// those of a checkpoint.
///
/// # Errors
/// [`ArtifactError::Io`].
///
/// # Panics
/// As [`write_weights`].
#[expect(clippy::disallowed_methods, reason = "the one crate that puts files on disk")]
pub fn write_weights_to(path: &Path, mut tensors: Vec<NamedTensor<'_>>) -> Result<()> {
    tensors.sort_by(|left, right| left.name.cmp(&right.name));
    let create = File::create(path).map_err(ArtifactError::io("cannot write", path))?;
    let mut file = std::io::BufWriter::new(create);
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(ArtifactError::io("cannot write", path));
    write(&weights_header(&tensors))?;
    for tensor in &tensors {
        write(&tensor.data)?;
    }
    let file = file.into_inner().map_err(|error| ArtifactError::io("cannot write", path)(error.into_error()))?;
    file.sync_all().map_err(ArtifactError::io("cannot write", path))
}

/// Length and JSON of the header, padded so that the data is aligned to eight bytes.
fn weights_header(tensors: &[NamedTensor<'_>]) -> Vec<u8> {
    let mut offset = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let end = offset + tensor.data.len();
        let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (offset, end) };
        infos.push((tensor.name.clone(), info));
        offset = end;
    }
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let metadata = Metadata::new(Some(format), infos).expect("the bytes of each tensor fit its shape");
    let mut json = serde_json::to_vec(&metadata).expect("a header serializes to JSON");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}
