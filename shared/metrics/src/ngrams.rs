//! Counts of n-grams as sorted lists, and how much two of them share.
//!
//! A token is a small number (an interned word, or a character's code point), so that an n-gram fits in one `u128` and
//! counting is a sort: no hash order anywhere, and no allocation for each n-gram.

use std::collections::HashMap;

/// Numbers words by first appearance, shared between a prediction and its references.
#[derive(Default)]
pub(crate) struct Vocabulary<'a> {
    ids: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    /// The numbers of `words`, new words added.
    pub(crate) fn encode(&mut self, words: impl Iterator<Item = &'a str>) -> Vec<u32> {
        words
            .map(|word| {
                let next = self.ids.len() as u32;
                *self.ids.entry(word).or_insert(next)
            })
            .collect()
    }
}

/// The n-grams of one order with their counts, sorted.
pub(crate) type Counts = Vec<(u128, u32)>;

/// An odd constant without structure: the digits of the golden ratio.
const SPREAD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// Counts the n-grams of `order` tokens, each token `bits` wide. Where they do not fit into 128 bits, an n-gram is its
/// hash of 128 bits.
pub(crate) fn count(tokens: &[u32], order: usize, bits: u32) -> Counts {
    if order == 0 || tokens.len() < order {
        return Vec::new();
    }
    let exact = order as u32 * bits <= 128;
    let key = |window: &[u32]| match exact {
        true => window.iter().fold(0, |key, &token| (key << bits) | u128::from(token)),
        false => window.iter().fold(1, |key: u128, &token| {
            let mixed = (key ^ u128::from(token)).wrapping_mul(SPREAD);
            mixed ^ (mixed >> 61)
        }),
    };
    let mut keys: Vec<u128> = tokens.windows(order).map(key).collect();
    keys.sort_unstable();
    let mut counts: Counts = Vec::with_capacity(keys.len());
    for key in keys {
        match counts.last_mut() {
            Some((last, count)) if *last == key => *count += 1,
            _ => counts.push((key, 1)),
        }
    }
    counts
}

/// The sum over shared n-grams of the smaller count.
pub(crate) fn overlap(left: &Counts, right: &Counts) -> u64 {
    let (mut i, mut j, mut shared) = (0, 0, 0u64);
    while i < left.len() && j < right.len() {
        match left[i].0.cmp(&right[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += u64::from(left[i].1.min(right[j].1));
                i += 1;
                j += 1;
            }
        }
    }
    shared
}

/// For each n-gram the larger of the two counts: how BLEU clips against several references.
pub(crate) fn union_max(left: Counts, right: &Counts) -> Counts {
    if left.is_empty() {
        return right.clone();
    }
    let mut merged: std::collections::BTreeMap<u128, u32> = left.into_iter().collect();
    for &(key, count) in right {
        let slot = merged.entry(key).or_insert(0);
        *slot = (*slot).max(count);
    }
    merged.into_iter().collect()
}

/// How many n-grams there are, repeats counted.
pub(crate) fn total(counts: &Counts) -> u64 {
    counts.iter().map(|&(_, count)| u64::from(count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_overlap_of_bigrams() {
        let mut vocabulary = Vocabulary::default();
        let left = vocabulary.encode("a b a b c".split(' '));
        let right = vocabulary.encode("a b c".split(' '));
        let (left, right) = (count(&left, 2, 32), count(&right, 2, 32));
        assert_eq!((total(&left), total(&right), overlap(&left, &right)), (4, 2, 2));
        assert_eq!(total(&union_max(left, &right)), 4);
    }

    #[test]
    fn long_ngrams_are_told_apart_too() {
        let (left, right) = ([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!(overlap(&count(&left, 7, 32), &count(&right, 7, 32)), 1);
        assert_eq!(overlap(&count(&left, 8, 32), &count(&right, 8, 32)), 0);
    }
}
