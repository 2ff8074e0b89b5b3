//! Numbers in, the same numbers sorted out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;

use super::{Scratch, read_at};
use crate::error::Result;

/// Numbers in memory before they become a run.
const LIMIT: usize = 1 << 20;
/// Numbers of a run that are read at once.
const BLOCK: usize = 4096;

/// A bag of 128-bit numbers.
pub(crate) struct Sorted {
    waiting: Vec<u128>,
    limit: usize,
    runs: Vec<(File, usize)>,
    scratch: Scratch,
}

impl Sorted {
    pub(crate) fn new(scratch: Scratch) -> Self {
        Self { waiting: Vec::new(), limit: LIMIT, runs: Vec::new(), scratch }
    }

    /// Adds a number.
    ///
    /// # Errors
    /// Where a temporary file cannot be written.
    pub(crate) fn push(&mut self, number: u128) -> Result<()> {
        if self.waiting.len() >= self.limit {
            self.waiting.sort_unstable();
            let bytes: Vec<u8> = self.waiting.iter().flat_map(|number| number.to_le_bytes()).collect();
            self.runs.push((self.scratch.file(&bytes)?, self.waiting.len()));
            self.waiting.clear();
        }
        self.waiting.push(number);
        Ok(())
    }

    /// Hands out all numbers by size, equal ones too.
    ///
    /// # Errors
    /// Where a temporary file cannot be read.
    pub(crate) fn drain(mut self, mut each: impl FnMut(u128)) -> Result<()> {
        self.waiting.sort_unstable();
        let mut readers: Vec<Reader> = self.runs.into_iter().map(Reader::of_run).collect();
        readers.push(Reader { block: self.waiting, at: 0, run: None, read: 0 });
        let mut heads = BinaryHeap::new();
        for (index, reader) in readers.iter_mut().enumerate() {
            heads.extend(reader.next()?.map(|number| Reverse((number, index))));
        }
        while let Some(Reverse((number, index))) = heads.pop() {
            each(number);
            heads.extend(readers[index].next()?.map(|number| Reverse((number, index))));
        }
        Ok(())
    }
}

/// Reads one run in blocks.
struct Reader {
    block: Vec<u128>,
    at: usize,
    run: Option<(File, usize)>,
    read: usize,
}

impl Reader {
    fn of_run(run: (File, usize)) -> Self {
        Self { block: Vec::new(), at: 0, run: Some(run), read: 0 }
    }

    fn next(&mut self) -> Result<Option<u128>> {
        if self.at == self.block.len() {
            let Some((file, length)) = &self.run else { return Ok(None) };
            let count = BLOCK.min(length - self.read);
            let mut bytes = vec![0; count * 16];
            read_at(file, self.read as u64 * 16, &mut bytes)?;
            self.block.clear();
            for number in bytes.chunks_exact(16) {
                let mut sixteen = [0; 16];
                sixteen.copy_from_slice(number);
                self.block.push(u128::from_le_bytes(sixteen));
            }
            (self.at, self.read) = (0, self.read + count);
        }
        let next = self.block.get(self.at).copied();
        self.at += 1;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_sorted() {
        for count in [0, 5, 100, 101, 20_000u64] {
            let mut sorted = Sorted { limit: 100, ..Sorted::new(Scratch::default()) };
            let numbers: Vec<u128> = (0..count).map(|number| u128::from(crate::normal::mix(number % 700))).collect();
            numbers.iter().for_each(|number| sorted.push(*number).unwrap());
            let mut found = Vec::new();
            sorted.drain(|number| found.push(number)).unwrap();
            let mut expected = numbers;
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
