//! A product over a short inner dimension, tile by tile, for whoever has just written a tile that it is added to.

use super::{
    Product,
    micro::{COLUMNS, Micro, Part, ROWS, Tile, micro},
    pack::{self, Layout},
};
use crate::{parallel::Shared, profile::count};
use rayon::prelude::*;
use std::ops::Range;

/// `scale · lhs · rhs` with the right matrix packed.
pub(crate) struct ShortProduct<'a> {
    product: Product<'a>,
    layout: Layout,
    packed: Vec<f32>,
    micro: Micro,
}

// SAFETY: nothing in it changes once it is made.
unsafe impl Sync for ShortProduct<'_> {}

impl<'a> ShortProduct<'a> {
    /// Rows and columns of a tile, at most.
    pub(crate) const TILE: (usize, usize) = (ROWS, COLUMNS);

    /// Packs the right matrix; the product must have so many rows and columns, and the rows of its left matrix lie along
    /// memory.
    pub(crate) fn new(product: Product<'a>, rows: usize, columns: usize) -> Self {
        let Product { lhs, rhs, scale } = product;
        assert!(lhs.rows == rows && rhs.columns == columns && lhs.columns == rhs.rows, "the two products fit");
        assert!(lhs.column_stride == 1, "rows lie along memory");
        count(rows, columns, rhs.rows);
        let layout = Layout { k: 0..rhs.rows, columns: 0..columns, block: rhs.rows.max(1) };
        let packed = Shared::new(layout.len());
        // SAFETY: each panel is filled by one task; together they are the whole.
        let packed = unsafe {
            (0..layout.panels()).into_par_iter().with_min_len(16).for_each(|index| {
                layout.fill(rhs, scale, 0, index, &packed);
            });
            packed.written()
        };
        Self { product, layout, packed, micro: micro() }
    }

    /// Adds a tile: at most [`Self::TILE`]`.0` rows by the columns of one panel of [`Self::TILE`]`.1`.
    ///
    /// # Safety
    /// `result` points to the tile's first element in a row-major matrix of the product's shape, whose elements of this
    /// tile are written and no one else uses meanwhile.
    pub(crate) unsafe fn add(&self, result: *mut f32, rows: Range<usize>, panel: usize) {
        let (columns, lhs) = (self.product.rhs.columns, self.product.lhs);
        assert!(rows.len() <= ROWS && rows.end <= lhs.rows && panel < self.layout.panels(), "a tile of the product");
        let part = Part {
            a: lhs.at(rows.start, 0),
            a_strides: (lhs.row_stride, 1),
            b: self.packed[self.layout.offset(0, panel)..].as_ptr(),
            b_stride: pack::width(columns, panel),
            k: self.layout.k.len(),
        };
        let tile = Tile {
            parts: &[part],
            c: result,
            c_stride: columns,
            rows: rows.len(),
            columns: (columns - panel * COLUMNS).min(COLUMNS),
            add: true,
            bias: std::ptr::null(),
        };
        // SAFETY: the panel is packed, the rows exist, and the caller vouches for the result.
        unsafe { (self.micro)(&tile) };
    }
}
