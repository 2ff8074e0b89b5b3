//! Rows of numbers in 8 bits: each row's largest element becomes ±127.

use crate::{
    parallel::CHUNK,
    simd::{Kernel, LANES, dispatch},
};
use rayon::prelude::*;

/// `[N, k]` in 8 bits.
pub(super) struct QuantizedRows {
    /// Each row padded with zeros to whole fours.
    pub(super) levels: Vec<i8>,
    pub(super) stride: usize,
    /// What a row's integers are multiplied by. Not a number where the row holds one that is not finite.
    pub(super) scales: Vec<f32>,
    /// The sum of each row's integers.
    pub(super) sums: Vec<i32>,
}

impl QuantizedRows {
    /// Some rows, each of `stride` integers.
    pub(super) fn tile(&self, row: usize, count: usize) -> &[i8] {
        &self.levels[row * self.stride..(row + count) * self.stride]
    }
}

/// Quantises each row of `columns` elements, after multiplying with `factors` where given (one for each column).
pub(super) fn quantize(values: &[f32], columns: usize, factors: Option<&[f32]>) -> QuantizedRows {
    let count = values.len().checked_div(columns).unwrap_or(0);
    let stride = columns.next_multiple_of(4);
    let (mut levels, mut scales, mut sums) = (vec![0i8; count * stride], vec![0.0f32; count], vec![0i32; count]);
    let some = (CHUNK / columns.max(1)).max(1);
    levels
        .par_chunks_mut((some * stride).max(1))
        .zip(scales.par_chunks_mut(some))
        .zip(sums.par_chunks_mut(some))
        .zip(values.par_chunks((some * columns).max(1)))
        .for_each(|(((levels, scales), sums), values)| {
            dispatch(Rows { values, columns, stride, factors, levels, scales, sums });
        });
    QuantizedRows { levels, stride, scales, sums }
}

struct Rows<'a> {
    values: &'a [f32],
    columns: usize,
    stride: usize,
    factors: Option<&'a [f32]>,
    levels: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut scaled = vec![0.0f32; if self.factors.is_some() { self.columns } else { 0 }];
        let rows = self.values.chunks_exact(self.columns).zip(self.levels.chunks_exact_mut(self.stride));
        for (index, (row, levels)) in rows.enumerate() {
            let row = match self.factors {
                None => row,
                Some(factors) => {
                    for ((scaled, value), factor) in scaled.iter_mut().zip(row).zip(factors) {
                        *scaled = value * factor;
                    }
                    &scaled[..]
                }
            };
            let largest = largest(row);
            self.scales[index] = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let mut sum = 0i32;
            for (level, value) in levels.iter_mut().zip(row) {
                // A conversion from a number that is not finite gives some integer; the scale says that there was one.
                let whole = (value * inverse).round_ties_even() as i32;
                *level = whole as i8;
                sum += whole;
            }
            self.sums[index] = sum;
        }
    }
}

/// The largest size, or NaN where a value is not finite.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let (mut lanes, mut probes) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let size = chunk[lane].abs();
            lanes[lane] = if size > lanes[lane] { size } else { lanes[lane] };
            probes[lane] += chunk[lane] * 0.0;
        }
    }
    let largest = lanes.iter().chain(rest).fold(0.0f32, |largest, value| value.abs().max(largest));
    let probe = probes.iter().sum::<f32>() + rest.iter().map(|value| value * 0.0).sum::<f32>();
    largest + probe
}
