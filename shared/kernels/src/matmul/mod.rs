//! Products of matrices: the right one packed into panels, the left one read in place, sums in registers.
//!
//! How a product is cut depends on its shape alone, each tile of the result has one owner, and an element is summed over
//! `k` in order, in blocks whose size depends on `k` alone. So results depend neither on the number of threads nor, for
//! more rows than [`FEW_ROWS`], on the other rows.

mod micro;
mod pack;
mod short;
#[cfg(test)]
mod tests;

use crate::{parallel::Shared, profile::count};
use micro::{COLUMNS, Micro, Part, ROWS, Tile};
use pack::Layout;
use rayon::prelude::*;
pub(crate) use short::ShortProduct;
use std::{cell::Cell, ops::Range};

/// A matrix inside a slice; strides are in elements.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a {rows} by {columns} matrix needs as many values");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn at(&self, row: usize, column: usize) -> *const f32 {
        // Where it is read, the element exists: its place is inside the slice by `Matrix::new`.
        self.values.as_ptr().wrapping_add(row * self.row_stride + column * self.column_stride)
    }
}

/// `scale · lhs · rhs`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) lhs: Matrix<'a>,
    pub(crate) rhs: Matrix<'a>,
    pub(crate) scale: f32,
}

/// `lhs · rhs` as a new row-major matrix.
pub(crate) fn multiply(lhs: Matrix, rhs: Matrix) -> Vec<f32> {
    multiply_sum(Product { lhs, rhs, scale: 1.0 }, None, None)
}

/// A product, plus one over a short inner dimension, plus a bias to each row, as a new row-major matrix.
pub(crate) fn multiply_sum(product: Product, short: Option<Product>, bias: Option<&[f32]>) -> Vec<f32> {
    let len = product.lhs.rows * product.rhs.columns;
    let mut result = Vec::with_capacity(len);
    // SAFETY: the spare capacity holds `len` elements, all of which are written before the length is set.
    unsafe {
        run(result.as_mut_ptr(), false, product, short, bias);
        result.set_len(len);
    }
    result
}

/// `result += scale · lhs · rhs`, `result` row-major.
pub(crate) fn multiply_add(result: &mut [f32], lhs: Matrix, rhs: Matrix, scale: f32) {
    assert_eq!(result.len(), lhs.rows * rhs.columns, "the result has the rows of one and the columns of the other");
    // SAFETY: the result has the length that was just checked and is borrowed mutably.
    unsafe { run(result.as_mut_ptr(), true, Product { lhs, rhs, scale }, None, None) }
}

/// `result = scale · lhs · rhs`, `result` row-major; what it held before is not read.
pub(crate) fn multiply_into(result: &mut [f32], lhs: Matrix, rhs: Matrix, scale: f32) {
    assert_eq!(result.len(), lhs.rows * rhs.columns, "the result has the rows of one and the columns of the other");
    // SAFETY: the result has the length that was just checked and is borrowed mutably.
    unsafe { run(result.as_mut_ptr(), false, Product { lhs, rhs, scale }, None, None) }
}

/// Up to so many rows, packing the right matrix would cost as much as it saves.
const FEW_ROWS: usize = 4 * ROWS;
/// Most rows of a block of `k`: what a task reads again and again stays in the second cache.
const DEPTH: usize = 640;
/// The same where the right matrix is read in place.
const SHALLOW: usize = 64;
/// Elements of the right matrix that are packed at a time: 4 MiB, which the last cache holds.
const SLAB: usize = 1 << 20;
/// Rows of a task, about.
const TASK_ROWS: usize = 128;
/// Multiplications of a product below which a hop into the thread pool costs more than it gains.
const SMALL: usize = 1 << 15;

/// # Safety
/// `result` points to `lhs.rows · rhs.columns` elements, initialised where `add` says so.
unsafe fn run(result: *mut f32, add: bool, product: Product, short: Option<Product>, bias: Option<&[f32]>) {
    // SAFETY: the caller's word.
    unsafe { run_with(micro::micro(), result, add, product, short, bias) }
}

unsafe fn run_with(
    micro: Micro,
    result: *mut f32,
    add: bool,
    product: Product,
    short: Option<Product>,
    bias: Option<&[f32]>,
) {
    let Product { lhs, rhs, scale } = product;
    let (rows, columns, depth) = (lhs.rows, rhs.columns, lhs.columns);
    assert_eq!(depth, rhs.rows, "inner dimensions of a product agree");
    assert!(bias.is_none_or(|bias| bias.len() == columns), "a bias has one element for each column");
    if let Some(Product { lhs, rhs, .. }) = short {
        assert!(lhs.rows == rows && rhs.columns == columns && lhs.columns == rhs.rows, "the two products fit");
    }
    if rows == 0 || columns == 0 {
        return;
    }
    count(rows, columns, depth + short.map_or(0, |short| short.rhs.rows));
    let in_place = rows <= FEW_ROWS && rhs.column_stride == 1 && scale == 1.0;
    let most = if in_place { SHALLOW } else { DEPTH };
    let block = depth.div_ceil(depth.div_ceil(most).max(1)).max(1);
    let padded = pack::padded(columns);
    // Whole blocks of all columns, or one block of some columns.
    let slab_columns = if padded * block <= SLAB { columns } else { (SLAB / block / COLUMNS).max(1) * COLUMNS };
    let slab_depth = (SLAB / (block * slab_columns)).max(1) * block;
    let parallel = rows * columns * depth > SMALL;
    let mut buffers = BUFFERS.take();
    for first_column in (0..columns).step_by(slab_columns) {
        let columns = first_column..columns.min(first_column + slab_columns);
        for first in (0..depth.max(1)).step_by(slab_depth) {
            let k = first..depth.min(first + slab_depth);
            let last = k.end == depth;
            let layout = Layout { k: k.clone(), columns: columns.clone(), block };
            let short = short.filter(|_| last).map(|short| {
                let layout = Layout { k: 0..short.rhs.rows, columns: columns.clone(), block: short.rhs.rows.max(1) };
                (short, layout)
            });
            let packed =
                Shared::reuse(std::mem::take(&mut buffers.0), if in_place { tail_len(&layout) } else { layout.len() });
            let packed_short =
                Shared::reuse(std::mem::take(&mut buffers.1), short.as_ref().map_or(0, |(_, layout)| layout.len()));
            let task = Task {
                micro,
                result,
                stride: rhs.columns,
                add: add || first > 0,
                bias: bias.filter(|_| first == 0),
                lhs,
                rhs,
                layout: &layout,
                packed: &packed,
                in_place,
                short: short.as_ref().map(|(short, layout)| (short.lhs, layout)),
                packed_short: &packed_short,
            };
            // SAFETY: each panel is filled by one task, and read when all are filled; tiles do not overlap.
            unsafe {
                let fill = |index: usize| {
                    let panels = layout.panels();
                    for block in 0..layout.blocks() {
                        if !in_place {
                            layout.fill(rhs, scale, block, index, &packed);
                        } else if index + 1 == panels {
                            task.fill_tail(block, scale);
                        }
                    }
                    if let Some((short, layout)) = &short {
                        layout.fill(short.rhs, short.scale, 0, index, &packed_short);
                    }
                };
                each(layout.panels(), parallel, fill);
                let (row_blocks, panel_blocks) = cut(rows, layout.panels());
                each(row_blocks * panel_blocks, parallel, |index| {
                    let part = |count: usize, of: usize, index: usize| count * index / of;
                    let (row, panel) = (index / panel_blocks, index % panel_blocks);
                    let strips = rows.div_ceil(ROWS);
                    let of_rows = |index| (part(strips, row_blocks, index) * ROWS).min(rows);
                    let of_panels = |index| part(layout.panels(), panel_blocks, index);
                    task.compute(of_rows(row)..of_rows(row + 1), of_panels(panel)..of_panels(panel + 1));
                });
            }
            buffers = (packed.into_buffer(), packed_short.into_buffer());
        }
    }
    BUFFERS.set(buffers);
}

thread_local! {
    /// Packed panels of the last product, to be overwritten by the next.
    static BUFFERS: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
    /// A task's copy of the left matrix.
    static STRIPS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

fn each(count: usize, parallel: bool, work: impl Fn(usize) + Send + Sync) {
    if parallel && count > 1 {
        (0..count).into_par_iter().with_max_len(1).for_each(&work);
    } else {
        (0..count).for_each(work);
    }
}

/// Into how many blocks rows and panels are cut: a multiple of four tasks of about equal size where there is enough to do.
fn cut(rows: usize, panels: usize) -> (usize, usize) {
    let strips = rows.div_ceil(ROWS);
    let row_blocks = if rows >= 4 * TASK_ROWS / 2 { (rows / TASK_ROWS).next_multiple_of(4) } else { 1 }.min(strips);
    (row_blocks, if row_blocks >= 8 { 1 } else { (16 / row_blocks).min(panels) })
}

/// The last panel is packed where it is no whole number of vectors: only so it can be read in full.
fn tail_len(layout: &Layout) -> usize {
    if has_tail(layout) { layout.k.len() * pack::width(layout.columns.len(), layout.panels() - 1) } else { 0 }
}

fn has_tail(layout: &Layout) -> bool {
    pack::padded(layout.columns.len()) != layout.columns.len()
}

/// What the tasks of one slab share.
struct Task<'a> {
    micro: Micro,
    result: *mut f32,
    stride: usize,
    add: bool,
    bias: Option<&'a [f32]>,
    lhs: Matrix<'a>,
    rhs: Matrix<'a>,
    layout: &'a Layout,
    packed: &'a Shared,
    in_place: bool,
    short: Option<(Matrix<'a>, &'a Layout)>,
    packed_short: &'a Shared,
}

// SAFETY: the result is written by `compute` alone, whose callers vouch that no two tasks write the same tile.
unsafe impl Sync for Task<'_> {}

impl Task<'_> {
    /// Packs the last panel of a block where it cannot be read in place.
    ///
    /// # Safety
    /// No one else uses that part of `packed` meanwhile.
    unsafe fn fill_tail(&self, block: usize, scale: f32) {
        if !has_tail(self.layout) {
            return;
        }
        let (rows, last) = (self.layout.rows(block), self.layout.panels() - 1);
        let width = pack::width(self.layout.columns.len(), last);
        let start = (rows.start - self.layout.k.start) * width;
        // SAFETY: by the caller's word; it is written throughout.
        let out = unsafe { self.packed.row(start, rows.len() * width) };
        pack::panel(self.rhs, rows, self.layout.columns.clone(), last, scale, out);
    }

    /// Where the rows of a panel lie in a block, and how far apart.
    fn panel(&self, block: usize, index: usize) -> (*const f32, usize) {
        let (rows, width) = (self.layout.rows(block), pack::width(self.layout.columns.len(), index));
        if !self.in_place {
            return (self.packed.at(self.layout.offset(block, index)), width);
        }
        if index + 1 == self.layout.panels() && has_tail(self.layout) {
            return (self.packed.at((rows.start - self.layout.k.start) * width), width);
        }
        (self.rhs.at(rows.start, self.layout.columns.start + index * COLUMNS), self.rhs.row_stride)
    }

    /// Writes some rows of some panels of the result.
    ///
    /// # Safety
    /// The panels are packed, and no one else uses these tiles of the result meanwhile.
    unsafe fn compute(&self, rows: Range<usize>, panels: Range<usize>) {
        let mut copy = STRIPS.take();
        for block in 0..self.layout.blocks() {
            let k = self.layout.rows(block);
            let left = Left::of(self.lhs, rows.clone(), k.clone(), &mut copy);
            let last = block + 1 == self.layout.blocks();
            for panel in panels.clone() {
                let (b, b_stride) = self.panel(block, panel);
                let column = self.layout.columns.start + panel * COLUMNS;
                let short = self.short.filter(|_| last).map(|(lhs, layout)| Part {
                    a: lhs.at(rows.start, 0),
                    a_strides: (lhs.row_stride, lhs.column_stride),
                    b: self.packed_short.at(layout.offset(0, panel)),
                    b_stride: pack::width(layout.columns.len(), panel),
                    k: layout.k.len(),
                });
                for row in rows.clone().step_by(ROWS) {
                    let offset = row - rows.start;
                    let main = Part { a: left.row(offset), a_strides: left.strides, b, b_stride, k: k.len() };
                    let short =
                        short.map_or(main, |part| Part { a: part.a.wrapping_add(offset * part.a_strides.0), ..part });
                    let parts = [main, short];
                    let tile = Tile {
                        parts: if self.short.is_some() && last { &parts } else { &parts[..1] },
                        c: self.result.wrapping_add(row * self.stride + column),
                        c_stride: self.stride,
                        rows: (rows.end - row).min(ROWS),
                        columns: (self.layout.columns.end - column).min(COLUMNS),
                        add: self.add || block > 0,
                        bias: match self.bias {
                            Some(bias) if block == 0 => bias.as_ptr().wrapping_add(column),
                            _ => std::ptr::null(),
                        },
                    };
                    // SAFETY: the tile lies inside the result, the panel is packed, and the rows exist.
                    unsafe { (self.micro)(&tile) };
                }
            }
        }
        STRIPS.set(copy);
    }
}

/// Rows of the left matrix as the innermost loop reads them.
struct Left {
    start: *const f32,
    strides: (usize, usize),
    /// From a strip to the next.
    strip: usize,
}

impl Left {
    /// In place where rows lie along memory and do not fight for the same sets of a cache; else a copy.
    fn of(matrix: Matrix, rows: Range<usize>, k: Range<usize>, copy: &mut Vec<f32>) -> Self {
        const CONFLICT: usize = 256;
        if matrix.column_stride == 1 && (!matrix.row_stride.is_multiple_of(CONFLICT) || rows.len() == 1) {
            let strides = (matrix.row_stride, 1);
            return Self { start: matrix.at(rows.start, k.start), strides, strip: ROWS * matrix.row_stride };
        }
        if matrix.column_stride == 1 {
            let stride = k.len();
            copy.clear();
            for row in rows {
                copy.extend_from_slice(&matrix.values[row * matrix.row_stride + k.start..][..stride]);
            }
            return Self { start: copy.as_ptr(), strides: (stride, 1), strip: ROWS * stride };
        }
        pack::strips(matrix, rows, k.clone(), copy);
        Self { start: copy.as_ptr(), strides: (1, ROWS), strip: ROWS * k.len() }
    }

    fn row(&self, offset: usize) -> *const f32 {
        self.start.wrapping_add(offset / ROWS * self.strip)
    }
}
