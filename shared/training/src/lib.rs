//! The training loop: rows of tokens in, trained tensors and one record per step out.
//!
//! Reading order: [`Row`] (what is learnt from) → [`order`] (which rows make which step) → [`batch`] (a step cut into
//! micro-batches) → [`Schedule`] and [`Moments`] (how the tensors move) → [`Trainer`] (the loop) → [`Observer`]
//! (who is told). The crate knows no file and no command line: checkpoints leave it as a [`Snapshot`] and come back
//! as a [`SavedState`].
//!
//! Invariant: a run is a function of (starting tensors, rows, [`Options`]). Nothing depends on time, on the number of
//! threads, or on how often it was stopped and resumed.

pub mod batch;
mod clip;
mod error;
mod evaluate;
mod gradients;
mod observer;
mod optimizer;
mod options;
pub mod order;
pub mod preference;
mod profile;
mod record;
mod row;
mod schedule;
mod segment_loss;
mod state;
mod trainer;

pub use error::TrainingError;
pub use evaluate::{ValidationLoss, evaluate};
pub use kernels::OperationTime;
pub use observer::{Observer, ObserverError, Silent};
pub use optimizer::Moments;
pub use options::{Duration, EarlyStopping, Options, Warmup};
pub use profile::StepProfile;
pub use record::{Best, Progress, StepRecord};
pub use row::{NOT_TRAINED, Row};
pub use schedule::{Schedule, ScheduleShape};
pub use segment_loss::SegmentLoss;
pub use state::{SavedState, Snapshot};
pub use trainer::{Outcome, Trainer};
