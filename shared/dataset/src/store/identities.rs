//! Which identities were seen, and where each was seen first.
//!
//! New ones go to a table in memory. A full table becomes a sorted run in a file, with a Bloom filter (Bloom 1970) in
//! memory that answers most questions about what is not there, and the first entry of each block to find the block.

use std::collections::HashMap;
use std::fs::File;
use std::hash::BuildHasherDefault;

use super::{Scratch, read_at};
use crate::duplicates::AlreadyHashed;
use crate::error::Result;

/// Entries in memory: seven eighths of a million, as many as fill a table of a million places.
const TABLE: usize = 7 << 17;
/// Bytes of an entry: 16 of the identity, 8 of the value.
const ENTRY: usize = 24;
/// Entries in a block, which is read at once.
const BLOCK: usize = 170;
/// Bits of a filter for each entry, and how many of them it sets.
const BITS: usize = 12;
const SET: u32 = 4;

/// Identities with a value each.
pub(crate) struct Identities {
    table: HashMap<[u64; 2], u64, BuildHasherDefault<AlreadyHashed>>,
    limit: usize,
    runs: Vec<Run>,
    scratch: Scratch,
}

impl Identities {
    pub(crate) fn new(scratch: Scratch) -> Self {
        Self { table: HashMap::default(), limit: TABLE, runs: Vec::new(), scratch }
    }

    /// The value that this identity had before, or nothing after remembering it with `value`.
    ///
    /// # Errors
    /// Where a temporary file cannot be read or written.
    pub(crate) fn first(&mut self, identity: u128, value: u64) -> Result<Option<u64>> {
        let key = [(identity >> 64) as u64, identity as u64];
        if let Some(known) = self.table.get(&key) {
            return Ok(Some(*known));
        }
        for run in &self.runs {
            if run.filter.may_have(key)
                && let Some(known) = run.find(key)?
            {
                return Ok(Some(known));
            }
        }
        if self.table.len() >= self.limit {
            let mut entries: Vec<([u64; 2], u64)> = self.table.drain().collect();
            entries.sort_unstable();
            self.runs.push(Run::write(&entries, &self.scratch)?);
        }
        self.table.insert(key, value);
        Ok(None)
    }
}

/// A sorted run in a file.
struct Run {
    file: File,
    entries: usize,
    /// The first key of each block.
    fences: Vec<[u64; 2]>,
    filter: Filter,
}

impl Run {
    fn write(entries: &[([u64; 2], u64)], scratch: &Scratch) -> Result<Self> {
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
        let mut filter = Filter::new(entries.len());
        for ([high, low], value) in entries {
            filter.add([*high, *low]);
            [high, low, value].iter().for_each(|part| bytes.extend_from_slice(&part.to_le_bytes()));
        }
        let fences = entries.chunks(BLOCK).map(|block| block[0].0).collect();
        Ok(Self { file: scratch.file(&bytes)?, entries: entries.len(), fences, filter })
    }

    fn find(&self, key: [u64; 2]) -> Result<Option<u64>> {
        let Some(block) = self.fences.partition_point(|fence| *fence <= key).checked_sub(1) else { return Ok(None) };
        let count = BLOCK.min(self.entries - block * BLOCK);
        let mut bytes = [0; BLOCK * ENTRY];
        let bytes = &mut bytes[..count * ENTRY];
        read_at(&self.file, (block * BLOCK * ENTRY) as u64, bytes)?;
        let part = |entry: usize, at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[entry * ENTRY + at..][..8]);
            u64::from_le_bytes(eight)
        };
        let entries: Vec<[u64; 2]> = (0..count).map(|entry| [part(entry, 0), part(entry, 8)]).collect();
        Ok(entries.binary_search(&key).ok().map(|entry| part(entry, 16)))
    }
}

/// A Bloom filter whose bits for one key lie in one word.
struct Filter(Vec<u64>);

impl Filter {
    fn new(entries: usize) -> Self {
        Self(vec![0; (entries * BITS).div_ceil(64).max(1)])
    }

    fn place(&self, [high, low]: [u64; 2]) -> (usize, u64) {
        let word = ((u128::from(high) * self.0.len() as u128) >> 64) as usize;
        (word, (0..SET).fold(0, |bits, part| bits | 1 << ((low >> (part * 6)) & 63)))
    }

    fn add(&mut self, key: [u64; 2]) {
        let (word, bits) = self.place(key);
        self.0[word] |= bits;
    }

    fn may_have(&self, key: [u64; 2]) -> bool {
        let (word, bits) = self.place(key);
        self.0[word] & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_again_wherever_it_lies() {
        let mut set = Identities { limit: 300, ..Identities::new(Scratch::default()) };
        let key = |number: u64| u128::from(crate::normal::mix(number)) << 64 | u128::from(crate::normal::mix(!number));
        for number in 0..5000 {
            assert_eq!(set.first(key(number), number).unwrap(), None);
            let earlier = crate::normal::mix(number) % (number + 1);
            assert_eq!(set.first(key(earlier), 9_999_999).unwrap(), Some(earlier));
        }
        assert!(set.runs.len() > 10);
    }
}
