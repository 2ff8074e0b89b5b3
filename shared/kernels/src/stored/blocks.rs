//! GGML's blocks of 32 elements: widening. Sixteen bytes hold the elements 0–15 in their low and 16–31 in their high
//! halves.

use super::BlockFormat;
use crate::simd::Kernel;
use half::f16;

/// A little-endian half at `at`.
#[inline(always)]
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32_const()
}

pub(super) struct Decode<'a> {
    pub(super) format: BlockFormat,
    pub(super) bytes: &'a [u8],
    pub(super) out: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let out = self.out.as_chunks_mut::<32>().0.iter_mut();
        match self.format {
            BlockFormat::Q8_0 => out.zip(self.bytes.as_chunks::<34>().0).for_each(|(out, block)| q8_0(block, out)),
            BlockFormat::Q4_0 => out.zip(self.bytes.as_chunks::<18>().0).for_each(|(out, block)| q4_0(block, out)),
            BlockFormat::Q4_1 => out.zip(self.bytes.as_chunks::<20>().0).for_each(|(out, block)| q4_1(block, out)),
            BlockFormat::Q5_0 => out.zip(self.bytes.as_chunks::<22>().0).for_each(|(out, block)| q5_0(block, out)),
            BlockFormat::Q5_1 => out.zip(self.bytes.as_chunks::<24>().0).for_each(|(out, block)| q5_1(block, out)),
            other => unreachable!("{} has no blocks of 32", other.name()),
        }
    }
}

#[inline(always)]
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    // Copied: the compiler then knows that writing elements does not change them.
    let levels: [u8; 32] = *block.last_chunk().expect("the levels are the last 32 bytes");
    for i in 0..32 {
        out[i] = levels[i].cast_signed() as f32 * scale;
    }
}

#[inline(always)]
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = ((byte & 15) as i32 - 8) as f32 * scale;
        out[16 + i] = ((byte >> 4) as i32 - 8) as f32 * scale;
    }
}

#[inline(always)]
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = (byte & 15) as f32 * scale + minimum;
        out[16 + i] = (byte >> 4) as f32 * scale + minimum;
    }
}

#[inline(always)]
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for i in 0..16 {
        let byte = u32::from(block[6 + i]);
        out[i] = ((byte & 15 | (high >> i & 1) << 4) as i32 - 16) as f32 * scale;
        out[16 + i] = ((byte >> 4 | (high >> (16 + i) & 1) << 4) as i32 - 16) as f32 * scale;
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for i in 0..16 {
        let byte = u32::from(block[8 + i]);
        out[i] = (byte & 15 | (high >> i & 1) << 4) as f32 * scale + minimum;
        out[16 + i] = (byte >> 4 | (high >> (16 + i) & 1) << 4) as f32 * scale + minimum;
    }
}
