//! Linear layer: `y = x Wᵀ + b`.

use crate::{
    matmul::{Matrix, Product, multiply, multiply_sum},
    parallel::{for_each_chunk, rows_per_chunk, sum_of_parts},
    profile::timed,
    simd::{Kernel, dispatch},
    tape::{apply2, apply3},
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor, bail};

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[out, in]`, as PyTorch's `nn.Linear`.
    OutputByInput,
    /// `[in, out]`, as GPT-2's `Conv1D`.
    InputByOutput,
}

impl WeightLayout {
    /// (in, out) of a weight.
    pub(crate) fn dims(self, weight: &Tensor) -> Result<(usize, usize)> {
        let (first, second) = weight.dims2()?;
        Ok(match self {
            Self::OutputByInput => (second, first),
            Self::InputByOutput => (first, second),
        })
    }

    /// The weight as an `[in, out]` matrix.
    pub(crate) fn input_by_output(self, weight: &[f32], inputs: usize, outputs: usize) -> Matrix<'_> {
        match self {
            Self::OutputByInput => Matrix::new(weight, outputs, inputs).transposed(),
            Self::InputByOutput => Matrix::new(weight, inputs, outputs),
        }
    }

    pub(crate) fn portable(self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let y = match self {
            Self::OutputByInput => x.matmul(&weight.t()?)?,
            Self::InputByOutput => x.matmul(weight)?,
        };
        bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
    }
}

/// `x` `[N, in]` times the weight, plus the bias `[out]`. A gradient is computed for each argument that is tracked.
///
/// # Errors
/// Where the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
    check(x, weight, bias, layout)?;
    if !fused(&[x, weight]) {
        return layout.portable(x, weight, bias);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => apply2(&x, &weight, Linear(layout)),
        Some(bias) => apply3(&x, &weight, &bias.contiguous()?, Linear(layout)),
    }
}

pub(crate) fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<()> {
    let (inputs, outputs) = layout.dims(weight)?;
    if x.dims2()?.1 != inputs || bias.is_some_and(|bias| bias.dims() != [outputs]) {
        bail!(
            "linear: expected x of shape [N, {inputs}] and bias of shape [{outputs}], found {:?} and {:?}",
            x.dims(),
            bias.map(Tensor::dims)
        );
    }
    Ok(())
}

/// Adds the bias to each row of `y`.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    for_each_chunk(y, rows_per_chunk(bias.len()) * bias.len(), |_, y| dispatch(AddBias { y, bias }));
}

struct AddBias<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            row.iter_mut().zip(self.bias).for_each(|(y, bias)| *y += bias);
        }
    }
}

/// The sum of the rows of `grad`, by fixed chunks of rows.
pub(crate) fn sum_of_rows(grad: &[f32], columns: usize) -> Vec<f32> {
    let chunk = rows_per_chunk(columns) * columns;
    sum_of_parts(grad.len().div_ceil(chunk.max(1)), columns, |index, total| {
        let rows = &grad[index * chunk..(index * chunk + chunk).min(grad.len())];
        dispatch(SumRows { rows, total });
    })
}

struct SumRows<'a> {
    rows: &'a [f32],
    total: &'a mut [f32],
}

impl Kernel for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.rows.chunks_exact(self.total.len()) {
            self.total.iter_mut().zip(row).for_each(|(total, value)| *total += value);
        }
    }
}

struct Linear(WeightLayout);

impl Linear {
    fn forward(
        &self,
        x: &[f32],
        lx: &Layout,
        weight: &[f32],
        lw: &Layout,
        bias: Option<&[f32]>,
    ) -> (CpuStorage, Shape) {
        let _timer = timed("linear", false);
        let (rows, inputs) = (lx.dims()[0], lx.dims()[1]);
        let outputs = lw.shape().elem_count() / inputs.max(1);
        let rhs = self.0.input_by_output(weight, inputs, outputs);
        let y = multiply_sum(Product { lhs: Matrix::new(x, rows, inputs), rhs, scale: 1.0 }, None, bias);
        storage(y, (rows, outputs))
    }

    fn backward(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("linear", true);
        let ((rows, inputs), outputs) = (x.dims2()?, grad.dim(D::Minus1)?);
        let (xs, ws, gs) = (Floats::of(x)?, Floats::of(weight)?, Floats::of(grad)?);
        let (x_matrix, grad_matrix) = (Matrix::new(&xs, rows, inputs), Matrix::new(&gs, rows, outputs));
        let grad_x = x.track_op().then(|| {
            let weight = self.0.input_by_output(&ws, inputs, outputs);
            tensor(multiply(grad_matrix, weight.transposed()), x)
        });
        let grad_weight = weight.track_op().then(|| {
            let product = match self.0 {
                WeightLayout::OutputByInput => multiply(grad_matrix.transposed(), x_matrix),
                WeightLayout::InputByOutput => multiply(x_matrix.transposed(), grad_matrix),
            };
            tensor(product, weight)
        });
        Ok((grad_x.transpose()?, grad_weight.transpose()?))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(floats(x, lx)?, lx, floats(weight, lw)?, lw, None))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, weight, &grad.contiguous()?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(floats(x, lx)?, lx, floats(weight, lw)?, lw, Some(floats(bias, lb)?)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (grad_x, grad_weight) = self.backward(x, weight, &grad)?;
        let grad_bias = bias.track_op().then(|| tensor(sum_of_rows(&Floats::of(&grad)?, bias.elem_count()), bias));
        Ok((grad_x, grad_weight, grad_bias.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    const LAYOUTS: [WeightLayout; 2] = [WeightLayout::OutputByInput, WeightLayout::InputByOutput];

    fn weight(layout: WeightLayout, inputs: usize, outputs: usize) -> Tensor {
        match layout {
            WeightLayout::OutputByInput => random(&[outputs, inputs], 2),
            WeightLayout::InputByOutput => random(&[inputs, outputs], 2),
        }
    }

    #[test]
    fn agrees_with_the_plain_formula() {
        for layout in LAYOUTS {
            for (rows, inputs, outputs) in [(1, 1, 1), (3, 5, 7), (70, 96, 33), (300, 128, 64), (0, 4, 5)] {
                let (x, weight, bias) =
                    (random(&[rows, inputs], 1), weight(layout, inputs, outputs), random(&[outputs], 3));
                Check::new(|t| linear(&t[0], &t[1], Some(&t[2]), layout))
                    .with_plain(|t| layout.portable(&t[0], &t[1], Some(&t[2])))
                    .run(&[x.clone(), weight.clone(), bias.clone()]);
                Check::new(|t| linear(&t[0], &t[1], None, layout))
                    .with_plain(|t| layout.portable(&t[0], &t[1], None))
                    .constants(1)
                    .run(&[x, weight]);
            }
        }
    }
}
