//! Rows that a user has looked at and wants out, named by their ids: such as those of `suspects.parquet`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::Input;
use crate::records::{self, Record, as_text};
use crate::shape::describe;

/// Ids to leave out, each with what the table says of it.
#[derive(Clone, Debug, Default)]
pub struct Excluded(Arc<HashMap<String, Listed>>);

#[derive(Debug)]
struct Listed {
    reason: String,
    /// Whether a row has this id.
    found: AtomicBool,
}

/// How far a list of ids and the data have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exclusion {
    /// Ids that were named.
    pub ids: u64,
    /// Those of them that a row has.
    pub found: u64,
}

impl Excluded {
    /// Why the example of this id is left out, if it is.
    pub fn reason(&self, id: &str) -> Option<&str> {
        let listed = self.0.get(id)?;
        listed.found.store(true, Ordering::Relaxed);
        Some(&listed.reason)
    }

    /// How many ids there are, and how many of them were asked for so far.
    pub fn counts(&self) -> Exclusion {
        let found = self.0.values().filter(|listed| listed.found.load(Ordering::Relaxed)).count();
        Exclusion { ids: self.0.len() as u64, found: found as u64 }
    }
}

/// Reads tables of any known kind with a column `id`, and perhaps `reason`.
///
/// # Errors
/// As reading inputs does; a row without an id is an error too. A list without rows names nothing.
pub fn read(files: &[Input]) -> Result<Excluded> {
    let mut ids = HashMap::new();
    let mut add = |(file, _): (&str, u64), record: &Record| {
        let id = match record.get("id") {
            None => return Err(format!("expected a column id, found: {}", describe(record))),
            Some(id) if id.is_null() => {
                return Err("expected the id of an example in the column id, found null".to_owned());
            }
            Some(id) => as_text(id),
        };
        let reason = record.get("reason").filter(|reason| !reason.is_null()).map(as_text);
        let told = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        ids.insert(id, Listed { reason: format!("listed in {file}{told}"), found: AtomicBool::new(false) });
        Ok(())
    };
    for file in files {
        match records::for_each(std::slice::from_ref(file), &mut add) {
            // Nothing stood out: a list of no ids leaves nothing out.
            Ok(()) | Err(Error::Empty { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Excluded(Arc::new(ids)))
}
