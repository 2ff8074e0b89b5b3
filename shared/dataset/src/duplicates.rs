//! Rows that say the same: exactly, by identity, or nearly, by MinHash with locality-sensitive hashing.
//!
//! Near duplicates follow Broder (1997) and Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3: the
//! set of all runs of a few words is summed up by the smallest of `bands * rows` hashes; two texts that agree in all
//! `rows` values of any band are compared by the share of values in which they agree. The first of a cluster is kept and
//! stands for it: what follows is compared with the rows that were kept, in the order of the files.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use artifact::Example;
use serde::Serialize;

use crate::error::Result;
use crate::normal::{example_words, mix, runs};
use crate::store::{Identities, Scratch};

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

/// The parameters of near duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Near {
    /// Words in a run.
    pub ngram: usize,
    /// Bands of a signature.
    pub bands: usize,
    /// Values in a band.
    pub rows: usize,
    /// Share of equal values from which texts count as near duplicates.
    pub similarity: f64,
}

impl Default for Near {
    /// 16 bands of 8 values find texts of Jaccard similarity 0.8 with probability 0.95.
    fn default() -> Self {
        Self { ngram: 5, bands: 16, rows: 8, similarity: 0.8 }
    }
}

impl Near {
    /// The chance that two texts of this similarity are compared at all: 1 − (1 − sʳ)ᵇ.
    pub fn chance(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }
}

/// Where a row was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the file.
    pub file: u32,
    /// Row in the file.
    pub row: u64,
}

impl Origin {
    const ROW_BITS: u32 = 40;

    /// In one number, for sixteen million files of a trillion rows.
    pub(crate) fn packed(self) -> u64 {
        u64::from(self.file) << Self::ROW_BITS | (self.row & ((1 << Self::ROW_BITS) - 1))
    }

    pub(crate) fn unpacked(packed: u64) -> Self {
        Self { file: (packed >> Self::ROW_BITS) as u32, row: packed & ((1 << Self::ROW_BITS) - 1) }
    }
}

/// A MinHash signature.
pub type Signature = Box<[u32]>;

/// Sums up an example; `None` where it has no word.
pub fn signature(example: &Example, near: &Near) -> Option<Signature> {
    let words = example_words(example);
    if words.is_empty() {
        return None;
    }
    let mut smallest = vec![u32::MAX; near.bands * near.rows];
    let multipliers: Vec<u32> = (0..smallest.len()).map(multiplier).collect();
    let runs: Vec<u64> = runs(&words, near.ngram).collect();
    take_smallest(&runs, &multipliers, &mut smallest);
    Some(smallest.into_boxed_slice())
}

/// Lowers each value to the smallest of its hash over all runs, with wide registers where the processor has them: the
/// arithmetic is of whole numbers, so the result is the same.
fn take_smallest(runs: &[u64], multipliers: &[u32], smallest: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(runs: &[u64], multipliers: &[u32], smallest: &mut [u32]) {
            plain(runs, multipliers, smallest);
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function asks for.
            unsafe { wide(runs, multipliers, smallest) };
            return;
        }
    }
    plain(runs, multipliers, smallest);
}

/// One hash of a run gives all values: each is another odd multiple of it, its low half stirred into the high one first.
#[inline(always)]
fn plain(runs: &[u64], multipliers: &[u32], smallest: &mut [u32]) {
    for run in runs {
        let (high, low) = ((run >> 32) as u32, *run as u32);
        for (value, multiplier) in smallest.iter_mut().zip(multipliers) {
            *value = (*value).min((high ^ low.wrapping_mul(*multiplier)).wrapping_mul(*multiplier));
        }
    }
}

/// Odd multipliers, fixed for good.
fn multiplier(index: usize) -> u32 {
    (mix((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32) as u32 | 1
}

/// Share of equal values: an estimate of the Jaccard similarity.
fn similarity(left: &[u32], right: &[u32]) -> f64 {
    let equal = left.iter().zip(right.iter()).filter(|(a, b)| a == b).count();
    equal as f64 / left.len() as f64
}

/// A row that was kept and now stands for others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// Where it was read.
    pub origin: Origin,
    /// Its identity: the name of the cluster.
    pub identity: u128,
    /// How near: 1 for equal content.
    pub similarity: f64,
}

/// What was kept so far.
pub struct Seen {
    exact: Identities,
    near: Near,
    bands: HashMap<u64, u32, BuildHasherDefault<AlreadyHashed>>,
    kept: Vec<(Signature, Origin, u128)>,
}

impl Seen {
    /// Nothing yet; what does not fit in memory goes to a nameless file.
    pub(crate) fn new(scratch: Scratch, near: Near) -> Self {
        Self { exact: Identities::new(scratch), near, bands: HashMap::default(), kept: Vec::new() }
    }

    /// The row that had this identity before, or nothing after remembering it.
    ///
    /// # Errors
    /// Where a temporary file cannot be used.
    pub fn exact(&mut self, identity: u128, origin: Origin) -> Result<Option<Kept>> {
        let first = self.exact.first(identity, origin.packed())?;
        Ok(first.map(|first| Kept { origin: Origin::unpacked(first), identity, similarity: 1.0 }))
    }

    /// The first kept row that is nearly the same and how near, or nothing after remembering this one.
    pub fn near(&mut self, signature: Signature, identity: u128, origin: Origin) -> Option<Kept> {
        let bands = signature.chunks_exact(self.near.rows).enumerate();
        let keys: Vec<u64> = bands.map(|(band, rows)| band_key(band, rows)).collect();
        let mut candidates: Vec<u32> = keys.iter().filter_map(|key| self.bands.get(key)).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        for candidate in candidates {
            let (known, origin, identity) = &self.kept[candidate as usize];
            let near = similarity(known, &signature);
            if near >= self.near.similarity {
                return Some(Kept { origin: *origin, identity: *identity, similarity: near });
            }
        }
        let number = self.kept.len() as u32;
        for key in keys {
            // The first of a band stays: it stands for those that followed.
            self.bands.entry(key).or_insert(number);
        }
        self.kept.push((signature, origin, identity));
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
        for word in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..word.len()].copy_from_slice(word);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(eight);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(5) ^ value;
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

    fn sum_up(content: &str) -> Signature {
        signature(&text(content), &Near::default()).unwrap()
    }

    fn sentence(words: std::ops::Range<usize>) -> String {
        words.map(|number| format!("word{number}")).collect::<Vec<_>>().join(" ")
    }

    fn origin(row: u64) -> Origin {
        Origin { file: 0, row }
    }

    fn nothing() -> Seen {
        Seen::new(Scratch::default(), Near::default())
    }

    #[test]
    fn the_first_of_equals_is_kept() {
        let mut seen = nothing();
        assert_eq!(seen.exact(7, origin(1)).unwrap(), None);
        let kept = seen.exact(7, Origin { file: 3, row: 2 }).unwrap().unwrap();
        assert_eq!((kept.origin, kept.identity), (origin(1), 7));
        assert_eq!(seen.exact(8, origin(3)).unwrap(), None);
        let far = Origin { file: 70_000, row: 5_000_000_000 };
        assert_eq!(Origin::unpacked(far.packed()), far);
    }

    #[test]
    fn near_texts_are_found_and_others_kept() {
        let mut seen = nothing();
        let long = sentence(0..200);
        assert!(seen.near(sum_up(&long), 1, origin(1)).is_none());
        let edited = long.replace("word100 ", "other ").to_uppercase();
        let kept = seen.near(sum_up(&edited), 2, origin(2)).unwrap();
        assert!(kept.origin == origin(1) && kept.identity == 1 && kept.similarity >= 0.8);
        assert!(seen.near(sum_up(&sentence(100..300)), 3, origin(3)).is_none());
        assert!(signature(&text("..."), &Near::default()).is_none());
    }

    #[test]
    fn the_estimate_is_near_the_jaccard_similarity() {
        let (mut error, mut count) = (0.0, 0.0);
        for shared in [40, 80, 100, 140, 160, 180] {
            for from in [0, 1000, 2000, 3000] {
                let (left, right) = (sentence(from..from + 200), sentence(from + 200 - shared..from + 400 - shared));
                let estimate = similarity(&sum_up(&left), &sum_up(&right));
                let (both, all) = ((shared - 4) as f64, (2 * 196 - (shared - 4)) as f64);
                assert!((estimate - both / all).abs() < 0.15, "{shared}: {estimate} against {}", both / all);
                error += estimate - both / all;
                count += 1.0;
            }
        }
        assert!(f64::abs(error / count) < 0.02, "biased by {}", error / count);
    }

    #[test]
    fn the_chance_is_that_of_the_book() {
        assert!((Near::default().chance(0.8) - 0.947).abs() < 0.001);
    }
}
