//! Rows that a user has looked at and wants out, named by their ids: such as those of `suspects.parquet`.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::inputs::Input;
use crate::records::{self, Record, as_text};
use crate::shape::describe;

/// Ids to leave out, each with what the table says of it.
#[derive(Clone, Debug, Default)]
pub struct Excluded(HashMap<String, String>);

impl Excluded {
    /// Whether no id was named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why the example of this id is left out, if it is.
    pub fn reason(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// Reads tables of any known kind with a column `id`, and perhaps `reason`.
///
/// # Errors
/// As reading inputs does; a row without an id is an error too. A list without rows names nothing.
pub fn read(files: &[Input]) -> Result<Excluded> {
    let mut excluded = Excluded::default();
    let mut add = |file: &str, record: &Record| {
        let id = record.get("id").filter(|id| !id.is_null());
        let id = id.ok_or_else(|| format!("expected a column id, found: {}", describe(record)))?;
        let reason = record.get("reason").filter(|reason| !reason.is_null()).map(as_text);
        let told = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        excluded.0.insert(as_text(id), format!("listed in {file}{told}"));
        Ok(())
    };
    for file in files {
        match records::for_each(std::slice::from_ref(file), &mut add) {
            // Nothing stood out: a list of no ids leaves nothing out.
            Ok(()) | Err(Error::Empty { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(excluded)
}
