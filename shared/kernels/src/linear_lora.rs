//! Linear layer with a low-rank adapter (Hu et al. 2021): `y = x Wᵀ + b + scale · (dropout(x) Aᵀ) Bᵀ`.

use crate::{
    Dropout, FrozenWeight, WeightLayout, dropout as drop,
    frozen::check_frozen,
    linear, linear_frozen,
    matmul::{Matrix, Product, multiply, multiply_into},
    profile::timed,
    tape::apply3,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::{borrow::Cow, sync::OnceLock};

/// `x` `[N, in]` through a frozen weight and the adapter `a` `[r, in]`, `b` `[out, r]`.
///
/// The weight gets no gradient; where it is tracked all the same, the layer is composed of [`linear`] operations, which
/// give it one. The backward pass recomputes the dropout mask and keeps only `dropout(x) Aᵀ`, `[N, r]`.
///
/// # Errors
/// Where the shapes do not fit or the probability is outside `[0, 1)`.
pub fn linear_lora(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    layout: WeightLayout,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    linear_lora_frozen(x, &FrozenWeight::Full(weight.clone()), bias, layout, a, b, scale, dropout)
}

/// [`linear_lora`] for a weight in any form.
///
/// # Errors
/// Where the shapes do not fit or the probability is outside `[0, 1)`.
pub fn linear_lora_frozen(
    x: &Tensor,
    weight: &FrozenWeight,
    bias: Option<&Tensor>,
    layout: WeightLayout,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let ((inputs, outputs), rank) = (check_frozen(x, weight, bias, layout)?, a.dims2()?.0);
    if a.dims() != [rank, inputs] || b.dims() != [outputs, rank] {
        bail!(
            "linear_lora: expected a of shape [r, {inputs}] and b of shape [{outputs}, r], found {:?} and {:?}",
            a.dims(),
            b.dims()
        );
    }
    let dropout = dropout.filter(|dropout| dropout.probability != 0.0);
    dropout.map_or(Ok(()), |dropout| dropout.check())?;
    if !fused(&[x, a, b]) || !weight.fused() || bias.is_some_and(Tensor::track_op) {
        return composed(x, weight, bias, layout, a, b, scale, dropout);
    }
    let op = LinearLora {
        weight: match weight {
            FrozenWeight::Full(tensor) => FrozenWeight::Full(tensor.contiguous()?),
            held => held.clone(),
        },
        bias: bias.map(Tensor::contiguous).transpose()?,
        layout,
        scale,
        dropout,
        low_rank: OnceLock::new(),
    };
    apply3(&x.contiguous()?, &a.contiguous()?, &b.contiguous()?, op)
}

fn composed(
    x: &Tensor,
    weight: &FrozenWeight,
    bias: Option<&Tensor>,
    layout: WeightLayout,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let dropped = dropout.map_or(Ok(x.clone()), |dropout| drop(x, dropout))?;
    let low_rank = linear(&dropped, a, None, WeightLayout::OutputByInput)?;
    let adapted = linear(&low_rank, b, None, WeightLayout::OutputByInput)?;
    linear_frozen(x, weight, bias, layout)? + (adapted * f64::from(scale))?
}

struct LinearLora {
    weight: FrozenWeight,
    bias: Option<Tensor>,
    layout: WeightLayout,
    scale: f32,
    dropout: Option<Dropout>,
    /// `dropout(x) Aᵀ`, from the forward pass for the backward pass.
    low_rank: OnceLock<Vec<f32>>,
}

impl LinearLora {
    fn dropped<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        self.dropout.map_or(Cow::Borrowed(x), |dropout| Cow::Owned(dropout.apply(x)))
    }
}

impl CustomOp3 for LinearLora {
    fn name(&self) -> &'static str {
        "linear_lora"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("linear_lora", false);
        let (rows, inputs) = (lx.dims()[0], lx.dims()[1]);
        let (outputs, rank) = (lb.dims()[0], lb.dims()[1]);
        let (x, a, b) = (floats(x, lx)?, floats(a, la)?, floats(b, lb)?);
        let low_rank = multiply(Matrix::new(&self.dropped(x), rows, inputs), Matrix::new(a, rank, inputs).transposed());
        let change = Product {
            lhs: Matrix::new(&low_rank, rows, rank),
            rhs: Matrix::new(b, outputs, rank).transposed(),
            scale: self.scale,
        };
        let bias = self.bias.as_ref().map(Floats::of).transpose()?;
        let y = self.weight.multiply_sum(x, self.layout, Some(change), bias.as_deref())?;
        // A second forward pass of the same op cannot happen: the op is made anew for each call.
        self.low_rank.get_or_init(|| low_rank);
        Ok(storage(y, (rows, outputs)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("linear_lora", true);
        let ((rows, inputs), (outputs, rank)) = (x.dims2()?, b.dims2()?);
        let grad = grad.contiguous()?;
        let (xs, gs) = (Floats::of(x)?, Floats::of(&grad)?);
        let (a_values, b_values) = (Floats::of(a)?, Floats::of(b)?);
        let grad_matrix = Matrix::new(&gs, rows, outputs);
        let low_rank = self.low_rank.get().expect("the forward pass ran before the backward pass");

        // Gradient of `dropout(x) Aᵀ`.
        let mut grad_low_rank = vec![0.0; rows * rank];
        multiply_into(&mut grad_low_rank, grad_matrix, Matrix::new(&b_values, outputs, rank), self.scale);
        let grad_low_rank = Matrix::new(&grad_low_rank, rows, rank);

        let grad_b = b.track_op().then(|| {
            // Its transpose has few rows, so that the large gradient is read once, where it lies.
            let mut by_rank = vec![0.0; outputs * rank];
            multiply_into(&mut by_rank, Matrix::new(low_rank, rows, rank).transposed(), grad_matrix, 1.0);
            let grad_b = (0..outputs * rank).map(|at| by_rank[at % rank * outputs + at / rank] * self.scale);
            tensor(grad_b.collect(), b)
        });
        let grad_a = a.track_op().then(|| {
            let dropped = self.dropped(&xs);
            tensor(multiply(grad_low_rank.transposed(), Matrix::new(&dropped, rows, inputs)), a)
        });
        let grad_x = x.track_op().then(|| {
            let down = Matrix::new(&a_values, rank, inputs);
            let grad_x = match self.dropout {
                None => {
                    let through_adapter = Product { lhs: grad_low_rank, rhs: down, scale: 1.0 };
                    self.weight.multiply_gradient(&gs, self.layout, Some(through_adapter))?
                }
                Some(dropout) => {
                    let mut grad_x = self.weight.multiply_gradient(&gs, self.layout, None)?;
                    dropout.add_to(&multiply(grad_low_rank, down), &mut grad_x);
                    grad_x
                }
            };
            tensor(grad_x, x)
        });
        Ok((grad_x.transpose()?, grad_a.transpose()?, grad_b.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};
    use candle_core::Var;

    #[test]
    fn agrees_with_the_composition() {
        let dropped = Dropout { probability: 0.25, seed: 9 };
        for layout in [WeightLayout::OutputByInput, WeightLayout::InputByOutput] {
            for dropout in [None, Some(dropped)] {
                for (rows, inputs, outputs, rank) in [(1, 2, 3, 1), (50, 33, 65, 4), (300, 128, 96, 16)] {
                    let weight = match layout {
                        WeightLayout::OutputByInput => random(&[outputs, inputs], 4),
                        WeightLayout::InputByOutput => random(&[inputs, outputs], 4),
                    };
                    let bias = random(&[outputs], 5);
                    let held = |t: &Tensor| FrozenWeight::Full(t.clone());
                    Check::new(|t| linear_lora(&t[0], &t[3], Some(&t[4]), layout, &t[1], &t[2], 0.5, dropout))
                        .with_plain(|t| composed(&t[0], &held(&t[3]), Some(&t[4]), layout, &t[1], &t[2], 0.5, dropout))
                        .constants(2)
                        .run(&[
                            random(&[rows, inputs], 1),
                            random(&[rank, inputs], 2),
                            random(&[outputs, rank], 3),
                            weight,
                            bias,
                        ]);
                }
            }
        }
    }

    #[test]
    fn a_tracked_weight_gets_a_gradient() {
        let weight = Var::from_tensor(&random(&[3, 2], 1)).unwrap();
        let (x, a, b) = (random(&[4, 2], 2), random(&[1, 2], 3), random(&[3, 1], 4));
        let y = linear_lora(&x, &weight, None, WeightLayout::OutputByInput, &a, &b, 1.0, None).unwrap();
        assert!(y.sum_all().unwrap().backward().unwrap().get(&weight).is_some());
    }
}
