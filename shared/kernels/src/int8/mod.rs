//! Products in 8-bit integers: weights quantised for each output (row-wise), activations for each token, sums in 32 bits.
//! As LLM.int8() without outliers (Dettmers et al. 2022, arXiv:2208.07339) forward, and as SwitchBack (Wortsman et al. 2023,
//! arXiv:2304.13013) for the gradient of the input: the weight's scales are folded into the gradient, which is then
//! quantised for each token.
//!
//! Sums of integers are exact, so every instruction set, number of threads and number of rows gives the same bytes.

mod pack;
mod rows;
mod tile;

use crate::{
    WeightLayout,
    matmul::{Product, ShortProduct},
    parallel::{Shared, for_each_chunk},
};
use candle_core::{Device, Result, Tensor, bail};
use pack::Packed;
use rayon::prelude::*;
use rows::{QuantizedRows, quantize};
use tile::Tile;

/// A frozen weight in 8 bits, ready for both directions.
#[derive(Clone, Debug)]
pub struct Int8Matrix {
    inputs: usize,
    outputs: usize,
    /// How the weight lay that it was made from.
    layout: WeightLayout,
    /// One for each output.
    scales: Vec<f32>,
    /// `[in, out]`, for `x W`.
    forward: Packed,
    /// `[out, in]`, for the gradient.
    backward: Packed,
}

impl Int8Matrix {
    /// Quantises a weight, of which each output's largest element becomes ±127.
    ///
    /// # Errors
    /// Where the values are not as many as the shape says, or one is not finite.
    pub fn encode(layout: WeightLayout, (rows, columns): (usize, usize), values: &[f32]) -> Result<Self> {
        if values.len() != rows * columns {
            bail!("a {rows} by {columns} matrix has {} values, found {}", rows * columns, values.len());
        }
        let (outputs, inputs, quantized) = match layout {
            WeightLayout::OutputByInput => (rows, columns, quantize(values, columns, None)),
            WeightLayout::InputByOutput => (columns, rows, quantize(&transposed(values, columns), rows, None)),
        };
        if let Some(output) = quantized.scales.iter().position(|scale| !scale.is_finite()) {
            bail!("output {output} of the weight holds a number that is not finite");
        }
        let level = |output: usize, input: usize| quantized.levels[output * quantized.stride + input];
        Ok(Self {
            inputs,
            outputs,
            layout,
            forward: Packed::new(inputs, outputs, |input, output| level(output, input)),
            backward: Packed::new(outputs, inputs, level),
            scales: quantized.scales,
        })
    }

    /// (rows, columns) of the weight that it was made from.
    pub fn dims(&self) -> (usize, usize) {
        match self.layout {
            WeightLayout::OutputByInput => (self.outputs, self.inputs),
            WeightLayout::InputByOutput => (self.inputs, self.outputs),
        }
    }

    /// Bytes that it takes in memory: two copies, one for each direction.
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.backward.bytes() + 4 * self.scales.len()
    }

    /// The weight that it stands for, as the one that it was made from lay.
    ///
    /// # Errors
    /// Where a tensor cannot be made.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let mut values = Vec::with_capacity(self.outputs * self.inputs);
        for (output, scale) in self.scales.iter().enumerate() {
            values.extend((0..self.inputs).map(|input| f32::from(self.backward.level(output, input)) * scale));
        }
        if self.layout == WeightLayout::InputByOutput {
            values = transposed(&values, self.inputs);
        }
        Tensor::from_vec(values, self.dims(), &Device::Cpu)
    }

    /// `x Wᵀ` for `x` `[N, in]`, plus a bias to each row, plus a product over a short inner dimension: `[N, out]`.
    pub(crate) fn multiply_sum(&self, x: &[f32], bias: Option<&[f32]>, short: Option<Product>) -> Vec<f32> {
        product(&quantize(x, self.inputs, None), &self.forward, Columns { scales: Some(&self.scales), bias, short })
    }

    /// As [`Int8Matrix::multiply_sum`] of nothing more, into `y`; what it held before is not read.
    pub(crate) fn multiply_into(&self, x: &[f32], y: &mut [f32]) {
        let rows = quantize(x, self.inputs, None);
        assert_eq!(y.len(), rows.scales.len() * self.outputs, "a result for each row and output");
        // SAFETY: the slice is borrowed until the product is done.
        let y = unsafe { Shared::over(y) };
        product_into(&rows, &self.forward, Columns { scales: Some(&self.scales), ..Columns::default() }, &y);
    }

    /// `grad W` for `grad` `[N, out]`, plus a product over a short inner dimension: `[N, in]`.
    pub(crate) fn multiply_gradient(&self, grad: &[f32], short: Option<Product>) -> Vec<f32> {
        let rows = quantize(grad, self.outputs, Some(&self.scales));
        product(&rows, &self.backward, Columns { short, ..Columns::default() })
    }
}

/// What is done with the columns of a product before they are written.
#[derive(Default)]
struct Columns<'a> {
    /// Multiplied with; one for each column.
    scales: Option<&'a [f32]>,
    /// Added; one for each column.
    bias: Option<&'a [f32]>,
    /// Added at the end.
    short: Option<Product<'a>>,
}

/// The rows of a matrix as columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

/// Rows of a task, and panels: a task's rows stay in a core's second cache while the panels pass by.
const ROWS: usize = 96;
const PANELS: usize = 16;
// The short product adds to the tiles as they are written here.
const _: () = assert!(tile::ROWS <= ShortProduct::TILE.0 && pack::COLUMNS == ShortProduct::TILE.1);

/// Rows times a packed matrix, each result scaled by its row's and its column's scale.
fn product(rows: &QuantizedRows, matrix: &Packed, columns: Columns) -> Vec<f32> {
    let y = Shared::new(rows.scales.len() * matrix.columns());
    product_into(rows, matrix, columns, &y);
    // SAFETY: the product writes every row and every column.
    unsafe { y.written() }
}

fn product_into(rows: &QuantizedRows, matrix: &Packed, of: Columns, y: &Shared) {
    let (count, columns) = (rows.scales.len(), matrix.columns());
    let blocks = count.div_ceil(ROWS);
    let groups = matrix.panels().div_ceil(PANELS);
    let kernel = tile::kernel();
    let short = of.short.map(|short| ShortProduct::new(short, count, columns));
    let task = |index: usize| {
        let (block, group) = (index / groups, index % groups);
        let range = block * ROWS..count.min((block + 1) * ROWS);
        for panel in group * PANELS..matrix.panels().min((group + 1) * PANELS) {
            let first = panel * pack::COLUMNS;
            let width = pack::COLUMNS.min(columns - first);
            for row in range.clone().step_by(tile::ROWS) {
                let height = tile::ROWS.min(range.end - row);
                // SAFETY: each task owns its rows by its columns, and writes each element
                // once; they lie inside the result, which has `columns` for each row.
                unsafe {
                    let start = y.first(row * columns + first, (height - 1) * columns + width);
                    kernel(&Tile {
                        rows: rows.tile(row, height),
                        panel: matrix.panel(panel),
                        row_scales: &rows.scales[row..row + height],
                        row_sums: &rows.sums[row..row + height],
                        column_scales: of.scales.map(|values| &values[first..first + width]),
                        bias: of.bias.map(|values| &values[first..first + width]),
                        y: start,
                        y_stride: columns,
                        width,
                    });
                    if let Some(short) = &short {
                        short.add(start, row..row + height, panel);
                    }
                }
            }
        }
    };
    if blocks * groups == 1 {
        task(0);
    } else {
        (0..blocks * groups).into_par_iter().for_each(task);
    }
}

/// Parallel fill used by the packers.
fn fill(values: &mut [u8], chunk: usize, work: impl Fn(usize, &mut [u8]) + Sync) {
    for_each_chunk(values, chunk, work);
}

#[cfg(test)]
mod tests;
