//! Matrices that are held in fewer than 32 bits and widened to `f32` where they are used: frozen base weights.
//!
//! The formats are others': IEEE half and bfloat16; the blocks of GGML, as they lie in GGUF files (llama.cpp,
//! `ggml-common.h`); NF4 with double quantisation (Dettmers et al. 2023, arXiv:2305.14314), as bitsandbytes has it.
//! Arithmetic is always in `f32` on the widened numbers: a product with a stored matrix equals, to the bit, the product
//! with its widened copy.

mod blocks;
mod encode;
mod encode_k;
mod k_blocks;
mod nf4;

pub use nf4::Nf4;

use crate::{
    parallel::for_each_chunk,
    simd::{Kernel, dispatch},
};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// How the elements of a matrix are encoded. The names are GGML's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "the field writes these names so")]
pub enum BlockFormat {
    /// 32 bits.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// 32 elements of 4 bits around a common scale.
    Q4_0,
    /// 32 elements of 4 bits, scale and minimum.
    Q4_1,
    /// 32 elements of 5 bits around a common scale.
    Q5_0,
    /// 32 elements of 5 bits, scale and minimum.
    Q5_1,
    /// 32 elements of 8 bits around a common scale.
    Q8_0,
    /// 256 elements of 2 bits in sixteen groups with scales and minima of 4 bits.
    Q2_K,
    /// 256 elements of 3 bits in sixteen groups with scales of 6 bits.
    Q3_K,
    /// 256 elements of 4 bits in eight groups with scales and minima of 6 bits.
    Q4_K,
    /// 256 elements of 5 bits in eight groups with scales and minima of 6 bits.
    Q5_K,
    /// 256 elements of 6 bits in sixteen groups with scales of 8 bits.
    Q6_K,
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// GGML's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
        }
    }

    /// Elements of one block; rows are whole blocks.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Bytes of a row of so many elements; none where they are no whole number of blocks.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        columns.is_multiple_of(self.block()).then(|| columns / self.block() * self.block_bytes())
    }

    /// Whether [`BlockFormat::encode`] can write it.
    pub fn can_encode(self) -> bool {
        !matches!(self, Self::Q2_K | Self::Q3_K)
    }

    /// Widens whole blocks: `out` has the elements of `bytes`.
    ///
    /// # Panics
    /// Where the lengths do not belong together.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), self.row_bytes(out.len()), "as many bytes as the blocks of the elements take");
        match self {
            Self::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => dispatch(WidenF16 { bytes, out }),
            Self::BF16 => dispatch(WidenBf16 { bytes, out }),
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => {
                dispatch(blocks::Decode { format: self, bytes, out });
            }
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => {
                dispatch(k_blocks::Decode { format: self, bytes, out });
            }
        }
    }

    /// Encodes whole blocks, rounding to the nearest element or, for the K formats, to the choice of scale and minimum
    /// with the smallest weighted squared error among some tried.
    ///
    /// # Errors
    /// Where the elements are no whole number of blocks, or the format is not written.
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>> {
        let Some(len) = self.row_bytes(values.len()) else {
            bail!("{} takes whole blocks of {} elements, found {}", self.name(), self.block(), values.len());
        };
        if !self.can_encode() {
            bail!("{} is read and not written", self.name());
        }
        let mut bytes = vec![0; len];
        // Chunks of some blocks: elements and bytes keep step.
        let blocks = (4096 / self.block()).max(1);
        for_each_chunk(&mut bytes, blocks * self.block_bytes(), |index, bytes| {
            let elements = bytes.len() / self.block_bytes() * self.block();
            encode::encode(self, &values[index * blocks * self.block()..][..elements], bytes);
        });
        Ok(bytes)
    }
}

struct WidenF16<'a> {
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Kernel for WidenF16<'_> {
    type Output = ();

    /// Exponent and mantissa moved to their places make a number 2¹¹² times too small, also where the exponent is zero; what
    /// is no number stays none.
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        const SCALE: f32 = f32::from_bits((127 + 112) << 23);
        for (out, bytes) in self.out.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
            let half = u32::from(u16::from_le_bytes(*bytes));
            let (sign, rest) = ((half & 0x8000) << 16, half & 0x7fff);
            let finite = (f32::from_bits(rest << 13) * SCALE).to_bits();
            let bits = if rest >= 0x7c00 { rest << 13 | 0x7f80_0000 } else { finite };
            *out = f32::from_bits(bits | sign);
        }
    }
}

struct WidenBf16<'a> {
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Kernel for WidenBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (out, bytes) in self.out.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
            *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

/// A matrix in blocks, row-major.
#[derive(Clone, Debug)]
pub struct BlockMatrix {
    format: BlockFormat,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

/// A matrix of `[rows, columns]` that is widened where it is used.
#[derive(Clone, Debug)]
pub enum StoredMatrix {
    /// In GGML's blocks, or 16 bits.
    Blocks(BlockMatrix),
    /// In NF4.
    Nf4(Nf4),
}

impl StoredMatrix {
    /// A matrix whose bytes are in `format`.
    ///
    /// # Errors
    /// Where rows are no whole number of blocks or the bytes are not as many as the shape needs.
    pub fn from_bytes(format: BlockFormat, (rows, columns): (usize, usize), bytes: Vec<u8>) -> Result<Self> {
        match format.row_bytes(columns) {
            Some(row) if row * rows == bytes.len() => {}
            Some(row) => {
                bail!(
                    "a {rows} by {columns} matrix in {} has {} bytes, found {}",
                    format.name(),
                    row * rows,
                    bytes.len()
                )
            }
            None => {
                bail!("rows of {columns} elements are no whole blocks of {} ({})", format.block(), format.name())
            }
        }
        Ok(Self::Blocks(BlockMatrix { format, rows, columns, bytes }))
    }

    /// Quantises (or rounds) a matrix, row-major.
    ///
    /// # Errors
    /// As [`BlockFormat::encode`].
    pub fn encode(format: BlockFormat, shape: (usize, usize), values: &[f32]) -> Result<Self> {
        if format.row_bytes(shape.1).is_none() {
            bail!("rows of {} elements are no whole blocks of {} ({})", shape.1, format.block(), format.name());
        }
        Self::from_bytes(format, shape, format.encode(values)?)
    }

    /// (rows, columns).
    pub fn dims(&self) -> (usize, usize) {
        match self {
            Self::Blocks(matrix) => (matrix.rows, matrix.columns),
            Self::Nf4(matrix) => matrix.dims(),
        }
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Blocks(matrix) => matrix.bytes.len(),
            Self::Nf4(matrix) => matrix.bytes(),
        }
    }

    /// The name of its format.
    pub fn format_name(&self) -> &'static str {
        match self {
            Self::Blocks(matrix) => matrix.format.name(),
            Self::Nf4(_) => "NF4",
        }
    }

    /// The bytes of some rows, where they are in blocks.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn block_rows(&self, rows: Range<usize>) -> Option<(BlockFormat, &[u8])> {
        let Self::Blocks(matrix) = self else { return None };
        let row = matrix.format.row_bytes(matrix.columns)?;
        Some((matrix.format, &matrix.bytes[rows.start * row..rows.end * row]))
    }

    /// Widens some rows into `out`, on this thread.
    ///
    /// # Panics
    /// Where `out` has not as many elements as the rows.
    pub fn widen_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let columns = self.dims().1;
        assert_eq!(out.len(), rows.len() * columns, "as many elements as the rows have");
        match self {
            Self::Blocks(matrix) => {
                let row = matrix.format.row_bytes(columns).expect("checked when the matrix was made");
                matrix.format.decode(&matrix.bytes[rows.start * row..rows.end * row], out);
            }
            Self::Nf4(matrix) => matrix.widen(rows.start * columns..rows.end * columns, out),
        }
    }

    /// Widens all of it into `out`, in parallel.
    ///
    /// # Panics
    /// Where `out` has not as many elements as the matrix.
    pub fn widen_into(&self, out: &mut [f32]) {
        let (rows, columns) = self.dims();
        assert_eq!(out.len(), rows * columns, "as many elements as the matrix has");
        let some = crate::parallel::rows_per_chunk(columns);
        for_each_chunk(out, some * columns, |index, part| {
            let first = index * some;
            self.widen_rows(first..first + part.len() / columns, part);
        });
    }

    /// All of it as a tensor, `[rows, columns]`.
    ///
    /// # Errors
    /// Where a tensor cannot be made.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let (rows, columns) = self.dims();
        let mut values = vec![0.0; rows * columns];
        self.widen_into(&mut values);
        Tensor::from_vec(values, (rows, columns), &candle_core::Device::Cpu)
    }
}

#[cfg(test)]
mod tests;
