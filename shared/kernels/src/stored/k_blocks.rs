//! GGML's blocks of 256 elements ("K"): widening. Groups of 16 or 32 elements have small scales, and minima, of their own,
//! which a scale of the whole block multiplies.

use super::{BlockFormat, blocks::half};
use crate::simd::Kernel;

pub(super) struct Decode<'a> {
    pub(super) format: BlockFormat,
    pub(super) bytes: &'a [u8],
    pub(super) out: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let out = self.out.as_chunks_mut::<256>().0.iter_mut();
        match self.format {
            BlockFormat::Q2_K => out.zip(self.bytes.as_chunks::<84>().0).for_each(|(out, block)| q2_k(block, out)),
            BlockFormat::Q3_K => out.zip(self.bytes.as_chunks::<110>().0).for_each(|(out, block)| q3_k(block, out)),
            BlockFormat::Q4_K => out.zip(self.bytes.as_chunks::<144>().0).for_each(|(out, block)| q4_k(block, out)),
            BlockFormat::Q5_K => out.zip(self.bytes.as_chunks::<176>().0).for_each(|(out, block)| q5_k(block, out)),
            BlockFormat::Q6_K => out.zip(self.bytes.as_chunks::<210>().0).for_each(|(out, block)| q6_k(block, out)),
            other => unreachable!("{} has no blocks of 256", other.name()),
        }
    }
}

/// The eight scales and eight minima of 6 bits in twelve bytes: the first four of each lie in the low six bits of a byte;
/// the others are put together from the last four bytes and the spare two bits of the first eight.
#[inline(always)]
pub(super) fn scales_and_minima(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        minima[i] = packed[4 + i] & 63;
        scales[4 + i] = packed[8 + i] & 15 | packed[i] >> 6 << 4;
        minima[4 + i] = packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4;
    }
    (scales, minima)
}

#[inline(always)]
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    for group in 0..8 {
        let (d, m) = (scale * scales[group] as f32, minimum * minima[group] as f32);
        let (bytes, shift) = (&block[16 + group / 2 * 32..], group % 2 * 4);
        for i in 0..32 {
            out[group * 32 + i] = d * (bytes[i] >> shift & 15) as f32 - m;
        }
    }
}

#[inline(always)]
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    let high = &block[16..48];
    for group in 0..8 {
        let (d, m) = (scale * scales[group] as f32, minimum * minima[group] as f32);
        let (bytes, shift) = (&block[48 + group / 2 * 32..], group % 2 * 4);
        for i in 0..32 {
            let level = bytes[i] >> shift & 15 | (high[i] >> group & 1) << 4;
            out[group * 32 + i] = d * level as f32 - m;
        }
    }
}

#[inline(always)]
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half(block, 208);
    for group in 0..8 {
        // Half a block: 64 bytes of low bits, 32 of high ones, eight scales.
        let (part, quarter) = (group / 4, group % 4);
        let (low, low_shift) = (&block[part * 64 + quarter % 2 * 32..], quarter / 2 * 4);
        let (high, high_shift) = (&block[128 + part * 32..], quarter * 2);
        for i in 0..32 {
            let level = low[i] >> low_shift & 15 | (high[i] >> high_shift & 3) << 4;
            let d = scale * block[192 + group * 2 + i / 16].cast_signed() as f32;
            out[group * 32 + i] = d * (level as i32 - 32) as f32;
        }
    }
}

#[inline(always)]
fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, minimum) = (half(block, 80), half(block, 82));
    for group in 0..16 {
        let (d, m) = (scale * (block[group] & 15) as f32, minimum * (block[group] >> 4) as f32);
        let (bytes, shift) = (&block[16 + group / 8 * 32 + group % 2 * 16..], group % 8 / 2 * 2);
        for i in 0..16 {
            out[group * 16 + i] = d * (bytes[i] >> shift & 3) as f32 - m;
        }
    }
}

#[inline(always)]
fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half(block, 108);
    let packed = &block[96..108];
    for group in 0..16 {
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        let d = scale * ((low | high << 4) as i32 - 32) as f32;
        let (bytes, shift) = (&block[32 + group / 8 * 32 + group % 2 * 16..], group % 8 / 2 * 2);
        let (mask, bit) = (&block[group % 2 * 16..], group / 2);
        for i in 0..16 {
            // The third bit counts as minus four where it is absent.
            let level = (bytes[i] >> shift & 3) as i32 - if mask[i] >> bit & 1 == 1 { 0 } else { 4 };
            out[group * 16 + i] = d * level as f32;
        }
    }
}
