//! GGUF files (llama.cpp, `docs/gguf.md`): metadata and tensors in one file, read by memory mapping and written as a stream.
//! As in [`crate::weights`], a tensor is a type, a shape and bytes; what the bytes of a type mean is known elsewhere.

mod read;
mod value;
mod write;

pub use read::{Gguf, GgufTensor};
pub use value::{GgufValue, Metadata};
pub use write::{TensorToWrite, write_gguf};

/// How an element type lies in memory: its number in the format, its name, elements and bytes of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgmlType {
    /// The number that files hold.
    pub number: u32,
    /// GGML's name.
    pub name: &'static str,
    /// Elements of one block.
    pub block: usize,
    /// Bytes of one block.
    pub bytes: usize,
}

/// The types that tensors in files have (`enum ggml_type`); numbers that are missing here were withdrawn.
const TYPES: [(u32, &str, usize, usize); 32] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 40),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
];

impl GgmlType {
    /// The type of a number.
    pub fn of_number(number: u32) -> Option<Self> {
        TYPES.iter().find(|entry| entry.0 == number).map(Self::of_entry)
    }

    /// The type of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|entry| entry.1 == name).map(Self::of_entry)
    }

    fn of_entry(&(number, name, block, bytes): &(u32, &'static str, usize, usize)) -> Self {
        Self { number, name, block, bytes }
    }

    /// Bytes of a tensor, row-major: rows are whole blocks, and sizes that overflow are no sizes.
    pub fn tensor_bytes(&self, shape: &[usize]) -> Option<usize> {
        let row = shape.last().copied().unwrap_or(1);
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size))?;
        row.is_multiple_of(self.block).then_some(())?;
        (count / self.block).checked_mul(self.bytes)
    }
}

/// What data is aligned to where the file does not say otherwise.
const ALIGNMENT: usize = 32;
/// The key under which a file says otherwise.
const ALIGNMENT_KEY: &str = "general.alignment";

#[cfg(test)]
mod tests;
