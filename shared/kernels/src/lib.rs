//! Each operation of a decoder forward beside backward, as candle custom ops.
//!
//! There is no padding anywhere: a batch is the flat concatenation of its tokens, `N` rows in all, and [`Segments`] says
//! which rows belong together. `f32` tensors on the CPU take the fused path written here; every other type or device
//! takes the same formula in differentiable candle operations, which is also the oracle of the tests.
//!
//! Invariant: no result depends on the number of threads. Work is cut into chunks whose size is a function of the shape
//! alone, each element of a result is written by one chunk, and partial sums are added in the order of the chunks.

mod activation;
mod adamw;
#[cfg(test)]
mod any_shape;
mod attention;
mod columns;
mod cross_entropy;
mod dora;
mod dropout;
mod embedding;
mod frozen;
mod int8;
mod layer_norm;
mod linear;
mod linear_decode;
mod linear_lora;
mod matmul;
mod numeric;
mod parallel;
mod peak;
mod product;
mod profile;
mod rms_norm;
mod rotary;
mod segments;
mod simd;
mod split_columns;
mod stored;
mod sum_of_squares;
mod tape;
mod tensors;
#[cfg(test)]
mod testing;
mod values;

pub use activation::{Activation, activate, gated};
pub use adamw::{AdamWStep, adamw_update};
pub use attention::{AttentionOptions, CachedSequence, append_keys, attention, attention_decode};
pub use columns::{add_to_columns, scale_columns};
pub use cross_entropy::{CrossEntropy, CrossEntropyOptions, cross_entropy, cross_entropy_int8, logit_rows};
pub use dora::{adapted_lengths, weight_square_sums};
pub use dropout::{Dropout, dropout};
pub use embedding::embedding;
pub use frozen::{FrozenWeight, linear_frozen};
pub use int8::Int8Matrix;
pub use layer_norm::layer_norm;
pub use linear::{WeightLayout, linear};
pub use linear_decode::{linear_rows_independent, linear_rows_independent_frozen};
pub use linear_lora::{linear_lora, linear_lora_frozen};
pub use peak::multiply_add_peak;
pub use profile::{OperationTime, profile};
pub use rms_norm::rms_norm;
pub use rotary::{RotaryStyle, rotary};
pub use segments::Segments;
pub use split_columns::split_columns;
pub use stored::{BlockFormat, Nf4, StoredMatrix};
pub use sum_of_squares::sum_of_squares;
pub use tape::{Tape, divide, record, reshape, scale, sum};
pub use tensors::append_rows;
pub use values::{add_into, leaf, refill, release};
