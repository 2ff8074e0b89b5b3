//! Memory that is kept: fresh pages from the system are the hidden cost of tensor work (0.25–4 GB/s on first touch).
//!
//! mimalloc hands freed memory back after a second by default. A training step of a larger model takes longer than that,
//! so that each step would pay for all of its buffers again: measured, a third of the step.

use std::ffi::{c_int, c_long};

unsafe extern "C" {
    /// Of mimalloc: sets an option that neither the environment nor the program has set yet.
    fn mi_option_set_default(option: c_int, value: c_long);
}

/// `mi_option_purge_delay` of `mimalloc.h`: milliseconds until freed memory goes back to the system, −1 for never.
const PURGE_DELAY: c_int = 15;

/// Freed memory stays with the program until it ends. `MIMALLOC_PURGE_DELAY` in the environment has the last word.
pub fn keep() {
    // SAFETY: the option exists in every version of mimalloc since 2.0, and any value is allowed.
    unsafe { mi_option_set_default(PURGE_DELAY, -1) };
}
