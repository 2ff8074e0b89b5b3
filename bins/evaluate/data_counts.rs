//! What became of the data on its way here: rows of each split, and rejected rows by reason, from the folders of ingest
//! and tokenize.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{FileRecord, Manifest, Split, TableFacts, files, hash_file, read_rejects};
use report::{Block, Section, Table, count};

/// One stage's rows.
#[derive(Debug)]
pub(crate) struct StageRows {
    /// `ingest` or `tokenize`.
    pub(crate) stage: &'static str,
    /// Rows in each split's table.
    pub(crate) splits: Vec<(Split, u64)>,
    /// Rejected rows by code.
    pub(crate) rejects: BTreeMap<String, u64>,
    /// Where the rejects are listed.
    file: Option<PathBuf>,
}

/// The stages whose folders were found.
#[derive(Debug, Default)]
pub(crate) struct DataCounts(pub(crate) Vec<StageRows>);

impl DataCounts {
    /// Looks into the folders, where they are folders that a stage finished.
    pub(crate) fn find(data: Option<&Path>, tokens: &Path) -> Result<Self> {
        let mut found = Self::default();
        for (stage, folder) in [("ingest", data), ("tokenize", Some(tokens))] {
            let Some(folder) = folder.filter(|folder| folder.is_dir()) else { continue };
            if let Ok(Some(_)) = Manifest::read(folder) {
                found.0.push(StageRows::read(stage, folder)?);
            }
        }
        Ok(found)
    }

    /// Hashes of the lists of rejects.
    pub(crate) fn records(&self) -> Result<Vec<FileRecord>> {
        let listed = self.0.iter().filter_map(|stage| Some((stage.stage, stage.file.as_ref()?)));
        listed.map(|(stage, path)| Ok(hash_file(path, format!("{stage}/{}", files::REJECTS))?)).collect()
    }

    /// What the report says of them; nothing where no folder was found.
    pub(crate) fn section(&self) -> Option<Section> {
        if self.0.is_empty() {
            return None;
        }
        let mut rows = Table::new("Rows of each split", &["Stage", "Split", "#Rows"]);
        let mut rejects = Table::new("Rejected rows by reason", &["Stage", "Reason", "#Rows"]);
        for stage in &self.0 {
            for (split, number) in &stage.splits {
                rows.push([stage.stage.to_owned(), split.as_str().to_owned(), count(*number)]);
            }
            for (code, number) in &stage.rejects {
                rejects.push([stage.stage.to_owned(), code.replace('_', " "), count(*number)]);
            }
        }
        let lead = "Nothing is dropped silently: each row that went in is in a split or was rejected with a reason. A row of \
                    tokens may pack several examples.";
        let section = Section::new("Data", lead).with(Block::Table(rows));
        Some(if rejects.rows.is_empty() {
            section.with(Block::Text { text: "No row was rejected.".to_owned() })
        } else {
            section.with(Block::Table(rejects))
        })
    }
}

impl StageRows {
    fn read(stage: &'static str, folder: &Path) -> Result<Self> {
        let mut splits = Vec::new();
        for split in Split::ALL {
            let path = folder.join(split.file_name());
            if path.is_file() {
                splits.push((split, TableFacts::read(&path)?.rows));
            }
        }
        let file = Some(folder.join(files::REJECTS)).filter(|path| path.is_file());
        let mut rejects = BTreeMap::new();
        for reject in file.as_deref().map(read_rejects).transpose()?.unwrap_or_default() {
            *rejects.entry(reject.code).or_insert(0) += 1;
        }
        Ok(Self { stage, splits, rejects, file })
    }
}
