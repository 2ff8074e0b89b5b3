//! Ctrl-C and SIGTERM, for stages that can save what they have.

use crate::terminal::to_stderr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells whether the user has asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Whether Ctrl-C or SIGTERM has come.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches for Ctrl-C and SIGTERM: the first sets the flag and says `message`, the second ends the process at once.
///
/// # Errors
/// Where the system does not let us install a handler.
pub fn watch_interrupts(message: &'static str) -> anyhow::Result<Interrupt> {
    let flag = Interrupt::default();
    let shared = flag.0.clone();
    ctrlc::set_handler(move || {
        if shared.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        to_stderr(message);
    })?;
    Ok(flag)
}
