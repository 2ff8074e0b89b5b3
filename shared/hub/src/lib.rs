//! Models by their name on a hub: looked up in the standard Hugging Face cache, and downloaded into it.
//!
//! This is the one crate that speaks to a network. The names and places of the cache are those of the hf-hub crate, and so
//! of Python's huggingface_hub: what one tool has downloaded, the other uses as it is. On top of it stands what a trainer
//! needs of a download: it resumes after an interruption, each file is checked against the hash that the hub gives for it
//! before it appears under its name, a commit is one snapshot, and without a network the cache is enough.

mod client;
mod download;
mod error;
mod model;
mod name;
mod settings;
mod store;

pub use error::HubError;
pub use model::{Fetched, Hub, Part};
pub use name::ModelName;
pub use settings::Settings;

/// `Result` with this crate's error.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// Told of a download as it goes, by whoever shows it.
pub trait Reporter {
    /// A file of `bytes` bytes begins, of which `already` were there from an earlier try.
    fn begin(&mut self, file: &str, bytes: u64, already: u64);
    /// `bytes` bytes have come in all.
    fn at(&mut self, bytes: u64);
    /// The file is whole.
    fn end(&mut self);
}
