//! Decoder architectures, low-rank adapters, key-value cache; parameters by name.
//!
//! A [`ModelConfig`] is read from the JSON of a Hugging Face `config.json`. It describes a decoder as a list of named
//! parts (norms, rotary tables, attention, feed-forward, residual arrangement), and [`Decoder`] is the one
//! implementation of those parts. Where the numbers come from is behind [`TensorSource`]: nothing here knows a file.
//!
//! A batch has no padding: it is the flat concatenation of its tokens, cut into segments that do not see each other.

mod architectures;
mod batch;
mod cache;
mod config;
mod decoder;
mod description;
mod error;
mod lora;
mod parts;
mod random;
mod source;

pub use architectures::SUPPORTED_MODEL_TYPES;
pub use batch::{Batch, Mode};
pub use cache::KvCache;
pub use config::ModelConfig;
pub use decoder::{Decoder, Footprint, Hold, Parameter, Pass, Regularisation, Trainable, Workload};
pub use description::{
    AttentionDescription, Description, EmbeddingDescription, FeedForward, Initial, LayerDescription, LinearDescription,
    NormDescription, NormKind, OutputDescription, ParameterDescription, Projections, QueryKeyNorm, Residual,
    RopeScaling, RotaryDescription,
};
pub use error::ModelError;
pub use kernels::{Activation, BlockFormat, CrossEntropy, Segments, StoredMatrix, WeightLayout};
pub use lora::{Bias, InitialWeights, LoraConfig, Targets};
pub use source::{MemorySource, TensorSource};
