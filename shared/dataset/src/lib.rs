//! Foreign formats to examples: readers, format detection, filters, duplicates, splits.
//!
//! [`inputs`] finds and opens files, [`records`] reads them chunk by chunk, [`mapping`] and [`shape`] make examples of
//! records, and [`ingest`] strings it all together and accounts for every row.

pub mod contamination;
pub mod duplicates;
mod error;
pub mod exclusion;
pub mod identity;
pub mod ingest;
pub mod inputs;
pub mod leakage;
pub mod leaks;
pub mod mapping;
pub mod mixing;
mod normal;
pub mod quality;
pub mod records;
pub mod shape;
pub mod shard;
pub mod split;
mod store;

pub use error::{Error, Result, nearest};
