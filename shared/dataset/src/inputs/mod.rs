//! Which files to read: paths, globs, folders and `-` become a list in a fixed order, each with a name that does
//! not depend on where the files lie on this host.

mod compression;
mod container;
mod discover;
mod encoding;
mod open;
mod utf16;

pub use container::Container;
pub use discover::{Input, InputSet, discover};
pub use encoding::Encoding;
pub use open::{ByteStream, Progress};
pub(crate) use open::{Opened, damage, fail_read, open};
