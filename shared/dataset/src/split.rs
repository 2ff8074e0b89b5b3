//! Which part of a data set a row goes to: a function of its own content and the seed, so that a row stays where it
//! is when rows are added, taken away or reordered.

use artifact::Split;

/// What keeps rows together: rows of equal key are never in two splits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SplitBy {
    /// Each row for itself.
    #[default]
    Content,
    /// Rows that ask the same.
    Prompt,
    /// Rows with the same value in a column.
    Column(String),
}

impl SplitBy {
    /// The column, where it is one.
    pub fn column(&self) -> Option<String> {
        match self {
            Self::Column(column) => Some(column.clone()),
            _ => None,
        }
    }
}

/// The split that a file's name or one of its folders names: `train`, `valid`, `validation`, `val`, `dev`, `eval` or
/// `test` as a word of its own; the file's name before the folders, the nearer folder before the farther.
pub fn named(path: &str) -> Option<Split> {
    path.rsplit('/').find_map(|part| {
        let lower = part.to_lowercase();
        lower.split(|character: char| !character.is_ascii_alphabetic()).find_map(|word| {
            match word.strip_suffix("set").unwrap_or(word) {
                "train" | "training" => Some(Split::Train),
                "valid" | "validation" | "val" | "dev" | "development" | "eval" => Some(Split::Validation),
                "test" | "testing" => Some(Split::Test),
                _ => None,
            }
        })
    })
}

/// How rows are shared out.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitPlan {
    /// All to one.
    All(Split),
    /// By hash, each split with its share; shares sum to one.
    Shares {
        /// Share of each split, in the order of [`Split::ALL`].
        shares: [f64; 3],
        /// Another seed shares out otherwise.
        seed: u64,
    },
    /// As the names of the files say, one for each input.
    Files(Vec<Split>),
}

impl SplitPlan {
    /// Parses `train=0.9,validation=0.05,test=0.05`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse_shares(text: &str) -> Result<[f64; 3], String> {
        let mut shares = [None; 3];
        for part in text.split(',') {
            let (name, share) =
                part.split_once('=').ok_or_else(|| format!("expected NAME=SHARE, found `{}`", part.trim()))?;
            let (name, share) = (name.trim(), share.trim());
            let index = Split::ALL
                .iter()
                .position(|split| split.as_str() == name)
                .ok_or_else(|| format!("expected train, validation or test, found `{name}`"))?;
            let number = share.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            let number = number.ok_or_else(|| format!("expected a share from 0 to 1 for {name}, found `{share}`"))?;
            if shares[index].replace(number).is_some() {
                return Err(format!("{name} is named twice"));
            }
        }
        let shares = shares.map(Option::unwrap_or_default);
        let sum: f64 = shares.iter().sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Err(format!("expected shares that sum to 1, found a sum of {}", (sum * 1e6).round() / 1e6));
        }
        Ok(shares)
    }

    /// The splits that get rows.
    pub fn splits(&self) -> Vec<Split> {
        match self {
            Self::Files(files) => Split::ALL.into_iter().filter(|split| files.contains(split)).collect(),
            Self::All(split) => vec![*split],
            Self::Shares { shares, .. } => {
                Split::ALL.into_iter().zip(shares).filter(|(_, share)| **share > 0.0).map(|(split, _)| split).collect()
            }
        }
    }

    /// The split of the row or group with this key. Test rows are cut off first and training rows last, so that a
    /// larger validation share leaves the test rows alone.
    /// `file` is the number of the row's file.
    pub fn assign(&self, key: u128, file: u32) -> Split {
        match self {
            Self::All(split) => *split,
            Self::Files(files) => files[file as usize],
            Self::Shares { shares: [_, validation, test], seed } => {
                let place = place(key, *seed);
                if place < *test {
                    Split::Test
                } else if place < test + validation {
                    Split::Validation
                } else {
                    Split::Train
                }
            }
        }
    }
}

/// A number in [0, 1) from key and seed.
fn place(key: u128, seed: u64) -> f64 {
    chance(b"split", key, seed)
}

/// A number in [0, 1) from a purpose, a key and the seed.
pub(crate) fn chance(purpose: &[u8], key: u128, seed: u64) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(purpose);
    hasher.update(&seed.to_le_bytes());
    hasher.update(&key.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1u64 << 53) as f64
}

/// Shares out the rows of each stratum by itself: after any number of its rows each split has its share of them, to
/// less than one row. Where a small stratum's odd rows fall is decided by the seed.
#[derive(Clone, Debug, Default)]
pub struct Strata {
    counts: std::collections::HashMap<u128, [f64; 3]>,
}

impl Strata {
    /// The split of the next row of a stratum.
    pub fn assign(&mut self, stratum: u128, shares: &[f64; 3], seed: u64) -> Split {
        let owed = self.counts.entry(stratum).or_insert_with(|| {
            let purposes: [&[u8]; 3] = [b"train", b"validation", b"test"];
            // Sums to nothing, so that no stratum owes more than it has rows.
            let start: [f64; 3] = std::array::from_fn(|split| chance(purposes[split], stratum, seed) * shares[split]);
            let mean = start.iter().sum::<f64>();
            std::array::from_fn(|split| start[split] - mean * shares[split])
        });
        owed.iter_mut().zip(shares).for_each(|(owed, share)| *owed += share);
        let most =
            (0..3).filter(|split| shares[*split] > 0.0).max_by(|left, right| owed[*left].total_cmp(&owed[*right]));
        let split = most.unwrap_or_default();
        owed[split] -= 1.0;
        Split::ALL[split]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strata_get_their_shares_exactly() {
        let mut strata = Strata::default();
        for (stratum, rows) in [(1u128, 1000), (2, 100), (3, 40)] {
            let mut counts = [0usize; 3];
            for _ in 0..rows {
                counts[strata.assign(stratum, &[0.8, 0.1, 0.1], 7) as usize] += 1;
            }
            let expected = [rows * 8 / 10, rows / 10, rows / 10];
            assert!(counts.iter().zip(expected).all(|(count, wanted)| count.abs_diff(wanted) <= 1), "{counts:?}");
        }
    }

    #[test]
    fn names_of_files_tell_splits() {
        assert_eq!(named("data/train-00000-of-00002.parquet"), Some(Split::Train));
        assert_eq!(named("test/part.jsonl"), Some(Split::Test));
        assert_eq!(named("train/dev.csv"), Some(Split::Validation));
        assert_eq!(named("MTS-Dialog-ValidationSet.csv"), Some(Split::Validation));
        assert_eq!(named("contest.jsonl"), None);
    }

    #[test]
    fn shares_are_checked() {
        assert_eq!(SplitPlan::parse_shares("train=0.9,validation=0.05,test=0.05"), Ok([0.9, 0.05, 0.05]));
        assert_eq!(SplitPlan::parse_shares("test=1"), Ok([0.0, 0.0, 1.0]));
        for wrong in ["train=0.9", "train=0.5,train=0.5", "dev=1", "train", "train=x", "train=2,test=-1"] {
            assert!(SplitPlan::parse_shares(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_met() {
        let plan = SplitPlan::Shares { shares: [0.8, 0.1, 0.1], seed: 3 };
        let mut counts = [0usize; 3];
        for key in 0..20_000u128 {
            counts[plan.assign(key, 0) as usize] += 1;
        }
        assert!(counts[0].abs_diff(16_000) < 300 && counts[1].abs_diff(2_000) < 200, "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_larger_validation_share_leaves_test_rows_alone(key: u128, seed: u64) {
            let small = SplitPlan::Shares { shares: [0.8, 0.1, 0.1], seed }.assign(key, 0);
            let large = SplitPlan::Shares { shares: [0.6, 0.3, 0.1], seed }.assign(key, 0);
            prop_assert_eq!(small == Split::Test, large == Split::Test);
            prop_assert!(small != Split::Validation || large == Split::Validation);
        }
    }
}
