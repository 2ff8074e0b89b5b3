//! The contract between the stages: every Arrow schema, every file name, the manifest that seals a folder, and the
//! only code that puts files on disk.
//!
//! A stage opens an [`OutputFolder`], stages files in it, writes rows through the typed writers and commits. Until the
//! commit nothing in the folder has changed; after it, the folder holds the new files and, written last, the
//! [`Manifest`] that vouches for them. The next stage reads through the typed readers, which check the columns of any
//! Parquet file, whoever wrote it.

mod columns;
mod error;
mod example;
mod example_history;
mod example_loss;
mod example_stream;
pub mod files;
mod folder;
pub mod gguf;
mod hash;
mod input;
mod lock;
mod manifest;
mod metrics;
mod origin;
mod overview;
mod pair_scores;
mod plain_table;
mod predictions;
mod rejects;
mod row;
mod table;
mod token_stream;
mod tokens;
pub mod weights;

pub use error::ArtifactError;
pub use example::{EXAMPLE_COLUMNS, Example, ExampleReader, ExampleWriter, Kind, Message};
pub use example_history::{ExamplePoint, read_example_history, write_example_history};
pub use example_loss::{ExampleLoss, ExampleLossWriter};
pub use example_stream::{ExampleStream, SPLIT_COLUMN};
pub use folder::{
    Committed, FinishedFile, OutputFolder, StagedFile, peak_memory_bytes, resident_memory_bytes, stage_file,
    would_replace,
};
pub use hash::{FileRecord, hash_file};
pub use input::{Split, resolve_split};
pub use lock::FolderLock;
pub use manifest::{Identity, MANIFEST, Manifest, Rows};
pub use metrics::{MetricsRow, PreferenceMetrics, ThroughputRow, read_metrics, write_metrics, write_throughput};
pub use origin::Origin;
pub use overview::{Condition, Content, Overview};
pub use pair_scores::{PairScores, write_pair_scores};
pub use plain_table::{PlainColumn, write_plain_table};
pub use predictions::{PredictionColumn, Predictions, write_predictions};
pub use rejects::{Code, Reject, RejectWriter, read_rejects};
pub use row::{TableFacts, read_row};
pub use table::{TableReader, TableWriter};
pub use token_stream::TokenStream;
pub use tokens::{IGNORED, PackedExample, Span, TokenReader, TokenRow, TokenWriter};

/// The version of everything in this crate that another stage or another release reads: schemas, file names, manifest.
/// A folder written under another version is redone, never guessed at.
pub const CONTRACT: u32 = 1;

/// `Result` with this crate's error.
pub type Result<T, E = ArtifactError> = std::result::Result<T, E>;
