//! Low-rank adapters in PEFT's terms (Hu et al. 2021, arXiv:2106.09685): which linear layers get one, of which rank and
//! scale, with which initial values, and under which names they are stored.

mod attach;
mod config;
mod targets;

pub use config::{LoraConfig, Targets};
