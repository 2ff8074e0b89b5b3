//! What the binaries share: the global allocator, where a model lies, the model that evaluate, test and generate look at, and
//! whether tokens were made for it.

pub mod locate;
pub mod memory;
pub mod pages;
pub mod subject;
pub mod tokens;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
