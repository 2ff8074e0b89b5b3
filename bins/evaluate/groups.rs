//! Figures of parts of the data: by source file, and by the values of the columns that ingest kept.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use artifact::{ExampleReader, Split, resolve_split};
use cli::Hint;
use metrics::{LossSummary, LossTotals};
use serde::Serialize;

use crate::loss::ExampleTotals;

/// One group of examples.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Group {
    /// What they have in common: a file, or a value of the column.
    pub(crate) value: String,
    /// How many.
    pub(crate) examples: usize,
    /// The tuned model.
    pub(crate) tuned: LossSummary,
    /// The base, where asked for.
    pub(crate) baseline: Option<LossSummary>,
}

/// What stands for an example that the data does not know, or whose column is empty.
const NOTHING: &str = "(none)";
/// A column with more values than this is shown by its most frequent ones, the rest together.
const MOST_VALUES: usize = 50;
const REST: &str = "(all others)";

/// Groups examples by a value; largest group first.
pub(crate) fn by_value(
    tuned: &[ExampleTotals],
    baseline: Option<&[ExampleTotals]>,
    value: impl Fn(&ExampleTotals) -> String,
) -> Vec<Group> {
    #[derive(Default)]
    struct Sums(usize, LossTotals, LossTotals);
    let mut groups: BTreeMap<String, Sums> = BTreeMap::new();
    for (index, example) in tuned.iter().enumerate() {
        let group = groups.entry(value(example)).or_default();
        group.0 += 1;
        group.1.add(&example.totals);
        if let Some(base) = baseline {
            group.2.add(&base[index].totals);
        }
    }
    let mut ordered: Vec<(String, Sums)> = groups.into_iter().collect();
    ordered.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(&b.0)));
    if ordered.len() > MOST_VALUES {
        let mut rest = Sums::default();
        for (_, sums) in ordered.drain(MOST_VALUES..) {
            rest.0 += sums.0;
            rest.1.add(&sums.1);
            rest.2.add(&sums.2);
        }
        ordered.push((REST.to_owned(), rest));
    }
    let group = |(value, sums): (String, Sums)| {
        let baseline = baseline.and_then(|_| sums.2.summary());
        Some(Group { value, examples: sums.0, tuned: sums.1.summary()?, baseline })
    };
    ordered.into_iter().filter_map(group).collect()
}

/// The kept columns of a data set, by the examples' ids.
#[derive(Debug, Default)]
pub(crate) struct KeptColumns {
    names: Vec<String>,
    values: HashMap<String, Vec<Option<String>>>,
}

/// The tables of a data set that hold the splits to be measured.
pub(crate) fn data_files(data: &Path, splits: &[Split]) -> Result<Vec<PathBuf>> {
    let found: Vec<PathBuf> = splits
        .iter()
        .map(|&split| resolve_split(data, split, "retune-ingest"))
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(anyhow!("{} has none of the splits to be measured", data.display()))
            .hint("--data takes the folder of retune-ingest that was tokenized");
    }
    Ok(found)
}

impl KeptColumns {
    /// Reads the columns beside the examples.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self> {
        let mut columns = Self::default();
        for path in files {
            let mut reader = ExampleReader::open(path)?;
            columns.names = reader.extra().to_vec();
            while let Some(examples) = reader.next_batch()? {
                columns.values.extend(examples.into_iter().map(|example| (example.id, example.extra)));
            }
        }
        Ok(columns)
    }

    /// Groups for each column.
    pub(crate) fn groups(
        &self,
        tuned: &[ExampleTotals],
        baseline: Option<&[ExampleTotals]>,
    ) -> BTreeMap<String, Vec<Group>> {
        let of = |column: usize| {
            by_value(tuned, baseline, |example| {
                let value = self.values.get(&example.id).and_then(|values| values.get(column)?.clone());
                value.filter(|value| !value.is_empty()).unwrap_or_else(|| NOTHING.to_owned())
            })
        };
        self.names.iter().enumerate().map(|(column, name)| (name.clone(), of(column))).collect()
    }
}
