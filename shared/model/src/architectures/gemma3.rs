//! Gemma 3, the text model: Gemma 2 with norms on each head's queries and keys instead of caps, five windowed layers to
//! each full one, and another rotary base in the windowed ones. A key `attn_logit_softcapping` has no effect, as in
//! transformers. Gemma Team 2025, arXiv:2503.19786.

use serde_json::{Map, Value};

use super::gemma2::{DEFAULTS, finish, sandwiched};
use super::standard::{Defaults, Dimensions, layer_windows, refuse_partial_rotary};
use crate::ModelError;
use crate::config::{Fields, rotary_from};
use crate::description::{Description, NormKind, RotaryDescription};

/// Places of the rotary tables.
const FULL: usize = 0;
const WINDOWED: usize = 1;

pub(super) fn describe(fields: &Fields<'_>) -> Result<Description, ModelError> {
    let dimensions = Dimensions::read(fields, &Defaults { context: 131_072, ..DEFAULTS })?;
    refuse_partial_rotary(fields)?;
    let every = fields.whole_or("sliding_window_pattern", 6)?.max(1);
    let window = fields.window("sliding_window", Some(4096))?;
    let windows = layer_windows(fields, dimensions.layers, window, |index| (index + 1) % every != 0)?;
    let layers = (0..dimensions.layers)
        .map(|index| {
            let mut layer = sandwiched(fields, &dimensions, index)?;
            layer.attention.window = windows[index];
            layer.attention.rotary = Some(if windows[index].is_some() { WINDOWED } else { FULL });
            layer.attention.query_key_norm = Some(dimensions.head_norms(index, NormKind::RmsPlusOne));
            Ok(layer)
        })
        .collect::<Result<_, ModelError>>()?;
    let rotary = vec![full_rotary(fields, &dimensions)?, windowed_rotary(fields, &dimensions)?];
    let mut decoder = dimensions.decoder(layers, rotary, fields.flag_or("tie_word_embeddings", true)?);
    finish(&mut decoder);
    decoder.output.softcap = fields.cap("final_logit_softcapping", None)?;
    Ok(decoder)
}

/// `rope_parameters.full_attention`, else the older `rope_theta` and `rope_scaling`.
fn full_rotary(fields: &Fields<'_>, dimensions: &Dimensions) -> Result<RotaryDescription, ModelError> {
    let settings = nested(fields, "full_attention").or_else(|| fields.get("rope_scaling").and_then(Value::as_object));
    let theta = fields.number_or("rope_theta", 1_000_000.0)?;
    rotary_from(fields, settings, dimensions.head_dim, dimensions.context, theta, 1.0)
}

/// `rope_parameters.sliding_attention`, else the older `rope_local_base_freq`.
fn windowed_rotary(fields: &Fields<'_>, dimensions: &Dimensions) -> Result<RotaryDescription, ModelError> {
    let settings = nested(fields, "sliding_attention");
    let theta = fields.number_or("rope_local_base_freq", 10_000.0)?;
    rotary_from(fields, settings, dimensions.head_dim, dimensions.context, theta, 1.0)
}

fn nested<'a>(fields: &Fields<'a>, kind: &str) -> Option<&'a Map<String, Value>> {
    fields.get("rope_parameters")?.get(kind)?.as_object()
}
