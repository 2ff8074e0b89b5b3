//! What the binaries share: the global allocator, and the model that evaluate, test and generate look at.
//!
//! Fresh memory from the system is the hidden cost of tensor work (0.25–4 GB/s on first touch); mimalloc keeps what it
//! has.

pub mod subject;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
