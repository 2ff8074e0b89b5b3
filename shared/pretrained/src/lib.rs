//! Model folders to models and back: Hugging Face layout, PEFT adapters.
//!
//! A base model is a folder with `config.json` and safetensors weights, whole or in shards, in f32, f16 or bf16, or a GGUF
//! file. What is written is such a folder or file again, or an adapter folder that PEFT opens as it is. Nothing written depends on the host,
//! the path or the time.

mod adapter;
mod error;
mod files;
mod folder;
mod gguf;
mod records;
mod shards;
mod tensors;

pub use adapter::{adapter_files, base_model_name, open_adapter};
pub use error::PretrainedError;
pub use files::{ModelFile, stage, write_to};
pub use folder::{
    Pretrained, SaveType, merged_config, model_files, open_config, open_frozen, open_model, tokenizer_files,
};
pub use gguf::{GgufFile, GgufType, gguf_file, gguf_path, read_back};
pub use records::{adapter_records, model_records, tokenizer_records, weight_records};
pub use shards::in_shards;

/// `Result` with this crate's error.
pub type Result<T, E = PretrainedError> = std::result::Result<T, E>;
