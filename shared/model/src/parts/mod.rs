//! The parts of a decoder: one file each, forward only; gradients come from the kernels.

mod attention;
mod embedding;
mod feed_forward;
mod layer;
mod linear;
mod lora;
mod norm;
mod remade;
mod rotary;
mod weight;

pub(crate) use attention::{Attend, OverSegments};
pub(crate) use embedding::Embedding;
pub(crate) use layer::Layer;
pub(crate) use linear::Linear;
pub(crate) use lora::{Dora, Lora};
pub(crate) use norm::Norm;
pub(crate) use remade::Remade;
pub(crate) use rotary::{RotaryRows, RotaryTable};
pub(crate) use weight::{Weight, WeightBook};
