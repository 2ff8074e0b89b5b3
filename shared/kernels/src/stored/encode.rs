//! Encoding into 16 bits and GGML's blocks of 32 elements, with the arithmetic of its reference implementation, so that the
//! bytes are the same.

use super::{BlockFormat, encode_k};
use half::{bf16, f16};

/// Encodes whole blocks of a format that can be written.
pub(super) fn encode(format: BlockFormat, values: &[f32], bytes: &mut [u8]) {
    let blocks = values.chunks_exact(format.block()).zip(bytes.chunks_exact_mut(format.block_bytes()));
    match format {
        BlockFormat::F32 => blocks.for_each(|(x, out)| out.copy_from_slice(&x[0].to_le_bytes())),
        BlockFormat::F16 => blocks.for_each(|(x, out)| out.copy_from_slice(&f16::from_f32(x[0]).to_le_bytes())),
        BlockFormat::BF16 => blocks.for_each(|(x, out)| out.copy_from_slice(&bf16::from_f32(x[0]).to_le_bytes())),
        BlockFormat::Q8_0 => blocks.for_each(|(x, out)| q8_0(x, out)),
        BlockFormat::Q4_0 => blocks.for_each(|(x, out)| around_zero(x, out, 8)),
        BlockFormat::Q5_0 => blocks.for_each(|(x, out)| around_zero(x, out, 16)),
        BlockFormat::Q4_1 => blocks.for_each(|(x, out)| from_minimum(x, out, 15)),
        BlockFormat::Q5_1 => blocks.for_each(|(x, out)| from_minimum(x, out, 31)),
        BlockFormat::Q4_K => blocks.for_each(|(x, out)| encode_k::q4_k(x, out)),
        BlockFormat::Q5_K => blocks.for_each(|(x, out)| encode_k::q5_k(x, out)),
        BlockFormat::Q6_K => blocks.for_each(|(x, out)| encode_k::q6_k(x, out)),
        BlockFormat::Q2_K | BlockFormat::Q3_K => unreachable!("refused before"),
    }
}

/// Writes a half and gives back what a reader will see.
pub(super) fn put_half(out: &mut [u8], at: usize, value: f32) -> f32 {
    let half = f16::from_f32(value);
    out[at..at + 2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn q8_0(x: &[f32], out: &mut [u8]) {
    let scale = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0;
    let inverse = inverse(scale);
    put_half(out, 0, scale);
    for (out, x) in out[2..].iter_mut().zip(x) {
        *out = ((x * inverse).round() as i8).cast_unsigned();
    }
}

/// Q4_0 and Q5_0: the element of the largest size becomes the most negative level, `-middle`.
fn around_zero(x: &[f32], out: &mut [u8], middle: u8) {
    let largest = x.iter().fold(0.0f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    let scale = largest / -f32::from(middle);
    let inverse = inverse(scale);
    put_half(out, 0, scale);
    let level = |x: f32| ((x * inverse + (f32::from(middle) + 0.5)) as u8).min(2 * middle - 1);
    levels(x, &mut out[2..], middle == 16, level);
}

/// Q4_1 and Q5_1: levels count up from the smallest element.
fn from_minimum(x: &[f32], out: &mut [u8], top: u8) {
    let minimum = x.iter().copied().fold(f32::INFINITY, f32::min);
    let maximum = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (maximum - minimum) / f32::from(top);
    let inverse = inverse(scale);
    put_half(out, 0, scale);
    put_half(out, 2, minimum);
    levels(x, &mut out[4..], top == 31, |x| (((x - minimum) * inverse + 0.5) as u8).min(top));
}

/// Low four bits of the levels in sixteen bytes, behind the fifth bits where there are any.
fn levels(x: &[f32], out: &mut [u8], five_bits: bool, level: impl Fn(f32) -> u8) {
    let (high_bits, low_bits) = out.split_at_mut(if five_bits { 4 } else { 0 });
    let mut high = 0u32;
    for i in 0..16 {
        let (first, second) = (level(x[i]), level(x[16 + i]));
        low_bits[i] = first & 15 | second << 4;
        high |= u32::from(first >> 4) << i | u32::from(second >> 4) << (16 + i);
    }
    if five_bits {
        high_bits.copy_from_slice(&high.to_le_bytes());
    }
}
