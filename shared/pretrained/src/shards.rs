//! Large weights in several files with an index, as Hugging Face lays them out: loaders read them one at a time, and file
//! systems and hubs have limits.

use std::collections::BTreeMap;

use artifact::files::{MODEL_INDEX, MODEL_WEIGHTS, to_json};
use artifact::weights::NamedTensor;
use serde_json::json;

use crate::ModelFile;
use crate::files::Content;

/// The same files, with weights of more than `most` bytes cut into shards of at most that, each tensor whole, and the
/// index that says which shard holds which tensor. Tensors keep their order.
pub fn in_shards(files: Vec<ModelFile>, most: u64) -> Vec<ModelFile> {
    let mut all = Vec::new();
    for file in files {
        match file.content {
            Content::Weights(tensors) if file.name == MODEL_WEIGHTS && size(&tensors) > most => {
                all.extend(cut(tensors, most));
            }
            content => all.push(ModelFile { name: file.name, content }),
        }
    }
    all
}

fn size(tensors: &[NamedTensor<'_>]) -> u64 {
    tensors.iter().map(|tensor| tensor.data.len() as u64).sum()
}

fn cut(tensors: Vec<NamedTensor<'static>>, most: u64) -> Vec<ModelFile> {
    let total_size = size(&tensors);
    let total_parameters: u64 = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
    let mut shards: Vec<Vec<NamedTensor<'static>>> = Vec::new();
    let mut room = 0;
    for tensor in tensors {
        let bytes = tensor.data.len() as u64;
        match shards.last_mut().filter(|_| bytes <= room) {
            Some(shard) => {
                room -= bytes;
                shard.push(tensor);
            }
            None => {
                room = most.saturating_sub(bytes);
                shards.push(vec![tensor]);
            }
        }
    }
    let count = shards.len();
    let mut weight_map = BTreeMap::new();
    let mut files = Vec::with_capacity(count + 1);
    for (index, shard) in shards.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", index + 1);
        weight_map.extend(shard.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        files.push(ModelFile::weights(&name, shard));
    }
    let metadata = json!({ "total_parameters": total_parameters, "total_size": total_size });
    let index = json!({ "metadata": metadata, "weight_map": weight_map });
    files.push(ModelFile::bytes(MODEL_INDEX, to_json(&index)));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::weights::Dtype;

    fn weights(sizes: &[usize]) -> Vec<ModelFile> {
        let tensor = |(index, &size): (usize, &usize)| NamedTensor {
            name: format!("t{index}"),
            dtype: Dtype::F32,
            shape: vec![size],
            data: vec![0; 4 * size].into(),
        };
        vec![ModelFile::weights(MODEL_WEIGHTS, sizes.iter().enumerate().map(tensor).collect())]
    }

    fn names(files: &[ModelFile]) -> Vec<&str> {
        files.iter().map(ModelFile::name).collect()
    }

    #[test]
    fn small_weights_stay_one_file() {
        assert_eq!(names(&in_shards(weights(&[3, 4]), 28)), [MODEL_WEIGHTS]);
    }

    #[test]
    fn no_shard_is_larger_than_asked_unless_one_tensor_is() {
        let files = in_shards(weights(&[3, 4, 9, 1, 1]), 28);
        let one = "model-00001-of-00003.safetensors";
        let (two, three) = ("model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors");
        assert_eq!(names(&files), [one, two, three, MODEL_INDEX]);
        let Content::Bytes(index) = &files[3].content else { panic!("the index is a JSON file") };
        let index: serde_json::Value = serde_json::from_slice(index).unwrap();
        assert_eq!(index["metadata"], json!({ "total_parameters": 18, "total_size": 72 }));
        assert_eq!(index["weight_map"], json!({ "t0": one, "t1": one, "t2": two, "t3": three, "t4": three }));
    }
}
