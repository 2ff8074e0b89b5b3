//! Rows that say the same: exactly, by identity, or nearly, by MinHash with locality-sensitive hashing.
//!
//! Near duplicates follow Broder (1997) and Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3: the
//! set of all runs of five words is summed up by the smallest of `BANDS * ROWS` hashes; two texts that agree in all
//! `ROWS` values of any band are compared by the share of values in which they agree.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use artifact::Example;

use crate::normal::{example_words, mix, runs};

/// Words in a run.
pub const SHINGLE_WORDS: usize = 5;
/// Bands of a signature: 16 bands of 8 values find texts of Jaccard similarity 0.8 with probability 0.95.
const BANDS: usize = 16;
/// Values in a band.
const ROWS: usize = 8;
/// Share of equal values from which texts count as near duplicates.
pub const SIMILARITY: f64 = 0.8;

/// `--dedup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dedup {
    /// Keep all.
    Off,
    /// Keep the first of equal content.
    #[default]
    Exact,
    /// Keep the first of nearly equal content.
    Near,
}

/// Where a row was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the file.
    pub file: u32,
    /// Row in the file.
    pub row: u64,
}

/// A MinHash signature.
pub type Signature = Box<[u32; BANDS * ROWS]>;

/// Sums up an example; `None` where it has no word.
pub fn signature(example: &Example) -> Option<Signature> {
    let words = example_words(example);
    if words.is_empty() {
        return None;
    }
    let mut smallest = Box::new([u32::MAX; BANDS * ROWS]);
    for run in runs(&words, SHINGLE_WORDS) {
        // One hash of the run gives all values: each is another odd multiple of it (multiply-shift hashing).
        for (value, multiplier) in smallest.iter_mut().zip(&MULTIPLIERS) {
            *value = (*value).min((run.wrapping_mul(*multiplier) >> 32) as u32);
        }
    }
    Some(smallest)
}

/// Odd multipliers, fixed for good.
static MULTIPLIERS: [u64; BANDS * ROWS] = {
    let mut multipliers = [0; BANDS * ROWS];
    let mut index = 0;
    while index < multipliers.len() {
        let mut value = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        multipliers[index] = (value ^ (value >> 31)) | 1;
        index += 1;
    }
    multipliers
};

/// Share of equal values: an estimate of the Jaccard similarity.
fn similarity(left: &Signature, right: &Signature) -> f64 {
    let equal = left.iter().zip(right.iter()).filter(|(a, b)| a == b).count();
    equal as f64 / (BANDS * ROWS) as f64
}

/// What was kept so far.
#[derive(Default)]
pub struct Seen {
    exact: HashMap<u128, Origin, BuildHasherDefault<AlreadyHashed>>,
    bands: HashMap<u64, u32, BuildHasherDefault<AlreadyHashed>>,
    kept: Vec<(Signature, Origin)>,
}

impl Seen {
    /// The row that had this identity before, or nothing after remembering it.
    pub fn exact(&mut self, identity: u128, origin: Origin) -> Option<Origin> {
        match self.exact.entry(identity) {
            std::collections::hash_map::Entry::Occupied(known) => Some(*known.get()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(origin);
                None
            }
        }
    }

    /// The first kept row that is nearly the same and how near, or nothing after remembering this one.
    pub fn near(&mut self, signature: Signature, origin: Origin) -> Option<(Origin, f64)> {
        let keys: Vec<u64> =
            signature.chunks_exact(ROWS).enumerate().map(|(band, rows)| band_key(band, rows)).collect();
        let mut candidates: Vec<u32> = keys.iter().filter_map(|key| self.bands.get(key)).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        for candidate in candidates {
            let (known, place) = &self.kept[candidate as usize];
            let near = similarity(known, &signature);
            if near >= SIMILARITY {
                return Some((*place, near));
            }
        }
        let number = self.kept.len() as u32;
        for key in keys {
            // The first of a band stays: it stands for those that followed.
            self.bands.entry(key).or_insert(number);
        }
        self.kept.push((signature, origin));
        None
    }
}

fn band_key(band: usize, rows: &[u32]) -> u64 {
    rows.iter().fold(band as u64 + 1, |hash, value| mix(hash.rotate_left(9) ^ u64::from(*value)))
}

/// Keys that are hashes already need no hashing.
#[derive(Default)]
pub(crate) struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64 ^ value as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::Kind;

    fn text(text: &str) -> Example {
        Example {
            id: String::new(),
            kind: Kind::Text,
            messages: Vec::new(),
            tools: None,
            text: Some(text.to_owned()),
            chosen: Vec::new(),
            rejected: Vec::new(),
            source_file: String::new(),
            source_row: 0,
            extra: Vec::new(),
        }
    }

    fn sentence(words: std::ops::Range<usize>) -> String {
        words.map(|number| format!("word{number}")).collect::<Vec<_>>().join(" ")
    }

    fn origin(row: u64) -> Origin {
        Origin { file: 0, row }
    }

    #[test]
    fn the_first_of_equals_is_kept() {
        let mut seen = Seen::default();
        assert_eq!(seen.exact(7, origin(1)), None);
        assert_eq!(seen.exact(7, origin(2)), Some(origin(1)));
        assert_eq!(seen.exact(8, origin(3)), None);
    }

    #[test]
    fn near_texts_are_found_and_others_kept() {
        let mut seen = Seen::default();
        let long = sentence(0..200);
        assert!(seen.near(signature(&text(&long)).unwrap(), origin(1)).is_none());
        let edited = long.replace("word100 ", "other ").to_uppercase();
        let (kept, near) = seen.near(signature(&text(&edited)).unwrap(), origin(2)).unwrap();
        assert!(kept == origin(1) && near >= SIMILARITY);
        assert!(seen.near(signature(&text(&sentence(100..300))).unwrap(), origin(3)).is_none());
        assert!(signature(&text("...")).is_none());
    }

    #[test]
    fn the_estimate_is_near_the_jaccard_similarity() {
        for shared in [40, 100, 160] {
            let (left, right) = (sentence(0..200), sentence(200 - shared..400 - shared));
            let estimate = similarity(&signature(&text(&left)).unwrap(), &signature(&text(&right)).unwrap());
            let (both, all) = ((shared - 4) as f64, (2 * 196 - (shared - 4)) as f64);
            assert!((estimate - both / all).abs() < 0.13, "{shared}: {estimate} against {}", both / all);
        }
    }
}
