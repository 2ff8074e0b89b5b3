//! Packing: several examples share one row, so that rows are nearly full. Best-fit decreasing: the longest example
//! first, each into the fullest row that still has room for it. Only a window of examples is held in memory; rows that
//! are nearly full leave at its end, the others wait for the next window.

use crate::Packing;
use std::collections::BTreeSet;

/// Examples that are looked at together.
pub const PACKING_WINDOW: usize = 8192;
/// A row with less room than this part of its capacity leaves at the end of a window.
const NEARLY_FULL: f64 = 0.02;
/// Rows that may wait for the next window.
const MOST_OPEN: usize = 1024;

/// Puts items with lengths into rows of a fixed capacity. Deterministic: the same items in the same order give the
/// same rows. No item is split or lost.
#[derive(Debug)]
pub struct Packer<T> {
    capacity: usize,
    window: usize,
    mode: Packing,
    /// Items of the current window with their place in the input.
    waiting: Vec<Item<T>>,
    open: Vec<Row<T>>,
    seen: usize,
}

#[derive(Debug)]
struct Item<T> {
    order: usize,
    length: usize,
    value: T,
}

#[derive(Debug)]
struct Row<T> {
    room: usize,
    items: Vec<Item<T>>,
}

impl<T> Packer<T> {
    /// A packer of rows of `capacity` that looks at `window` items together.
    ///
    /// # Panics
    /// If `capacity` or `window` is 0.
    pub fn new(mode: Packing, capacity: usize, window: usize) -> Self {
        assert!(capacity > 0 && window > 0, "capacity and window are positive");
        Self { capacity, window, mode, waiting: Vec::new(), open: Vec::new(), seen: 0 }
    }

    /// Takes an item; gives the rows that are complete now. Within a row items stand in the order of the input.
    ///
    /// # Panics
    /// If the item is longer than a row: the caller has dealt with overflow.
    pub fn push(&mut self, value: T, length: usize) -> Vec<Vec<T>> {
        assert!(length <= self.capacity, "an item of {length} does not fit a row of {}", self.capacity);
        if self.mode == Packing::Off {
            return vec![vec![value]];
        }
        self.waiting.push(Item { order: self.seen, length, value });
        self.seen += 1;
        if self.waiting.len() < self.window {
            return Vec::new();
        }
        self.pack_window();
        let kept = (self.capacity as f64 * NEARLY_FULL) as usize;
        let (mut open, mut full): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|row| row.room > kept);
        if open.len() > MOST_OPEN {
            // The fullest have the least hope of improving; ties go by the input's order.
            open.sort_by_key(|row| (std::cmp::Reverse(row.room), row.first()));
            full.extend(open.split_off(MOST_OPEN));
            open.sort_by_key(Row::first);
        }
        self.open = open;
        finished(full)
    }

    /// The remaining rows.
    pub fn finish(mut self) -> Vec<Vec<T>> {
        self.pack_window();
        finished(self.open)
    }

    fn pack_window(&mut self) {
        let mut items = std::mem::take(&mut self.waiting);
        items.sort_by_key(|item| (std::cmp::Reverse(item.length), item.order));
        // Room left and row: the first entry at or above a length is the tightest fit.
        let mut room: BTreeSet<(usize, usize)> =
            self.open.iter().enumerate().map(|(index, row)| (row.room, index)).collect();
        for item in items {
            let fit = room.range((item.length, 0)..).next().copied();
            let index = if let Some(entry) = fit {
                room.remove(&entry);
                entry.1
            } else {
                self.open.push(Row { room: self.capacity, items: Vec::new() });
                self.open.len() - 1
            };
            let row = &mut self.open[index];
            row.room -= item.length;
            row.items.push(item);
            room.insert((row.room, index));
        }
        for row in &mut self.open {
            row.items.sort_by_key(|item| item.order);
        }
        self.open.sort_by_key(Row::first);
    }
}

impl<T> Row<T> {
    fn first(&self) -> usize {
        self.items.first().map_or(usize::MAX, |item| item.order)
    }
}

fn finished<T>(mut rows: Vec<Row<T>>) -> Vec<Vec<T>> {
    rows.sort_by_key(Row::first);
    rows.into_iter().map(|row| row.items.into_iter().map(|item| item.value).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(lengths: &[usize], mode: Packing, capacity: usize, window: usize) -> Vec<Vec<usize>> {
        let mut packer = Packer::new(mode, capacity, window);
        let mut rows = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            rows.extend(packer.push(index, *length));
        }
        rows.extend(packer.finish());
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
        assert_eq!(pack(&[3, 3], Packing::Off, 10, 100), vec![vec![0], vec![1]]);
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
