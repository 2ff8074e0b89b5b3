//! Properties of the whole way: every row is accounted for, and neither threads nor growth change where rows go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use artifact::{Example, Reject, Split};
use proptest::prelude::*;

use super::*;
use crate::inputs::{Progress, discover};

/// Keeps all rows in memory.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    examples: Vec<(Split, Example)>,
    rejects: Vec<Reject>,
}

impl Sink for Kept {
    fn examples(&mut self, split: Split, examples: Vec<Example>) -> Result<()> {
        self.examples.extend(examples.into_iter().map(|example| (split, example)));
        Ok(())
    }

    fn rejects(&mut self, rejects: Vec<Reject>) -> Result<()> {
        self.rejects.extend(rejects);
        Ok(())
    }

    fn proceed(&mut self, _: u64, _: u64) -> bool {
        true
    }
}

fn options(threads: usize) -> Options {
    Options {
        read: ReadOptions::default(),
        aligned: Vec::new(),
        shape: None,
        mapping: Mapping::default(),
        keep: Vec::new(),
        on_bad_record: OnBadRecord::Reject,
        min_chars: None,
        max_chars: None,
        cleaning: Cleaning::default(),
        pii: Pii::Off,
        languages: Languages::default(),
        check: Rules::default(),
        reject: Rules::default(),
        dedup: Dedup::Exact,
        near: Near::default(),
        unseen: Unseen::default(),
        excluded: None,
        split: SplitPlan::Shares { shares: [0.5, 0.25, 0.25], seed: 1 },
        split_by: SplitBy::Content,
        stratify: None,
        mix: Mix::default(),
        shard: Shard::default(),
        scratch: None,
        threads,
    }
}

fn ingest(folder: &Path, lines: &[String], options: &Options) -> Result<(Summary, Kept)> {
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let inputs = discover(&[path.to_string_lossy().into_owned()])?.inputs;
    let mut kept = Kept::default();
    let summary = run(&inputs, options, &Arc::new(Progress::default()), &mut kept)?;
    Ok((summary, kept))
}

fn line() -> impl Strategy<Value = String> {
    let text = "[a-e ]{0,3}";
    prop_oneof![
        6 => (text, text).prop_map(|(prompt, completion)| serde_json::json!({"prompt": prompt, "completion": completion}).to_string()),
        1 => text.prop_map(|text| serde_json::json!({"other": text}).to_string()),
        1 => Just("{\"prompt\": ".to_owned()),
        1 => Just(String::new()),
        1 => ".{0,6}",
    ]
}

fn splits(kept: &Kept) -> BTreeMap<String, Split> {
    kept.examples.iter().map(|(split, example)| (example.id.clone(), *split)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_in_are_rows_out_and_rejected(lines in prop::collection::vec(line(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        // A byte order mark at the start of a file belongs to no line.
        let lines: Vec<String> = lines.into_iter().map(|line| line.replace(['\n', '\r', '\u{feff}'], " ")).collect();
        let rows = lines.iter().filter(|line| !line.bytes().all(|byte| byte.is_ascii_whitespace())).count();
        let Ok((summary, kept)) = ingest(folder.path(), &lines, &options(1)) else { return Ok(()) };
        prop_assert_eq!(summary.read as usize, rows);
        prop_assert_eq!(kept.examples.len() + kept.rejects.len(), rows);
        // Each row is in one place, under its own line, and no content is kept twice.
        let mut places: Vec<u64> = kept.examples.iter().map(|(_, example)| example.source_row).collect();
        places.extend(kept.rejects.iter().map(|reject| reject.source_row));
        places.sort_unstable();
        places.dedup();
        prop_assert_eq!(places.len(), rows);
        prop_assert_eq!(splits(&kept).len(), kept.examples.len());
        for reject in &kept.rejects {
            prop_assert_eq!(&reject.record, &lines[reject.source_row as usize - 1]);
        }
    }

    #[test]
    fn threads_change_nothing(lines in prop::collection::vec(line(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = lines.into_iter().map(|line| line.replace(['\n', '\r'], " ")).collect();
        let one = ingest(folder.path(), &lines, &options(1)).map(|(_, kept)| kept).map_err(|error| error.to_string());
        let three = ingest(folder.path(), &lines, &options(3)).map(|(_, kept)| kept).map_err(|error| error.to_string());
        prop_assert_eq!(one, three);
    }

    #[test]
    fn rows_keep_their_split_when_others_come_and_go(numbers in prop::collection::btree_set(0u32..500, 2..60), gone in 0u32..10) {
        let folder = tempfile::tempdir().unwrap();
        let line = |number: &u32| format!("{{\"text\":\"row {number}\"}}");
        let before: Vec<String> = numbers.iter().map(line).collect();
        let after: Vec<String> = (0..500).rev().filter(|number| number % 10 != gone).map(|number| line(&number)).collect();
        let before = splits(&ingest(folder.path(), &before, &options(1)).unwrap().1);
        let after = splits(&ingest(folder.path(), &after, &options(1)).unwrap().1);
        for (id, split) in before {
            prop_assert!(after.get(&id).is_none_or(|now| *now == split));
        }
    }
}
