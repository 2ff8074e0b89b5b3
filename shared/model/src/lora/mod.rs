//! Low-rank adapters in PEFT's terms: settings, which layers they cover, first values, and what else is trained with them.

mod attach;
mod config;
mod initial;
mod json;
mod plan;
mod targets;

pub use config::{Bias, InitialWeights, LoraConfig, Targets};
