//! Known answers from the `gguf` package and from bitsandbytes (`tests/data/make_stored.py` made them), and properties of
//! every format.

use super::*;
use crate::testing::numbers;
use proptest::prelude::*;

/// Reads the little file of known answers: for each line a name and hexadecimal bytes.
fn known(name: &str) -> Vec<u8> {
    let text = include_str!("../../tests/data/stored.txt");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a line of that name");
    (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn floats(name: &str) -> Vec<f32> {
    known(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn widening_equals_gguf_to_the_bit() {
    for format in BlockFormat::ALL.into_iter().filter(|format| *format != BlockFormat::F32) {
        let (bytes, expected) =
            (known(&format!("{}.bytes", format.name())), floats(&format!("{}.values", format.name())));
        let mut found = vec![0.0; expected.len()];
        format.decode(&bytes, &mut found);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&expected), "{}", format.name());
    }
}

#[test]
fn each_half_is_widened_as_the_library_does() {
    let halves: Vec<half::f16> = (0..=u16::MAX).map(half::f16::from_bits).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let mut found = vec![0.0; halves.len()];
    BlockFormat::F16.decode(&bytes, &mut found);
    for (found, half) in found.iter().zip(halves) {
        let expected = half.to_f32();
        assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{found} for {half:?}");
    }
}

#[test]
fn encoding_equals_gguf_to_the_byte() {
    let values = floats("encode.values");
    for format in ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"] {
        let which = BlockFormat::ALL.into_iter().find(|known| known.name() == format).unwrap();
        assert_eq!(which.encode(&values).unwrap(), known(&format!("encode.{format}")), "{format}");
    }
}

#[test]
fn nf4_equals_bitsandbytes() {
    let values = floats("nf4.values");
    let shape = (values.len() / 96, 96);
    let matrix = Nf4::encode(shape, &values);
    assert_eq!(matrix.packed, known("nf4.packed"));
    assert_eq!(matrix.scales, known("nf4.absmax"));
    let parts = (known("nf4.packed"), known("nf4.absmax"), floats("nf4.nested_absmax"), floats("nf4.offset")[0]);
    assert!((matrix.offset - parts.3).abs() <= 1e-6 * parts.3);
    let theirs = StoredMatrix::Nf4(Nf4::from_parts(shape, parts.0, parts.1, parts.2, parts.3));
    let mut found = vec![0.0; values.len()];
    theirs.widen_into(&mut found);
    assert_eq!(found, floats("nf4.dequantized"));
    // Rows apart, where rows are no whole blocks.
    let mut row = vec![0.0; 96];
    theirs.widen_rows(3..4, &mut row);
    assert_eq!(row, found[3 * 96..4 * 96]);
}

#[test]
fn nf4_of_odd_counts_and_zeros() {
    let matrix = StoredMatrix::Nf4(Nf4::encode((3, 5), &[0.0; 15]));
    assert_eq!(matrix.to_tensor().unwrap().to_vec2::<f32>().unwrap(), [[0.0; 5]; 3]);
    let values = numbers(7 * 13, 3);
    let matrix = StoredMatrix::Nf4(Nf4::encode((7, 13), &values));
    let all = matrix.to_tensor().unwrap().to_vec2::<f32>().unwrap();
    let mut row = vec![0.0; 2 * 13];
    matrix.widen_rows(5..7, &mut row);
    assert_eq!(row, all[5..].concat());
    for (found, value) in all.concat().iter().zip(&values) {
        assert!((found - value).abs() < 0.17, "{found} for {value}");
    }
}

/// Half the widest step between levels, relative to the largest element, that a format may be off by.
fn tolerance(format: BlockFormat) -> f32 {
    match format {
        BlockFormat::F32 => 0.0,
        BlockFormat::F16 => 5e-4,
        BlockFormat::BF16 => 4e-3,
        BlockFormat::Q8_0 => 4.5e-3,
        BlockFormat::Q6_K => 0.05,
        BlockFormat::Q5_0 | BlockFormat::Q5_1 | BlockFormat::Q5_K => 0.07,
        _ => 0.14,
    }
}

/// What the rounding of a small scale to a half with its fixed smallest step may add.
fn of_small_scales(format: BlockFormat) -> f32 {
    let levels = match format {
        BlockFormat::F32 | BlockFormat::BF16 => 0.0,
        BlockFormat::F16 => 1.0,
        BlockFormat::Q8_0 => 127.0,
        BlockFormat::Q6_K => 128.0 * 32.0,
        BlockFormat::Q5_K => 63.0 * 31.0 * 2.0,
        BlockFormat::Q4_K => 63.0 * 15.0 * 2.0,
        _ => 32.0,
    };
    levels * 2f32.powi(-25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_encoded_is_near(seed in 1u64..1000, scale in -4i32..3, blocks in 1usize..5) {
        for format in BlockFormat::ALL.into_iter().filter(|format| format.can_encode()) {
            let size = 10f32.powi(scale);
            let values: Vec<f32> = numbers(blocks * 256, seed).iter().map(|value| value * size).collect();
            let matrix = StoredMatrix::encode(format, (blocks, 256), &values).unwrap();
            let mut found = vec![0.0; values.len()];
            matrix.widen_into(&mut found);
            for (found, value) in found.iter().zip(&values) {
                let allowed = tolerance(format) * size * 1.05 + of_small_scales(format);
                prop_assert!((found - value).abs() <= allowed, "{}: {found} for {value}", format.name());
            }
        }
    }
}

#[test]
fn constant_zero_and_one_sided_blocks_are_kept() {
    for format in BlockFormat::ALL.into_iter().filter(|format| format.can_encode()) {
        for value in [0.0, 1.0, -1.0, 1e-3] {
            let values = vec![value; 256];
            let mut found = vec![9.0; 256];
            format.decode(&format.encode(&values).unwrap(), &mut found);
            for found in found {
                let allowed = 0.02 * f32::abs(value) + of_small_scales(format);
                assert!((found - value).abs() <= allowed, "{}: {found} for {value}", format.name());
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let message = StoredMatrix::encode(BlockFormat::Q8_0, (2, 33), &[0.0; 66]).unwrap_err().to_string();
    assert!(message.contains("33") && message.contains("Q8_0"), "{message}");
    let message = StoredMatrix::from_bytes(BlockFormat::F16, (2, 3), vec![0; 11]).unwrap_err().to_string();
    assert!(message.contains("12 bytes, found 11"), "{message}");
    assert!(BlockFormat::Q2_K.encode(&[0.0; 256]).unwrap_err().to_string().contains("read and not written"));
}
