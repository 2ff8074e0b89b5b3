//! Tensors of a safetensors file or of a model's shards.

use crate::view::View;
use anyhow::Result;
use artifact::weights::Weights;
use cli::format::{bytes, count};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors that are listed by name.
const LISTED: usize = 12;

/// Describes one file.
pub(crate) fn describe(path: &Path) -> Result<View> {
    let weights = Weights::open(path)?;
    let mut view = View::new("weights", format!("{}: tensors", path.display()));
    write(&mut view, &weights);
    Ok(view)
}

/// Adds what the weights hold to a view. That they opened means that no shard is missing or cut short.
pub(crate) fn write(view: &mut View, weights: &Weights) {
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    let (mut parameters, mut size) = (0u64, 0u64);
    let mut names = Vec::new();
    for name in weights.names() {
        let Some(tensor) = weights.get(name) else { continue };
        let elements = tensor.shape.iter().product::<usize>() as u64;
        parameters += elements;
        size += tensor.data.len() as u64;
        *types.entry(format!("{:?}", tensor.dtype)).or_default() += elements;
        names.push((name.to_owned(), format!("{:?} {:?}", tensor.dtype, tensor.shape)));
    }
    let kinds: Vec<String> = types.iter().map(|(kind, elements)| format!("{} {kind}", count(*elements))).collect();
    let section = view.section("tensors");
    section.fact("tensors", format!("{} in {} file(s)", count(names.len() as u64), weights.paths().count()));
    section.fact("parameters", format!("{} ({}), {}", count(parameters), kinds.join(", "), bytes(size)));
    for (name, shape) in names.iter().take(LISTED) {
        section.fact(name, shape);
    }
    if names.len() > LISTED {
        section.line(format!("and {} more", names.len() - LISTED));
    }
    view.set("parameters", parameters);
    view.set("tensors", names.into_iter().map(|(name, shape)| (name, json!(shape))).collect::<serde_json::Map<_, _>>());
}
