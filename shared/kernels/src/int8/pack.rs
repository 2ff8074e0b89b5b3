//! A matrix of 8-bit integers as the product reads it: panels of columns, in each four rows of a column side by side.

use super::fill;

/// Columns of a panel: two vectors of sixteen sums.
pub(super) const COLUMNS: usize = 32;
/// What is added to each integer, so that it is not negative: the products take one operand without a sign.
pub(super) const OFFSET: i32 = 128;

/// `[k, n]` in panels.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    columns: usize,
    /// `k` by fours, rounded up.
    quads: usize,
    bytes: Vec<u8>,
}

impl Packed {
    pub(super) fn new(k: usize, columns: usize, level: impl Fn(usize, usize) -> i8 + Sync) -> Self {
        let quads = k.div_ceil(4);
        let mut bytes = vec![OFFSET as u8; columns.div_ceil(COLUMNS) * quads * COLUMNS * 4];
        fill(&mut bytes, quads * COLUMNS * 4, |panel, bytes| {
            for (quad, bytes) in bytes.chunks_exact_mut(COLUMNS * 4).enumerate() {
                for (index, byte) in bytes.iter_mut().enumerate() {
                    let (row, column) = (quad * 4 + index % 4, panel * COLUMNS + index / 4);
                    if row < k && column < columns {
                        *byte = (i32::from(level(row, column)) + OFFSET) as u8;
                    }
                }
            }
        });
        Self { columns, quads, bytes }
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn panels(&self) -> usize {
        self.columns.div_ceil(COLUMNS)
    }

    pub(super) fn panel(&self, index: usize) -> &[u8] {
        let len = self.quads * COLUMNS * 4;
        &self.bytes[index * len..][..len]
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// One element.
    pub(super) fn level(&self, row: usize, column: usize) -> i8 {
        let at = row / 4 * COLUMNS * 4 + column % COLUMNS * 4 + row % 4;
        (i32::from(self.panel(column / COLUMNS)[at]) - OFFSET) as i8
    }
}
