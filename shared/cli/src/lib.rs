//! What every binary does in the same way: common flags, configuration files, errors with hints, exit codes,
//! progress, logs, interruption. The libraries below know nothing of it.
//!
//! A binary's `main` is one call:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     cli::main(run::run)
//! }
//! ```

mod advised;
mod common;
mod config;
mod error;
pub mod format;
mod interrupt;
mod make;
mod memory;
mod outcome;
mod progress;
mod run;
mod stage;
mod terminal;

pub use advised::Advised;
pub use common::{Common, Output, StageArgs};
pub use error::{Hint, Hinted, Usage};
pub use interrupt::{Interrupt, watch_interrupts};
pub use memory::{available_bytes, parse_bytes};
pub use outcome::{Outcome, Report};
pub use progress::{Progress, Unit};
pub use run::main;
pub use stage::{VERSION, identity, refuse_own_input, refuse_to_replace, up_to_date};
pub use terminal::{colours, is_quiet, note, print, say, warn, width};
