//! Whether training has seen the test: the training split is found beside the test data or named with `--train`, and
//! every test row that it holds is listed. Nothing is removed.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use artifact::{
    ExampleReader, FileRecord, FinishedFile, OutputFolder, PlainColumn, Split, TableFacts, TokenReader, files,
    hash_file, resolve_split, write_plain_table,
};
use cli::Hint;
use dataset::inputs::discover;
use dataset::leakage::{Leak, LeakKind, LeakageCheck};
use dataset::records::{as_text, for_each};
use serde::Serialize;

/// What was compared with the test, and what was found.
#[derive(Debug)]
pub(crate) struct Leakage {
    pub(crate) leaks: Vec<Leak>,
    pub(crate) summary: LeakageSummary,
}

/// Counts for the scorecard.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LeakageSummary {
    /// Training examples compared with.
    pub(crate) training_examples: u64,
    /// Test rows that training has seen, in one way or another.
    pub(crate) rows: usize,
    /// Of these, with the same prompt and answer.
    pub(crate) same_example: usize,
    /// With the same prompt.
    pub(crate) same_prompt: usize,
    /// With most of its runs of eight words.
    pub(crate) overlap: usize,
}

const READS: &str = "whether training has seen the test is told from its examples: --train takes a folder of retune-ingest or \
    retune-tokenize, or a file whose every record can be read";

/// The files of the training split.
pub(crate) fn training_files(named: &[PathBuf], data: Option<&Path>) -> Result<Vec<PathBuf>> {
    if named.is_empty() {
        let folder = data.map(|data| if data.is_dir() { data } else { data.parent().unwrap_or(data) });
        let beside = folder.map(|folder| folder.join(Split::Train.file_name()));
        return Ok(beside.filter(|file| file.is_file()).into_iter().collect());
    }
    let split = |path: &PathBuf| match path.is_dir() {
        false if path.is_file() => Ok(path.clone()),
        false => Err(anyhow!("{} does not exist", path.display())).hint("--train takes a folder or a file"),
        true => resolve_split(path, Split::Train, "retune-ingest")?
            .ok_or_else(|| anyhow!("{} has no train split", path.display()))
            .hint("name the folder that retune-ingest or retune-tokenize wrote for the training, or a file"),
    };
    named.iter().map(split).collect()
}

/// Hashes of the files, for the identity of the run.
pub(crate) fn records(training: &[PathBuf]) -> Result<Vec<FileRecord>> {
    let record = |(index, path): (usize, &PathBuf)| Ok(hash_file(path, format!("train/{}", index + 1))?);
    training.iter().enumerate().map(record).collect()
}

/// Compares test rows (id, prompt, reference) with the training files; nothing where these hold no example. A file that was
/// asked for by name must hold one.
pub(crate) fn check<'a>(
    rows: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    training: &[PathBuf],
    named: bool,
) -> Result<Option<Leakage>> {
    let mut check = LeakageCheck::default();
    rows.for_each(|(id, prompt, reference)| check.add(id, prompt, reference));
    for file in training {
        let before = check.examples;
        see(file, &mut check)?;
        if named && check.examples == before {
            return Err(anyhow!("{} holds no example to compare the test with", file.display())).hint(READS);
        }
    }
    if check.examples == 0 {
        return Ok(None);
    }
    let training_examples = check.examples;
    let leaks = check.finish();
    let count = |kind| leaks.iter().filter(|leak| leak.kind == kind).count();
    let summary = LeakageSummary {
        training_examples,
        rows: leaks.len(),
        same_example: count(LeakKind::SameExample),
        same_prompt: count(LeakKind::SamePrompt),
        overlap: count(LeakKind::Overlap),
    };
    Ok(Some(Leakage { leaks, summary }))
}

fn see(path: &Path, check: &mut LeakageCheck) -> Result<()> {
    let parquet = path.extension().is_some_and(|extension| extension == "parquet");
    if parquet && TableFacts::read(path)?.has(&["input_ids"]) {
        let mut reader = TokenReader::open(path)?;
        while let Some(rows) = reader.next_batch()? {
            for example in rows.iter().flat_map(|row| &row.examples) {
                check.examples += 1;
                check.see_id(&example.id, &example.source_file, example.source_row);
            }
        }
        return Ok(());
    }
    if parquet && TableFacts::read(path)?.has(&["messages", "source_file"]) {
        let mut reader = ExampleReader::open(path)?;
        while let Some(examples) = reader.next_batch()? {
            examples.iter().for_each(|example| check.see(example));
        }
        return Ok(());
    }
    see_records(path, check)
}

/// Records of any shape: a text that is a test row's prompt counts wherever it stands.
fn see_records(path: &Path, check: &mut LeakageCheck) -> Result<()> {
    let set = discover(&[path.to_string_lossy().into_owned()])?;
    let seen = for_each(&set.inputs, &mut |place, record| {
        let texts: Vec<String> = record.fields.values().map(as_text).collect();
        check.examples += 1;
        check.see_texts(&texts.join("\n"), "", place);
        texts.iter().for_each(|text| check.see_texts(text, "", place));
        Ok(())
    });
    seen.hint(READS)
}

impl Leakage {
    /// Writes the list.
    pub(crate) fn write(&self, folder: &OutputFolder, ids: &[String]) -> Result<FinishedFile> {
        let text = |value: &dyn Fn(&Leak) -> String| PlainColumn::Text(self.leaks.iter().map(value).collect());
        Ok(write_plain_table(
            folder.stage(files::LEAKAGE)?,
            vec![
                ("id", text(&|leak| ids[leak.row].clone())),
                ("row", PlainColumn::Count(self.leaks.iter().map(|leak| leak.row as u64 + 1).collect())),
                ("kind", text(&|leak| leak.kind.as_str().to_owned())),
                ("overlap", PlainColumn::Number(self.leaks.iter().map(|leak| Some(leak.share)).collect())),
                ("train_source_file", text(&|leak| leak.source_file.clone())),
                ("train_source_row", PlainColumn::Count(self.leaks.iter().map(|leak| leak.source_row).collect())),
            ],
        )?)
    }

    /// What to say of it; nothing where the test is clean.
    pub(crate) fn warning(&self) -> Option<String> {
        let LeakageSummary { rows, same_example, same_prompt, overlap, .. } = &self.summary;
        let first = self.leaks.first()?;
        Some(format!(
            "training has seen {} of the test: {same_example} with prompt and answer, {same_prompt} with the prompt, \
             {overlap} with most of the words; the first is row {} (training: {}:{}). They are scored like all others and \
             listed in {}; retune-ingest --split-by prompt or --decontaminate keeps them apart",
            cli::format::plural(*rows as u64, "row"),
            first.row + 1,
            first.source_file,
            first.source_row,
            files::LEAKAGE
        ))
    }
}
