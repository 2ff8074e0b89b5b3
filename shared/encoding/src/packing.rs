//! Packing: several examples share one row, so that rows are nearly full. Best-fit decreasing: the longest example
//! first, each into the fullest row that still has room for it. Where that takes more rows than the tokens need, rows are
//! filled one by one instead, each by the best of many combinations (minimum bin slack, Gupta and Ho 1999), and the
//! better result stands. Only a window of examples is held in memory, and what becomes of one does not depend on the
//! others: runs that share the windows out make the rows that one run makes.

use crate::Packing;
use std::collections::BTreeSet;

/// Examples that are looked at together, at most.
const LARGEST_WINDOW: usize = 8192;
/// Tokens that a window holds at most: it bounds the memory.
const WINDOW_TOKENS: usize = 8 << 20;

/// Number of examples that are packed together in rows of `capacity` tokens.
pub fn packing_window(capacity: usize) -> usize {
    (WINDOW_TOKENS / capacity.max(1)).clamp(64, LARGEST_WINDOW)
}

/// Puts the items of a window into rows of a fixed capacity. Deterministic: the same items in the same order give the
/// same rows. No item is split or lost.
#[derive(Debug)]
pub struct Packer<T> {
    capacity: usize,
    mode: Packing,
    waiting: Vec<Item<T>>,
}

#[derive(Debug)]
struct Item<T> {
    order: usize,
    length: usize,
    value: T,
}

impl<T> Packer<T> {
    /// A packer of rows of `capacity`.
    ///
    /// # Panics
    /// If `capacity` is 0.
    pub fn new(mode: Packing, capacity: usize) -> Self {
        assert!(capacity > 0, "capacity is positive");
        Self { capacity, mode, waiting: Vec::new() }
    }

    /// Takes an item into the window.
    ///
    /// # Panics
    /// If the item is longer than a row: the caller has dealt with overflow.
    pub fn push(&mut self, value: T, length: usize) {
        assert!(length <= self.capacity, "an item of {length} does not fit a row of {}", self.capacity);
        self.waiting.push(Item { order: self.waiting.len(), length, value });
    }

    /// Ends the window and gives its rows. Packed rows stand in the order of their first items, and so do the items of
    /// a row; unpacked, the items stand by length, so that neighbours need little padding.
    pub fn flush(&mut self) -> Vec<Vec<T>> {
        let mut items = std::mem::take(&mut self.waiting);
        if self.mode == Packing::Off {
            items.sort_by_key(|item| (item.length, item.order));
            return items.into_iter().map(|item| vec![item.value]).collect();
        }
        let lengths: Vec<usize> = items.iter().map(|item| item.length).collect();
        let mut rows = plan(&lengths, self.capacity);
        rows.iter_mut().for_each(|row| row.sort_unstable());
        rows.sort_unstable();
        let mut items: Vec<Option<T>> = items.into_iter().map(|item| Some(item.value)).collect();
        let mut take = |index: usize| items[index].take().expect("each item is in one row");
        rows.into_iter().map(|row| row.into_iter().map(&mut take).collect()).collect()
    }
}

/// Which items go together.
fn plan(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(lengths[*index]), *index));
    let rows = best_fit(&order, lengths, capacity);
    if rows.len() <= lengths.iter().sum::<usize>().div_ceil(capacity) {
        return rows;
    }
    let filled = fill(&order, lengths, capacity);
    if filled.len() < rows.len() { filled } else { rows }
}

fn best_fit(order: &[usize], lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Room left and row: the first entry at or above a length is the tightest fit.
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for &item in order {
        let fit = room.range((lengths[item], 0)..).next().copied();
        let (left, row) = fit.unwrap_or((capacity, rows.len()));
        match fit {
            Some(entry) => {
                room.remove(&entry);
            }
            None => rows.push(Vec::new()),
        }
        rows[row].push(item);
        room.insert((left - lengths[item], row));
    }
    rows
}

/// Combinations that are tried for one row.
const TRIES: usize = 4000;

/// Fills one row after the other: the longest item that is left, and those that fill the rest of the row best.
fn fill(order: &[usize], lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    // Items of each length, the longest first.
    let mut shelves: Vec<Shelf> = Vec::new();
    for &item in order {
        match shelves.last_mut().filter(|shelf| shelf.length == lengths[item]) {
            Some(shelf) => shelf.items.push(item),
            None => shelves.push(Shelf { length: lengths[item], items: vec![item], left: 0 }),
        }
    }
    for shelf in &mut shelves {
        // Taken from the end: the first in the input goes first.
        shelf.items.reverse();
        shelf.left = shelf.items.len();
    }
    let mut rows = Vec::new();
    while !shelves.is_empty() {
        let mut search =
            Search { shelves: &mut shelves, chosen: vec![0], best: (usize::MAX, Vec::new()), tries: TRIES };
        search.shelves[0].left -= 1;
        let room = capacity - search.shelves[0].length;
        search.deepen(0, room);
        let (_, best) = search.best;
        rows.push(best.into_iter().filter_map(|shelf| shelves[shelf].items.pop()).collect());
        shelves.retain(|shelf| !shelf.items.is_empty());
        shelves.iter_mut().for_each(|shelf| shelf.left = shelf.items.len());
    }
    rows
}

struct Shelf {
    length: usize,
    items: Vec<usize>,
    /// Items that the search has not put into the row.
    left: usize,
}

struct Search<'shelves> {
    shelves: &'shelves mut [Shelf],
    /// Shelves that an item was taken from.
    chosen: Vec<usize>,
    /// Least room left, and the choice that leaves it.
    best: (usize, Vec<usize>),
    tries: usize,
}

impl Search<'_> {
    /// Tries all that can follow, the longest first, until the row is full or the tries are used up.
    fn deepen(&mut self, from: usize, room: usize) {
        if room < self.best.0 {
            self.best = (room, self.chosen.clone());
        }
        let fitting = from.max(self.shelves.partition_point(|shelf| shelf.length > room));
        for at in fitting..self.shelves.len() {
            if self.best.0 == 0 || self.tries == 0 {
                return;
            }
            self.tries -= 1;
            if self.shelves[at].left == 0 {
                continue;
            }
            self.shelves[at].left -= 1;
            self.chosen.push(at);
            self.deepen(at, room - self.shelves[at].length);
            self.chosen.pop();
            self.shelves[at].left += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(lengths: &[usize], mode: Packing, capacity: usize, window: usize) -> Vec<Vec<usize>> {
        let mut packer = Packer::new(mode, capacity);
        let mut rows = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            packer.push(index, *length);
            if (index + 1) % window == 0 {
                rows.extend(packer.flush());
            }
        }
        rows.extend(packer.flush());
        rows
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_row_overflows(
            lengths in prop::collection::vec(1usize..=64, 0..300),
            window in 1usize..100,
            off in any::<bool>(),
        ) {
            let mode = if off { Packing::Off } else { Packing::BestFit };
            let rows = pack(&lengths, mode, 64, window);
            let mut seen: Vec<usize> = rows.concat();
            for row in &rows {
                prop_assert!(row.iter().map(|index| lengths[*index]).sum::<usize>() <= 64);
                prop_assert!(row.is_sorted() && !row.is_empty());
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert_eq!(&rows, &pack(&lengths, mode, 64, window));
            // Two rows that would fit into one are never both left by a single window.
            if !off && window > lengths.len() {
                let sums: Vec<usize> = rows.iter().map(|row| row.iter().map(|index| lengths[*index]).sum()).collect();
                let half_empty = sums.iter().filter(|sum| **sum <= 32).count();
                prop_assert!(half_empty <= 1);
            }
        }
    }

    #[test]
    fn the_tightest_row_is_taken() {
        assert_eq!(pack(&[6, 5, 4, 5], Packing::BestFit, 10, 100), vec![vec![0, 2], vec![1, 3]]);
        assert_eq!(pack(&[5, 3, 3, 1], Packing::Off, 10, 100), vec![vec![3], vec![1], vec![2], vec![0]]);
    }

    #[test]
    fn rows_are_as_few_as_the_tokens_need_where_best_fit_takes_more() {
        // Longest first, best fit puts the 5 beside the 4; with 3 and 2 it fills the row.
        let lengths = [5, 2, 4, 3, 4, 2];
        assert_eq!(best_fit(&[0, 2, 4, 3, 1, 5], &lengths, 10).len(), 3);
        assert_eq!(plan(&lengths, 10).len(), 2);
        let lengths: Vec<usize> =
            (0u64..500).map(|i| 60 + (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55) as usize).collect();
        assert_eq!((plan(&lengths, 2048).len(), lengths.iter().sum::<usize>().div_ceil(2048)), (77, 77));
    }

    #[test]
    fn waste_is_small_on_lengths_like_those_of_chats() {
        let lengths: Vec<usize> =
            (0u64..20_000).map(|i| 20 + (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55) as usize).collect();
        let rows = pack(&lengths, Packing::BestFit, 2048, 1000);
        let tokens: usize = lengths.iter().sum();
        let waste = 1.0 - tokens as f64 / (rows.len() * 2048) as f64;
        assert!(waste < 0.01, "waste {waste}");
    }
}
