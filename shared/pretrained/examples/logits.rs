//! Logits of a model folder, with or without an adapter, for comparison with other tools (tests/data/peers).
//!
//! ```text
//! logits MODEL [ADAPTER] < rows > logits.json      rows: a JSON array of token ids per line
//! ```
//!
//! Prints `{"rows": [{"input_ids": [...], "logits": [[...], ...]}, ...]}`: one row of logits per position.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};
use std::path::Path;

use model::{Batch, Mode, Trainable};
use pretrained::{open_adapter, open_model};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("usage: logits MODEL [ADAPTER] < rows")?;
    let mut decoder = open_model(Path::new(folder), Trainable::Nothing)?.decoder;
    if let Some(adapter) = arguments.get(1) {
        open_adapter(&mut decoder, Path::new(adapter))?;
    }
    let mut rows = Vec::new();
    for line in stdin().lines() {
        let ids: Vec<u32> = serde_json::from_str(&line?)?;
        let batch = Batch::from_sequences(&[&ids])?;
        let hidden = decoder.hidden_states(&batch, Mode::Evaluate)?;
        let logits: Vec<Vec<f32>> = decoder.logits(&hidden)?.to_vec2()?;
        rows.push(json!({"input_ids": ids, "logits": logits}));
    }
    writeln!(stdout(), "{}", json!({ "rows": rows }))?;
    Ok(())
}
