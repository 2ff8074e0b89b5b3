//! The low-rank adapter of a linear layer: `y = x·Wᵀ + b + scale·(dropout(x)·Aᵀ)·Bᵀ` (Hu et al. 2021, arXiv:2106.09685),
//! and DoRA's form of it, in which each output is scaled to a length of its own (Liu et al. 2024, arXiv:2402.09353).

use std::sync::{Arc, Mutex};

use candle_core::Tensor;
use kernels::{Dropout, WeightLayout};

use super::linear::Linear;
use super::weight::Weight;
use crate::{Mode, ModelError, random};

/// The adapter of one linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Lora {
    /// `[r, in]`
    pub(crate) a: Weight,
    /// `[out, r]`
    pub(crate) b: Weight,
    /// `[out]`, scaled as the factors are.
    pub(crate) bias: Option<Weight>,
    pub(crate) dora: Option<Dora>,
    pub(crate) scale: f32,
    pub(crate) dropout: f32,
}

impl Lora {
    /// The output of the layer that this adapter is on.
    pub(crate) fn forward(&self, linear: &Linear, x: &Tensor, mode: Mode) -> Result<Tensor, ModelError> {
        let y = match (mode, self.dropout_of(linear, mode)) {
            (Mode::Generate, _) => self.generate(linear, x)?,
            (_, dropout) if self.dora.is_some() => self.decomposed(linear, x, dropout)?,
            (_, dropout) => self.plain(linear, x, self.frozen_bias(linear), dropout)?,
        };
        let bias = linear.bias.as_ref().map(Weight::tensor).filter(|_| self.frozen_bias(linear).is_none());
        let y = match bias {
            Some(bias) => kernels::add_to_columns(&y, bias)?,
            None => y,
        };
        match &self.bias {
            Some(bias) => Ok(kernels::add_to_columns(&y, &kernels::scale(bias.tensor(), f64::from(self.scale))?)?),
            None => Ok(y),
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.a.tensor().dims()[0]
    }

    /// Elements for each token that DoRA keeps for its backward pass: the output before it is scaled; with dropout also the
    /// scaled one and what is added to it, and both parts of the input.
    pub(crate) fn kept_by_dora(&self, linear: &Linear) -> usize {
        match &self.dora {
            None => 0,
            Some(_) if self.dropout > 0.0 => 3 * linear.output + 2 * linear.input,
            Some(_) => linear.output,
        }
    }

    /// The adapter's tensors.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let magnitude = self.dora.as_ref().map(|dora| &dora.magnitude);
        [&self.a, &self.b].into_iter().chain(&self.bias).chain(magnitude)
    }

    /// The layer's bias where it is part of the product: not one that trains, nor under DoRA, which scales the product.
    fn frozen_bias<'a>(&self, linear: &'a Linear) -> Option<&'a Tensor> {
        linear.bias.as_ref().map(Weight::tensor).filter(|bias| !bias.track_op() && self.dora.is_none())
    }

    fn dropout_of(&self, linear: &Linear, mode: Mode) -> Option<Dropout> {
        match mode {
            Mode::Train { dropout_seed } if self.dropout > 0.0 => {
                Some(Dropout { probability: self.dropout, seed: random::key(dropout_seed, &linear.name) })
            }
            _ => None,
        }
    }

    fn plain(
        &self,
        linear: &Linear,
        x: &Tensor,
        bias: Option<&Tensor>,
        dropout: Option<Dropout>,
    ) -> Result<Tensor, ModelError> {
        let (weight, a, b) = (linear.weight.held(), self.a.tensor(), self.b.tensor());
        Ok(kernels::linear_lora_frozen(x, weight, bias, linear.layout, a, b, self.scale, dropout)?)
    }

    /// `factor · (x·Wᵀ + scale·x·Aᵀ·Bᵀ)`; with dropout, as in PEFT, `x·Wᵀ − d·Wᵀ` is added for the dropped input d.
    fn decomposed(&self, linear: &Linear, x: &Tensor, dropout: Option<Dropout>) -> Result<Tensor, ModelError> {
        let factors = self.factors(linear)?;
        let Some(dropout) = dropout else {
            return Ok(kernels::scale_columns(&self.plain(linear, x, None, None)?, &factors)?);
        };
        let dropped = kernels::dropout(x, dropout)?;
        let scaled = kernels::scale_columns(&self.plain(linear, &dropped, None, None)?, &factors)?;
        let rest = kernels::linear_frozen(
            &kernels::sum(x, &kernels::scale(&dropped, -1.0)?)?,
            linear.weight.held(),
            None,
            linear.layout,
        )?;
        Ok(kernels::sum(&scaled, &rest)?)
    }

    fn generate(&self, linear: &Linear, x: &Tensor) -> Result<Tensor, ModelError> {
        let (weight, bias) = (linear.weight.held(), self.frozen_bias(linear));
        let y = kernels::linear_rows_independent_frozen(x, weight, bias, linear.layout)?;
        let factor = WeightLayout::OutputByInput;
        let low = kernels::linear_rows_independent(x, self.a.tensor(), None, factor)?;
        let change = kernels::linear_rows_independent(&low, self.b.tensor(), None, factor)?;
        let y = kernels::sum(&y, &kernels::scale(&change, f64::from(self.scale))?)?;
        if self.dora.is_some() { Ok(kernels::scale_columns(&y, &self.factors(linear)?)?) } else { Ok(y) }
    }

    /// DoRA's magnitudes over the lengths, `[out]`; a gradient reaches the magnitudes alone.
    fn factors(&self, linear: &Linear) -> Result<Tensor, ModelError> {
        let dora = self.dora.as_ref().expect("asked for under DoRA only");
        Ok(kernels::divide(dora.magnitude.tensor(), &dora.lengths(linear, self)?)?)
    }

    /// The layer's weight with the adapter folded in, in the weight's own layout: `W + scale·B·A`, under DoRA with each
    /// output scaled to its magnitude.
    pub(crate) fn merged_weight(&self, linear: &Linear) -> Result<Tensor, ModelError> {
        let (a, b) = (self.a.tensor().detach(), self.b.tensor().detach());
        let change = match linear.layout {
            WeightLayout::OutputByInput => b.matmul(&a)?,
            WeightLayout::InputByOutput => a.t()?.contiguous()?.matmul(&b.t()?.contiguous()?)?,
        };
        let merged = (linear.weight.widened()? + (change * f64::from(self.scale))?)?;
        if self.dora.is_none() {
            return Ok(merged);
        }
        let factors = self.factors(linear)?.detach();
        Ok(match linear.layout {
            WeightLayout::OutputByInput => merged.broadcast_mul(&factors.unsqueeze(1)?)?,
            WeightLayout::InputByOutput => merged.broadcast_mul(&factors)?,
        })
    }

    /// The layer's bias with the adapter's folded in; none where the adapter has none.
    pub(crate) fn merged_bias(&self, linear: &Linear) -> Result<Option<Tensor>, ModelError> {
        let Some(bias) = &self.bias else { return Ok(None) };
        let Some(base) = &linear.bias else { return Err(ModelError::NoBiasToMerge { name: linear.name.clone() }) };
        Ok(Some((base.tensor().detach() + (bias.tensor().detach() * f64::from(self.scale))?)?))
    }
}

/// DoRA's part of an adapter.
#[derive(Debug, Clone)]
pub(crate) struct Dora {
    /// The length of each output's weights, `[out]`.
    magnitude: Weight,
    known: Arc<Mutex<Known>>,
}

/// What need not be computed again.
#[derive(Debug, Default)]
struct Known {
    /// `‖w‖²` of each output; the base weight never changes.
    squares: Option<Vec<f64>>,
    /// The lengths for these factors: they change once a step, and never in generation.
    lengths: Option<(Vec<f32>, Vec<f32>, Tensor)>,
}

impl Dora {
    pub(crate) fn new(magnitude: Weight) -> Self {
        Self { magnitude, known: Arc::default() }
    }

    pub(crate) fn with_magnitude(self, magnitude: Weight) -> Self {
        Self { magnitude, ..self }
    }

    /// `‖W + scale·B·A‖` of each output, `[out]`, without gradient.
    pub(crate) fn lengths(&self, linear: &Linear, lora: &Lora) -> Result<Tensor, ModelError> {
        let values = |weight: &Weight| weight.tensor().flatten_all()?.to_vec1::<f32>();
        let (a, b) = (values(&lora.a)?, values(&lora.b)?);
        let mut known = self.known.lock().expect("no thread panics while it holds the lengths");
        if let Some((known_a, known_b, lengths)) = &known.lengths
            && (known_a, known_b) == (&a, &b)
        {
            return Ok(lengths.clone());
        }
        let (weight, layout) = (linear.weight.widened()?, linear.layout);
        let squares = match known.squares.take() {
            Some(squares) => squares,
            None => kernels::weight_square_sums(&weight, layout)?,
        };
        let lengths =
            kernels::adapted_lengths(&weight, &squares, layout, lora.a.tensor(), lora.b.tensor(), lora.scale)?;
        *known = Known { squares: Some(squares), lengths: Some((a, b, lengths.clone())) };
        Ok(lengths)
    }
}
