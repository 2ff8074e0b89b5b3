//! What the binaries share: the global allocator, and the model that evaluate, test and generate look at.

pub mod memory;
pub mod pages;
pub mod subject;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
