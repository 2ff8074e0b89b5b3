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
            Self::All(split) => vec![*split],
            Self::Shares { shares, .. } => {
                Split::ALL.into_iter().zip(shares).filter(|(_, share)| **share > 0.0).map(|(split, _)| split).collect()
            }
        }
    }

    /// The split of the row or group with this key. Test rows are cut off first and training rows last, so that a
    /// larger validation share leaves the test rows alone.
    pub fn assign(&self, key: u128) -> Split {
        match self {
            Self::All(split) => *split,
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
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"split");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&key.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            counts[plan.assign(key) as usize] += 1;
        }
        assert!(counts[0].abs_diff(16_000) < 300 && counts[1].abs_diff(2_000) < 200, "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_larger_validation_share_leaves_test_rows_alone(key: u128, seed: u64) {
            let small = SplitPlan::Shares { shares: [0.8, 0.1, 0.1], seed }.assign(key);
            let large = SplitPlan::Shares { shares: [0.6, 0.3, 0.1], seed }.assign(key);
            prop_assert_eq!(small == Split::Test, large == Split::Test);
            prop_assert!(small != Split::Validation || large == Split::Validation);
        }
    }
}
