//! Rows that a user has looked at and wants out, named by their ids: such as those of `suspects.parquet`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::inputs::{Input, Progress};
use crate::records::{self, ReadOptions, as_text};
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
/// As reading inputs does; a row without an id is an error too.
pub fn read(files: &[Input]) -> Result<Excluded> {
    let mut excluded = Excluded::default();
    let progress = Arc::new(Progress::default());
    for file in files {
        let source = records::open(file, &ReadOptions::default(), &progress)?;
        let mut base = 0;
        for chunk in source.chunks {
            let mut broken = None;
            let span = chunk?.visit(None, &mut |item| match item.content {
                Ok(record) => match record.get("id").filter(|id| !id.is_null()) {
                    Some(id) => {
                        let reason = record.get("reason").filter(|reason| !reason.is_null()).map(as_text);
                        let told = reason.map_or(String::new(), |reason| format!(" ({reason})"));
                        excluded.0.insert(as_text(id), format!("listed in {}{told}", file.name));
                    }
                    None => {
                        let detail = format!("expected a column id, found: {}", describe(&record));
                        broken.get_or_insert((base + item.row, detail));
                    }
                },
                Err(unreadable) => {
                    broken.get_or_insert((unreadable.line.unwrap_or(base + item.row), unreadable.detail));
                }
            });
            base += span;
            if let Some((row, detail)) = broken {
                return Err(Error::Broken { file: file.name.clone(), row, detail, skippable: false });
            }
        }
    }
    Ok(excluded)
}
