//! The rows to learn from: read, checked against the model before anything starts, and named in messages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use artifact::{FileRecord, Split, TokenReader, hash_file, resolve_split};
use cli::Hint;
use retune::tokens::{Limits, source_of};
use training::{NOT_TRAINED, Row};

use super::args::Args;

const WRITER: &str = "retune-tokenize";

/// Training and validation rows, and the files they came from.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// File of the training rows.
    pub(crate) train: PathBuf,
    /// File of the validation rows, where there are any.
    pub(crate) validation: Option<PathBuf>,
}

impl Inputs {
    /// Finds the files; nothing is read yet.
    pub(crate) fn find(args: &Args) -> Result<Self> {
        let train = resolve_split(&args.tokens, Split::Train, WRITER)?
            .with_context(|| format!("{} has no train.parquet", args.tokens.display()))?;
        let validation = match &args.validation {
            Some(path) => resolve_split(path, Split::Validation, WRITER)?,
            None if args.tokens.is_dir() => resolve_split(&args.tokens, Split::Validation, WRITER)?,
            None => None,
        };
        Ok(Self { train, validation })
    }

    /// Content hashes for the manifest, under names that do not depend on the machine.
    pub(crate) fn records(&self) -> Result<Vec<FileRecord>> {
        let mut records = vec![hash_file(&self.train, Split::Train.file_name())?];
        if let Some(validation) = &self.validation {
            records.push(hash_file(validation, Split::Validation.file_name())?);
        }
        Ok(records)
    }

    /// Reads the training rows.
    pub(crate) fn train_rows(&self, limits: Limits, pairs: bool) -> Result<Vec<Row>> {
        let rows = read(&self.train, limits, pairs)?;
        if rows.is_empty() {
            return Err(anyhow!("{} has no rows", self.train.display()))
                .hint("check what retune-tokenize rejected: its rejects.parquet says why, row by row");
        }
        Ok(rows)
    }

    /// Reads the validation rows; none where there is no such file.
    pub(crate) fn validation_rows(&self, limits: Limits, pairs: bool) -> Result<Vec<Row>> {
        self.validation.as_deref().map_or_else(|| Ok(Vec::new()), |path| read(path, limits, pairs))
    }
}

fn read(path: &Path, limits: Limits, pairs: bool) -> Result<Vec<Row>> {
    let mut reader = TokenReader::open(path)?;
    check_kind(path, &reader, pairs)?;
    let mut rows = Vec::with_capacity(reader.rows() as usize);
    while let Some(batch) = reader.next_batch()? {
        for found in batch {
            let number = rows.len() + 1;
            limits.check(&found, path, number)?;
            let chosen_length = found.chosen_length;
            let unsigned = |values: Vec<i32>| values.into_iter().map(|value| value as u32).collect();
            let row = Row::new(unsigned(found.input_ids), found.labels, unsigned(found.position_ids));
            let row = row.with_context(|| format!("{} row {number}", path.display()))?;
            if let Some(length) = chosen_length {
                check_pair(&row, length as usize).with_context(|| format!("{} row {number}", path.display()))?;
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Pairs are not learnt like other rows, nor other rows like pairs.
fn check_kind(path: &Path, reader: &TokenReader, pairs: bool) -> Result<()> {
    match (reader.holds_pairs(), pairs) {
        (true, false) => Err(anyhow!("{} holds preference pairs", path.display()))
            .hint("train with --objective dpo or --objective orpo"),
        (false, true) => Err(anyhow!("{} holds no preference pairs (it has no column chosen_length)", path.display()))
            .hint("ingest records with chosen and rejected answers, or leave --objective out"),
        _ => Ok(()),
    }
}

/// A pair is two sequences, and each has an answer to compare.
fn check_pair(row: &Row, chosen_length: usize) -> Result<()> {
    const HINT: &str = "a pair is prompt and chosen answer, then prompt and rejected answer, each with positions from 0 and the answer's \
         tokens as labels";
    if row.boundaries() != [0, chosen_length, row.len()] {
        let found = row.boundaries().len() - 1;
        return Err(anyhow!(
            "expected two sequences, the first of chosen_length {chosen_length}, found {found} by position_ids"
        ))
        .hint(HINT);
    }
    let targets: Vec<i32> = row.targets().collect();
    let (chosen, rejected) = targets.split_at(chosen_length);
    for (name, side) in [("chosen", chosen), ("rejected", rejected)] {
        if side.iter().all(|&target| target == NOT_TRAINED) {
            return Err(anyhow!("the {name} answer has no token: every label of it is -100")).hint(HINT);
        }
    }
    Ok(())
}

/// Names rows of a file (indices from 0) for a message: their numbers, and where they came from.
pub(crate) fn describe_rows(path: &Path, indices: &[usize]) -> String {
    const SHOWN: usize = 8;
    let mut wanted: Vec<usize> = indices.to_vec();
    wanted.sort_unstable();
    let more = wanted.len().saturating_sub(SHOWN);
    wanted.truncate(SHOWN);
    let rows = TokenReader::open(path).and_then(TokenReader::read_all).unwrap_or_default();
    let name = |index: &usize| {
        let source = rows.get(*index).and_then(source_of);
        source.map_or_else(|| format!("{}", index + 1), |source| format!("{} (from {source})", index + 1))
    };
    let names = wanted.iter().map(name).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("row {names}{more} of {}", path.display())
}
