//! Model and adapter folders, read and written, and what is said of damaged ones.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips and fails where it stands")]

mod damage;
mod other_tools;
mod round_trip;
mod support;
