//! NF4 with double quantisation (Dettmers et al. 2023, arXiv:2305.14314, sections 3 and appendix E), laid out as
//! bitsandbytes has it: blocks of 64 over the elements in order, two to a byte, the first in the high half; the largest
//! size of each block is itself kept in 8 bits, in blocks of 256 around their mean.

use crate::parallel::for_each_chunk;
use std::ops::Range;

/// The sixteen levels: quantiles of a normal distribution, scaled to \[−1, 1\] with an exact zero (appendix E of the paper;
/// these digits are those of bitsandbytes, `get_4bit_type("nf4")`).
const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Elements with one scale.
const BLOCK: usize = 64;
/// Scales with one scale of their own.
const SCALES: usize = 256;

/// A matrix in NF4.
#[derive(Clone, Debug)]
pub struct Nf4 {
    rows: usize,
    columns: usize,
    /// Two elements to a byte.
    pub(super) packed: Vec<u8>,
    /// For each block, which of [`scale_levels`] its scale is.
    pub(super) scales: Vec<u8>,
    /// What those levels are multiplied by, for each 256 blocks.
    scale_of_scales: Vec<f32>,
    /// The mean of the scales, added after that.
    pub(super) offset: f32,
    /// The levels that scales are rounded to.
    levels: Vec<f32>,
    /// Both elements of each byte.
    pairs: Vec<[f32; 2]>,
}

impl Nf4 {
    /// Quantises a row-major matrix.
    ///
    /// # Panics
    /// Where the values are not as many as the shape says.
    pub fn encode((rows, columns): (usize, usize), values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix has as many values as its shape says");
        let largest: Vec<f32> = values.chunks(BLOCK).map(largest).collect();
        let mut packed = vec![0; values.len().div_ceil(2)];
        let bounds: [f32; 15] = std::array::from_fn(|i| f32::midpoint(LEVELS[i], LEVELS[i + 1]));
        for_each_chunk(&mut packed, 128 * BLOCK / 2, |index, bytes| {
            let first = index * 128 * BLOCK;
            let values = values[first..].chunks(BLOCK).zip(&largest[first / BLOCK..]);
            for (bytes, (block, largest)) in bytes.chunks_mut(BLOCK / 2).zip(values) {
                let inverse = 1.0 / largest.max(1e-38);
                for (byte, pair) in bytes.iter_mut().zip(block.chunks(2)) {
                    let level = |value: f32| level_of(&bounds, value * inverse);
                    *byte = level(pair[0]) << 4 | pair.get(1).map_or(7, |value| level(*value));
                }
            }
        });
        let offset = (largest.iter().map(|&value| f64::from(value)).sum::<f64>() / largest.len().max(1) as f64) as f32;
        let levels = scale_levels();
        let bounds: Vec<f32> = levels.windows(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();
        let (mut scales, mut scale_of_scales) = (Vec::new(), Vec::new());
        for group in largest.chunks(SCALES) {
            let centred: Vec<f32> = group.iter().map(|value| value - offset).collect();
            let most = self::largest(&centred);
            scale_of_scales.push(most);
            scales.extend(centred.iter().map(|value| level_of(&bounds, value / most.max(1e-38))));
        }
        Self::from_parts((rows, columns), packed, scales, scale_of_scales, offset)
    }

    /// A matrix from the arrays that bitsandbytes keeps: `weight`, `absmax`, `nested_absmax` and `nested_offset`.
    ///
    /// # Panics
    /// Where the arrays are not as long as the shape needs.
    pub fn from_parts(
        (rows, columns): (usize, usize),
        packed: Vec<u8>,
        scales: Vec<u8>,
        scale_of_scales: Vec<f32>,
        offset: f32,
    ) -> Self {
        let count = rows * columns;
        assert_eq!(packed.len(), count.div_ceil(2), "two elements to a byte");
        assert_eq!(scales.len(), count.div_ceil(BLOCK), "one scale for each block");
        assert_eq!(scale_of_scales.len(), scales.len().div_ceil(SCALES), "one scale for 256 scales");
        let pairs = (0..=255).map(|byte: usize| [LEVELS[byte >> 4], LEVELS[byte & 15]]).collect();
        Self { rows, columns, packed, scales, scale_of_scales, offset, levels: scale_levels(), pairs }
    }

    /// (rows, columns).
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Bytes in memory: 4.127 bits an element.
    pub fn bytes(&self) -> usize {
        self.packed.len() + self.scales.len() + 4 * self.scale_of_scales.len() + 4
    }

    fn scale(&self, block: usize) -> f32 {
        self.levels[self.scales[block] as usize] * self.scale_of_scales[block / SCALES] + self.offset
    }

    /// Widens the elements of a range, counted over the whole matrix.
    pub(super) fn widen(&self, elements: Range<usize>, out: &mut [f32]) {
        let mut at = elements.start;
        while at < elements.end {
            let end = elements.end.min((at / BLOCK + 1) * BLOCK);
            let (scale, out) = (self.scale(at / BLOCK), &mut out[at - elements.start..end - elements.start]);
            if at.is_multiple_of(2) {
                for (out, byte) in out.chunks_mut(2).zip(&self.packed[at / 2..]) {
                    let pair = self.pairs[*byte as usize];
                    out.iter_mut().zip(pair).for_each(|(out, level)| *out = level * scale);
                }
            } else {
                for (index, out) in (at..end).zip(out) {
                    *out = self.pairs[self.packed[index / 2] as usize][index % 2] * scale;
                }
            }
            at = end;
        }
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The level that is nearest: how many of the bounds between levels lie below.
fn level_of(bounds: &[f32], value: f32) -> u8 {
    bounds.partition_point(|bound| *bound < value) as u8
}

/// The 256 levels of the 8-bit "dynamic" type (Dettmers 2015, arXiv:1511.04561): for each power of ten from 1e-6 to 1, twice as
/// many midpoints of a linear division of \[0.1, 1\] as for the one before, with both signs; and 0 and 1.
fn scale_levels() -> Vec<f32> {
    let mut levels = vec![0.0f32, 1.0];
    for exponent in 0..7 {
        let count = 1usize << exponent;
        let step = (1.0 - 0.1f32) / count as f32;
        // Counted from the nearer end, each boundary rounded once, as `torch.linspace` does.
        let boundary = |k: usize| {
            if k < count.div_ceil(2) {
                (f64::from(0.1f32) + f64::from(step) * k as f64) as f32
            } else {
                (1.0 - f64::from(step) * (count - k) as f64) as f32
            }
        };
        let power = 10f64.powi(exponent - 6) as f32;
        for k in 0..count {
            let level = power * f32::midpoint(boundary(k), boundary(k + 1));
            levels.extend([level, -level]);
        }
    }
    levels.sort_by(f32::total_cmp);
    levels
}
