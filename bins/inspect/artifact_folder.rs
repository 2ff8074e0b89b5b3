//! The folder of a stage, told from its manifest.

use crate::provenance::find_inputs;
use crate::view::{Paint, View};
use artifact::Manifest;
use cli::format::{bytes, count, duration};
use serde_json::{Value, json};
use std::path::Path;

/// Describes the folder.
pub(crate) fn describe(path: &Path, manifest: &Manifest, paint: Paint) -> View {
    let stage = &manifest.identity.stage;
    let mut view = View::new("stage", format!("{}: written by {stage} {}", path.display(), manifest.identity.version));
    view.set("manifest", serde_json::to_value(manifest).unwrap_or_default());
    facts(&mut view, path, manifest, paint);
    options(&mut view, &manifest.identity.options);
    inputs(&mut view, path, manifest);
    let outputs = view.section("outputs");
    for output in &manifest.outputs {
        outputs.fact(&output.name, format!("{:>10}  sha256 {}", bytes(output.bytes), short(&output.sha256)));
    }
    view
}

fn facts(view: &mut View, path: &Path, manifest: &Manifest, paint: Paint) {
    let broken: Vec<&str> = manifest
        .outputs
        .iter()
        .filter(|output| std::fs::metadata(path.join(&output.name)).map_or(true, |found| found.len() != output.bytes))
        .map(|output| output.name.as_str())
        .collect();
    let whole = if broken.is_empty() {
        paint.green("yes: every file is there with its recorded size (--verify compares the content)")
    } else {
        paint.red(&format!("no: {} missing or of another size", broken.join(", ")))
    };
    view.set("whole", broken.is_empty());
    view.set("damaged", json!(broken));
    let facts = view.section("");
    facts.fact("whole", whole).fact("contract", manifest.identity.contract);
    if let Some(rows) = manifest.rows {
        let balanced = rows.read + rows.repeated == rows.written + rows.rejected;
        let sum = if balanced { String::new() } else { paint.red("  (does not add up)") };
        let repeated = match rows.repeated {
            0 => String::new(),
            copies => format!(" + {} repeated", count(copies)),
        };
        let (read, written, rejected) = (count(rows.read), count(rows.written), count(rows.rejected));
        facts.fact("rows", format!("{read} in{repeated} = {written} out + {rejected} rejected{sum}"));
    }
    if let Some(seed) = manifest.seed {
        facts.fact("seed", seed);
    }
    let memory = manifest.peak_memory_bytes.map(|peak| format!(", {} at most", bytes(peak))).unwrap_or_default();
    facts.fact("took", format!("{}{memory}", duration(manifest.wall_seconds)));
}

fn options(view: &mut View, options: &serde_json::Map<String, Value>) {
    let empty = |value: &Value| {
        value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    let section = view.section("options");
    for (name, value) in options.iter().filter(|(_, value)| !empty(value)) {
        section.fact(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
}

fn inputs(view: &mut View, path: &Path, manifest: &Manifest) {
    let found = find_inputs(path, manifest);
    let section = view.section("inputs");
    for (input, found) in manifest.identity.inputs.iter().zip(&found) {
        let origin = found.as_ref().map(|place| format!("  {}", place.describe())).unwrap_or_default();
        section.fact(&input.name, format!("{:>10}  sha256 {}{origin}", bytes(input.bytes), short(&input.sha256)));
    }
}

/// The first digits of a hash: enough for people.
pub(crate) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
