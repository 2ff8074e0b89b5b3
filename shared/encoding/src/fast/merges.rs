//! Byte-pair merging of one word, and the words already merged.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Words longer than this are merged by a queue: looking at every pair after every merge grows with the square.
const SHORT: usize = 96;
/// Words longer than this are not remembered.
const REMEMBERED: usize = 64;
/// Words a memory holds before it begins anew.
const MEMORY: usize = 1 << 16;

/// A hash that is quick on short keys (multiply and rotate, as in Firefox). Maps with it are looked into, never walked
/// through.
#[derive(Clone, Copy, Default)]
pub(crate) struct QuickHasher(u64);

const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

impl QuickHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for QuickHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.add(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.add(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The low bits choose the place in the table: bring the well mixed high ones there.
        self.0.rotate_left(26)
    }
}

pub(crate) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<QuickHasher>>;

/// The merges of a vocabulary.
#[derive(Debug)]
pub(super) struct Merges {
    /// Id of each single byte.
    pub(super) byte_ids: [u32; 256],
    /// Of two neighbouring ids: the rank of their merge, and the id they become.
    pub(super) pairs: QuickMap<u64, (u32, u32)>,
    /// Whole words by their bytes, where the vocabulary prefers those to merging.
    pub(super) words: Option<QuickMap<Box<[u8]>, u32>>,
}

/// A token of a word: id and number of bytes.
pub(super) type Part = (u32, u32);

pub(super) fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Merges {
    fn rank(&self, left: Part, right: Part) -> Option<(u32, u32)> {
        self.pairs.get(&pair(left.0, right.0)).copied()
    }

    /// The tokens of a word.
    fn merge(&self, word: &[u8], parts: &mut Vec<Part>) {
        parts.clear();
        if let Some(id) = self.words.as_ref().and_then(|words| words.get(word)) {
            parts.push((*id, word.len() as u32));
            return;
        }
        parts.extend(word.iter().map(|byte| (self.byte_ids[*byte as usize], 1)));
        if word.len() <= SHORT { self.merge_short(parts) } else { self.merge_long(parts) }
    }

    /// The lowest rank first, and of equals the leftmost.
    fn merge_short(&self, parts: &mut Vec<Part>) {
        const NONE: (u32, u32) = (u32::MAX, 0);
        let mut ranks = [NONE; SHORT];
        let mut length = parts.len();
        for at in 0..length.saturating_sub(1) {
            ranks[at] = self.rank(parts[at], parts[at + 1]).unwrap_or(NONE);
        }
        while length > 1 {
            let mut best = 0;
            for at in 1..length - 1 {
                if ranks[at].0 < ranks[best].0 {
                    best = at;
                }
            }
            let (rank, id) = ranks[best];
            if rank == u32::MAX {
                break;
            }
            parts[best] = (id, parts[best].1 + parts[best + 1].1);
            parts.copy_within(best + 2..length, best + 1);
            ranks.copy_within(best + 1..length - 1, best);
            length -= 1;
            if best + 1 < length {
                ranks[best] = self.rank(parts[best], parts[best + 1]).unwrap_or(NONE);
            }
            if best > 0 {
                ranks[best - 1] = self.rank(parts[best - 1], parts[best]).unwrap_or(NONE);
            }
        }
        parts.truncate(length);
    }

    /// The same for words of any length: linked parts, and a queue of the merges that are possible.
    fn merge_long(&self, parts: &mut Vec<Part>) {
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;
        let count = parts.len();
        let mut next: Vec<usize> = (1..=count).collect();
        let mut previous: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut queue = BinaryHeap::new();
        for at in 0..count - 1 {
            if let Some((rank, id)) = self.rank(parts[at], parts[at + 1]) {
                queue.push(Reverse((rank, at, id)));
            }
        }
        while let Some(Reverse((rank, at, id))) = queue.pop() {
            // Out of date where either part has been merged since.
            let after = next[at];
            if parts[at].1 == 0 || after == count || self.rank(parts[at], parts[after]) != Some((rank, id)) {
                continue;
            }
            parts[at] = (id, parts[at].1 + parts[after].1);
            parts[after].1 = 0;
            next[at] = next[after];
            if next[at] < count {
                previous[next[at]] = at;
                if let Some((rank, id)) = self.rank(parts[at], parts[next[at]]) {
                    queue.push(Reverse((rank, at, id)));
                }
            }
            if let Some(before) = previous.get(at).copied().filter(|before| *before < count)
                && let Some((rank, id)) = self.rank(parts[before], parts[at])
            {
                queue.push(Reverse((rank, before, id)));
            }
        }
        parts.retain(|part| part.1 > 0);
    }
}

/// Words that were merged before; one for each thread and tokenizer.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Place of a word's tokens in `parts`.
    words: QuickMap<Box<[u8]>, (u32, u32)>,
    parts: Vec<Part>,
    scratch: Vec<Part>,
}

impl Memory {
    /// The tokens of a word.
    pub(super) fn tokens(&mut self, merges: &Merges, word: &[u8]) -> &[Part] {
        if word.len() > REMEMBERED {
            merges.merge(word, &mut self.scratch);
            return &self.scratch;
        }
        if let Some((start, end)) = self.words.get(word).copied() {
            return &self.parts[start as usize..end as usize];
        }
        if self.words.len() >= MEMORY {
            self.words.clear();
            self.parts.clear();
        }
        merges.merge(word, &mut self.scratch);
        let start = self.parts.len();
        self.parts.extend_from_slice(&self.scratch);
        self.words.insert(word.into(), (start as u32, self.parts.len() as u32));
        &self.parts[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn merges(pairs: &[(u64, (u32, u32))]) -> Merges {
        Merges {
            byte_ids: std::array::from_fn(|byte| byte as u32),
            pairs: pairs.iter().copied().collect(),
            words: None,
        }
    }

    proptest! {
        #[test]
        fn the_queue_merges_as_the_scan_does(word in prop::collection::vec(b'a'..=b'd', 2..SHORT), seed in any::<u64>()) {
            // Random merges over four letters and what they become.
            let mut ids: Vec<u32> = (97..101).collect();
            let mut pairs = Vec::new();
            let mut state = seed;
            for rank in 0..40 {
                let mut draw = || {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ids[(state >> 33) as usize % ids.len()]
                };
                let key = pair(draw(), draw());
                if pairs.iter().all(|(known, _)| *known != key) {
                    pairs.push((key, (rank, 300 + rank)));
                    ids.push(300 + rank);
                }
            }
            let merges = merges(&pairs);
            let bytes: Vec<Part> = word.iter().map(|byte| (u32::from(*byte), 1)).collect();
            let (mut short, mut long) = (bytes.clone(), bytes);
            merges.merge_short(&mut short);
            merges.merge_long(&mut long);
            prop_assert_eq!(&short, &long);
            prop_assert_eq!(short.iter().map(|part| part.1 as usize).sum::<usize>(), word.len());
        }
    }
}
