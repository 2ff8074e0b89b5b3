//! The lengths that DoRA divides by (Liu et al. 2024, arXiv:2402.09353): of each output's row of `W + scale·B·A`.
//!
//! They are found without ever holding `B·A`, which is as large as the weight:
//! `‖w + s·b·A‖² = ‖w‖² + 2s·(w·Aᵀ)·b + s²·b·(A·Aᵀ)·bᵀ`, where w is a row of W and b a row of B. The product `W·Aᵀ` is
//! `[out, r]`, `‖w‖²` never changes. The paper and PEFT let no gradient through the lengths; nor do we.

use crate::{
    WeightLayout,
    columns::squared_lengths,
    matmul::{Matrix, multiply},
    tensors::{Floats, fused},
};
use candle_core::{D, DType, Result, Tensor, bail};

/// The part of the lengths that no step changes: `‖w‖²` for each output.
///
/// # Errors
/// Where the weight is not a matrix.
pub fn weight_square_sums(weight: &Tensor, layout: WeightLayout) -> Result<Vec<f64>> {
    let (_, outputs) = layout.dims(weight)?;
    let weight = weight.to_dtype(DType::F32)?.contiguous()?.to_device(&candle_core::Device::Cpu)?;
    Ok(squared_lengths(&Floats::of(&weight)?, outputs, layout == WeightLayout::OutputByInput))
}

/// The length of each output's row of `W + scale·B·A`, `[out]`, without gradient. `squares` are [`weight_square_sums`]
/// of the weight; `a` is `[r, in]`, `b` `[out, r]`.
///
/// # Errors
/// Where the shapes do not fit.
pub fn adapted_lengths(
    weight: &Tensor,
    squares: &[f64],
    layout: WeightLayout,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
) -> Result<Tensor> {
    let ((inputs, outputs), rank) = (layout.dims(weight)?, a.dims2()?.0);
    if a.dims() != [rank, inputs] || b.dims() != [outputs, rank] || squares.len() != outputs {
        bail!(
            "adapted_lengths: expected a of shape [r, {inputs}], b of shape [{outputs}, r] and {outputs} squares, found {:?}, {:?} and {}",
            a.dims(),
            b.dims(),
            squares.len()
        );
    }
    let (weight, a, b) = (weight.detach(), a.detach(), b.detach());
    if !fused(&[&weight, &a, &b]) {
        return portable(&weight, layout, &a, &b, scale);
    }
    let (weight, a, b) = (weight.contiguous()?, a.contiguous()?, b.contiguous()?);
    let (weight, a_values, b_values) = (Floats::of(&weight)?, Floats::of(&a)?, Floats::of(&b)?);
    let down = Matrix::new(&a_values, rank, inputs);
    let crossed = multiply(layout.input_by_output(&weight, inputs, outputs).transposed(), down.transposed());
    let gram = multiply(down, down.transposed());
    let scale = f64::from(scale);
    let lengths: Vec<f32> = squares
        .iter()
        .zip(b_values.chunks_exact(rank).zip(crossed.chunks_exact(rank)))
        .map(|(square, (row, crossed))| {
            let linear: f64 = row.iter().zip(crossed).map(|(&b, &w)| f64::from(b) * f64::from(w)).sum();
            let quadratic: f64 = (row.iter().zip(gram.chunks_exact(rank)))
                .map(|(&b, gram)| {
                    f64::from(b) * row.iter().zip(gram).map(|(&b, &g)| f64::from(b) * f64::from(g)).sum::<f64>()
                })
                .sum();
            (square + 2.0 * scale * linear + scale * scale * quadratic).max(0.0).sqrt() as f32
        })
        .collect();
    Tensor::from_vec(lengths, outputs, a.device())
}

/// The definition: the oracle of the tests, and what runs on other devices and types.
fn portable(weight: &Tensor, layout: WeightLayout, a: &Tensor, b: &Tensor, scale: f32) -> Result<Tensor> {
    let change = (b.matmul(a)? * f64::from(scale))?;
    let adapted = match layout {
        WeightLayout::OutputByInput => (weight + change)?,
        WeightLayout::InputByOutput => (weight.t()? + change)?,
    };
    adapted.sqr()?.sum(D::Minus1)?.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, random};

    #[test]
    fn lengths_agree_with_the_definition() {
        for (inputs, outputs, rank) in [(3, 2, 1), (33, 65, 4), (128, 96, 16)] {
            let (a, b) = (random(&[rank, inputs], 2), random(&[outputs, rank], 3));
            for layout in [WeightLayout::OutputByInput, WeightLayout::InputByOutput] {
                let weight = match layout {
                    WeightLayout::OutputByInput => random(&[outputs, inputs], 1),
                    WeightLayout::InputByOutput => random(&[inputs, outputs], 1),
                };
                let squares = weight_square_sums(&weight, layout).unwrap();
                let found = adapted_lengths(&weight, &squares, layout, &a, &b, 0.7).unwrap();
                let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
                let expected = portable(&wide(&weight), layout, &wide(&a), &wide(&b), 0.7).unwrap();
                close(&found, &expected, 1e-5);
            }
        }
    }
}
