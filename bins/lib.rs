//! What the binaries share: the global allocator, where a model lies, and the model that evaluate, test and generate look
//! at.

pub mod locate;
pub mod memory;
pub mod pages;
pub mod subject;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
