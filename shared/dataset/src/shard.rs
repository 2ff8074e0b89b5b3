//! `--shard I/N`: the part of the rows that one of N runs answers for.
//!
//! A row belongs to the shard that its content says, so that equal rows meet in one run and exact duplicates are found
//! there; a row without content, such as one that cannot be parsed, belongs where its place in the files says. So the
//! rows of N runs together are the rows of one run.

use crate::duplicates::Origin;
use crate::normal::mix;

/// One part of N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    /// Zero stands for no sharding.
    count: u64,
}

impl Shard {
    /// Parses `I/N`: I counts from 1 to N.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok();
        let parts = text.split_once('/').and_then(|(index, count)| Some((number(index)?, number(count)?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index: index - 1, count }),
            _ => Err(format!("expected I/N with I from 1 to N, such as 2/8, found `{text}`")),
        }
    }

    /// Whether there is more than one shard.
    pub fn is_one_of_many(self) -> bool {
        self.count > 1
    }

    /// Whether an example of this identity belongs here.
    pub(crate) fn has(self, identity: u128) -> bool {
        // Other bits than those that the table of identities goes by.
        self.count <= 1 || ((identity >> 32) as u64) % self.count == self.index
    }

    /// Whether a row without identity belongs here.
    pub(crate) fn has_row(self, origin: Origin) -> bool {
        self.count <= 1 || mix(origin.packed()) % self.count == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_in_one_shard() {
        let shards: Vec<Shard> = (1..=3).map(|index| Shard::parse(&format!("{index}/3")).unwrap()).collect();
        for row in 0..300u64 {
            let identity = u128::from(mix(row)) << 64 | u128::from(mix(!row));
            assert_eq!(shards.iter().filter(|shard| shard.has(identity)).count(), 1);
            assert_eq!(shards.iter().filter(|shard| shard.has_row(Origin { file: 0, row })).count(), 1);
        }
        for wrong in ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/2"] {
            assert!(Shard::parse(wrong).is_err(), "{wrong}");
        }
    }
}
