//! A weight for which no gradient is computed, in the form it is held in, and the linear layer through it.

use crate::{
    Int8Matrix, StoredMatrix, WeightLayout,
    matmul::{Matrix, Product, multiply_sum},
    parallel::{build, rows_per_chunk},
    profile::timed,
    tape::apply1,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::{ops::Deref, sync::Arc};

/// A weight without a gradient.
#[derive(Clone, Debug)]
pub enum FrozenWeight {
    /// In full.
    Full(Tensor),
    /// In fewer bits, widened where it is used.
    Stored(Arc<StoredMatrix>),
    /// In 8 bits, in which is also computed.
    Int8(Arc<Int8Matrix>),
}

impl FrozenWeight {
    /// Its two dimensions, as they lie in memory.
    ///
    /// # Errors
    /// Where it is a tensor that is no matrix.
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Full(tensor) => tensor.dims2(),
            Self::Stored(matrix) => Ok(matrix.dims()),
            Self::Int8(matrix) => Ok(matrix.dims()),
        }
    }

    /// All of it as a tensor.
    ///
    /// # Errors
    /// Where a tensor cannot be made.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match self {
            Self::Full(tensor) => Ok(tensor.detach()),
            Self::Stored(matrix) => matrix.to_tensor(),
            Self::Int8(matrix) => matrix.to_tensor(),
        }
    }

    /// Number of its elements.
    pub fn elem_count(&self) -> usize {
        match self {
            Self::Full(tensor) => tensor.elem_count(),
            Self::Stored(matrix) => matrix.dims().0 * matrix.dims().1,
            Self::Int8(matrix) => matrix.dims().0 * matrix.dims().1,
        }
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Full(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Self::Stored(matrix) => matrix.bytes(),
            Self::Int8(matrix) => matrix.bytes(),
        }
    }

    /// The name of its format.
    pub fn format_name(&self) -> &'static str {
        match self {
            Self::Full(_) => "F32",
            Self::Stored(matrix) => matrix.format_name(),
            Self::Int8(_) => "INT8",
        }
    }

    /// Whether it can be computed with by the kernels here: a tensor must be `f32` on the CPU, without a gradient.
    pub(crate) fn fused(&self) -> bool {
        match self {
            Self::Full(tensor) => fused(&[tensor]) && !tensor.track_op(),
            Self::Stored(_) | Self::Int8(_) => true,
        }
    }

    /// (in, out).
    pub(crate) fn in_and_out(&self, layout: WeightLayout) -> Result<(usize, usize)> {
        let (first, second) = self.dims()?;
        Ok(match layout {
            WeightLayout::OutputByInput => (second, first),
            WeightLayout::InputByOutput => (first, second),
        })
    }

    /// `x W` for `x` `[N, in]`, plus a product over a short inner dimension, plus a bias to each row.
    pub(crate) fn multiply_sum(
        &self,
        x: &[f32],
        layout: WeightLayout,
        short: Option<Product>,
        bias: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let (inputs, outputs) = self.in_and_out(layout)?;
        if let Self::Int8(matrix) = self {
            return Ok(matrix.multiply_sum(x, bias, short));
        }
        let weight = self.widened()?;
        let rhs = layout.input_by_output(&weight, inputs, outputs);
        Ok(multiply_sum(Product { lhs: by_rows(x, inputs), rhs, scale: 1.0 }, short, bias))
    }

    /// `grad Wᵀ` for `grad` `[N, out]`, plus a product over a short inner dimension.
    pub(crate) fn multiply_gradient(
        &self,
        grad: &[f32],
        layout: WeightLayout,
        short: Option<Product>,
    ) -> Result<Vec<f32>> {
        let (inputs, outputs) = self.in_and_out(layout)?;
        if let Self::Int8(matrix) = self {
            return Ok(matrix.multiply_gradient(grad, short));
        }
        let weight = self.widened()?;
        let rhs = layout.input_by_output(&weight, inputs, outputs).transposed();
        Ok(multiply_sum(Product { lhs: by_rows(grad, outputs), rhs, scale: 1.0 }, short, None))
    }

    /// Its numbers in `f32`, for the time of one product.
    pub(crate) fn widened(&self) -> Result<Widened<'_>> {
        Ok(match self {
            Self::Full(tensor) => Widened::Borrowed(Floats::of(tensor)?),
            Self::Stored(matrix) => {
                let (rows, columns) = matrix.dims();
                let some = rows_per_chunk(columns);
                Widened::Owned(build(rows * columns, some * columns, |index, part| {
                    let first = index * some;
                    matrix.widen_rows(first..first + part.len() / columns, part);
                }))
            }
            Self::Int8(matrix) => Widened::Owned(matrix.to_tensor()?.flatten_all()?.to_vec1()?),
        })
    }
}

impl From<Tensor> for FrozenWeight {
    fn from(tensor: Tensor) -> Self {
        Self::Full(tensor)
    }
}

fn by_rows(values: &[f32], columns: usize) -> Matrix<'_> {
    Matrix::new(values, values.len().checked_div(columns).unwrap_or(0), columns)
}

/// The numbers of a weight in `f32`.
pub(crate) enum Widened<'a> {
    Borrowed(Floats<'a>),
    Owned(Vec<f32>),
}

impl Deref for Widened<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(floats) => floats,
            Self::Owned(values) => values,
        }
    }
}

pub(crate) fn check_frozen(
    x: &Tensor,
    weight: &FrozenWeight,
    bias: Option<&Tensor>,
    layout: WeightLayout,
) -> Result<(usize, usize)> {
    let (inputs, outputs) = weight.in_and_out(layout)?;
    if x.dims2()?.1 != inputs || bias.is_some_and(|bias| bias.dims() != [outputs]) {
        bail!(
            "linear: expected x of shape [N, {inputs}] and bias of shape [{outputs}], found {:?} and {:?}",
            x.dims(),
            bias.map(Tensor::dims)
        );
    }
    Ok((inputs, outputs))
}

/// `x` `[N, in]` through a frozen weight, plus the bias `[out]`. Only `x` gets a gradient.
///
/// # Errors
/// Where the shapes do not fit.
pub fn linear_frozen(x: &Tensor, weight: &FrozenWeight, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
    let (inputs, _) = check_frozen(x, weight, bias, layout)?;
    let FrozenWeight::Full(tensor) = weight else {
        if !fused(&[x]) || inputs == 0 {
            let widened = weight.to_tensor()?.to_device(x.device())?.to_dtype(x.dtype())?;
            return layout.portable(x, &widened, bias);
        }
        let op = LinearFrozen { weight: weight.clone(), bias: bias.map(Tensor::contiguous).transpose()?, layout };
        return apply1(&x.contiguous()?, op);
    };
    crate::linear(x, tensor, bias, layout)
}

struct LinearFrozen {
    weight: FrozenWeight,
    bias: Option<Tensor>,
    layout: WeightLayout,
}

impl CustomOp1 for LinearFrozen {
    fn name(&self) -> &'static str {
        "linear_frozen"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, outputs) = (layout.dims()[0], self.weight.in_and_out(self.layout)?.1);
        let _timer = timed("linear", false);
        let bias = self.bias.as_ref().map(Floats::of).transpose()?;
        let y = self.weight.multiply_sum(floats(x, layout)?, self.layout, None, bias.as_deref())?;
        Ok(storage(y, (rows, outputs)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let _timer = timed("linear", true);
        let grad = grad.contiguous()?;
        let grad_x = self.weight.multiply_gradient(&Floats::of(&grad)?, self.layout, None)?;
        Ok(Some(tensor(grad_x, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BlockFormat, Nf4,
        linear_decode::linear_rows_independent_frozen,
        testing::{Check, close, random},
    };

    fn stored(format: Option<BlockFormat>, shape: (usize, usize), seed: u64) -> FrozenWeight {
        let values = random(&[shape.0, shape.1], seed).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        FrozenWeight::Stored(Arc::new(match format {
            Some(format) => StoredMatrix::encode(format, shape, &values).unwrap(),
            None => StoredMatrix::Nf4(Nf4::encode(shape, &values)),
        }))
    }

    fn formats() -> impl Iterator<Item = Option<BlockFormat>> {
        BlockFormat::ALL.into_iter().filter(|format| format.can_encode()).map(Some).chain([None])
    }

    #[test]
    fn equals_the_widened_weight_to_the_bit_and_finite_differences() {
        for layout in [WeightLayout::OutputByInput, WeightLayout::InputByOutput] {
            for format in formats() {
                let shape = (256, 256);
                let weight = stored(format, shape, 2);
                let (x, bias, full) = (random(&[9, 256], 1), random(&[256], 3), weight.to_tensor().unwrap());
                let bits = |y: Tensor| y.to_vec2::<f32>().unwrap();
                assert_eq!(
                    bits(linear_frozen(&x, &weight, Some(&bias), layout).unwrap()),
                    bits(crate::linear(&x, &full, Some(&bias), layout).unwrap())
                );
                assert_eq!(
                    bits(linear_rows_independent_frozen(&x, &weight, Some(&bias), layout).unwrap()),
                    bits(crate::linear_rows_independent(&x, &full, Some(&bias), layout).unwrap())
                );
                let full = &full;
                Check::new(|t| linear_frozen(&t[0], &weight, Some(&bias), layout))
                    .with_plain(|t| {
                        let like = |tensor: &Tensor| tensor.to_dtype(t[0].dtype());
                        layout.portable(&t[0], &like(full)?, Some(&like(&bias)?))
                    })
                    .run(&[x]);
            }
        }
    }

    #[test]
    fn eight_bits_are_near_with_a_gradient() {
        let full = random(&[96, 64], 2);
        let values = full.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let weight =
            FrozenWeight::Int8(Arc::new(Int8Matrix::encode(WeightLayout::OutputByInput, (96, 64), &values).unwrap()));
        let layout = WeightLayout::OutputByInput;
        let x = candle_core::Var::from_tensor(&random(&[20, 64], 1)).unwrap();
        let run = |y: Tensor| {
            let gradients = (&y * random(&[20, 96], 5)).unwrap().sum_all().unwrap().backward().unwrap();
            (y.detach(), gradients.get(&x).unwrap().clone())
        };
        let (y, grad) = run(linear_frozen(&x, &weight, None, layout).unwrap());
        let (expected, expected_grad) = run(crate::linear(&x, &full, None, layout).unwrap());
        close(&y, &expected, 0.02);
        close(&grad, &expected_grad, 0.02);
        let independent = linear_rows_independent_frozen(&x, &weight, None, layout).unwrap();
        assert_eq!(independent.to_vec2::<f32>().unwrap(), y.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let weight = stored(Some(BlockFormat::Q8_0), (3, 32), 1);
        let message =
            linear_frozen(&random(&[2, 31], 1), &weight, None, WeightLayout::OutputByInput).unwrap_err().to_string();
        assert!(message.contains("[N, 32]"), "{message}");
    }
}
