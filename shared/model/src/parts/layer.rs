//! One layer: attention and feed-forward, their norms, and how they are added to the stream.

use candle_core::Tensor;
use kernels::RotaryStyle;

use super::attention::{Attend, Attention};
use super::feed_forward::FeedForward;
use super::linear::Linear;
use super::norm::Norm;
use super::remade::Remade;
use super::rotary::RotaryRows;
use super::weight::{Weight, WeightBook};
use crate::description::{LayerDescription, NormDescription, Residual};
use crate::{Mode, ModelError};

/// One layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    attention: Attention,
    feed_forward: FeedForward,
    residual: Residual,
    residual_scale: f32,
    attention_input: Option<Norm>,
    attention_output: Option<Norm>,
    feed_forward_input: Option<Norm>,
    feed_forward_output: Option<Norm>,
}

impl Layer {
    pub(crate) fn build(
        index: usize,
        description: &LayerDescription,
        styles: &[RotaryStyle],
        book: &mut WeightBook,
    ) -> Self {
        let mut norm = |norm: &Option<NormDescription>| norm.as_ref().map(|norm| Norm::build(norm, book));
        let attention_input = norm(&description.attention_input);
        let attention_output = norm(&description.attention_output);
        let feed_forward_input = norm(&description.feed_forward_input);
        let feed_forward_output = norm(&description.feed_forward_output);
        Self {
            attention: Attention::build(index, &description.attention, styles, book),
            feed_forward: FeedForward::build(&description.feed_forward, book),
            residual: description.residual,
            residual_scale: description.residual_scale,
            attention_input,
            attention_output,
            feed_forward_input,
            feed_forward_output,
        }
    }

    /// `[N, C]` to `[M, C]`: all rows, but where `attend` lets fewer go on.
    pub(crate) fn forward<'a>(
        &'a self,
        x: &Tensor,
        tables: &[RotaryRows],
        attend: &mut dyn Attend,
        mode: Mode,
        remade: &mut Remade<'a>,
    ) -> Result<Tensor, ModelError> {
        let normed = normed(self.attention_input.as_ref(), x, remade)?;
        let mixed = self.attention.forward(&normed, tables, attend, mode, remade)?;
        let mixed = self.scaled(apply(self.attention_output.as_ref(), &mixed)?)?;
        let x = &self.attention.passed_on(x, attend)?;
        let between = kernels::sum(x, &mixed)?;
        remade.unread_value(&mixed)?;
        let seen = match self.residual {
            Residual::Sequential => &between,
            Residual::Parallel => x,
        };
        let normed = self::normed(self.feed_forward_input.as_ref(), seen, remade)?;
        let fed = self.feed_forward.forward(&normed, mode, remade)?;
        let fed = self.scaled(apply(self.feed_forward_output.as_ref(), &fed)?)?;
        let y = kernels::sum(&between, &fed)?;
        remade.unread_value(&fed)?;
        if self.residual == Residual::Parallel {
            remade.unread_value(&between)?;
        }
        Ok(y)
    }

    fn scaled(&self, x: Tensor) -> Result<Tensor, ModelError> {
        if self.residual_scale == 1.0 { Ok(x) } else { Ok(kernels::scale(&x, f64::from(self.residual_scale))?) }
    }

    /// The linear layers in the order of `LayerDescription::linears`.
    pub(crate) fn linears(&self) -> Vec<&Linear> {
        let mut list = self.attention.linears();
        list.extend(self.feed_forward.linears());
        list
    }

    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut list = self.attention.linears_mut();
        list.extend(self.feed_forward.linears_mut());
        list
    }

    /// The weights in any order.
    pub(crate) fn weights_mut(&mut self) -> Vec<&mut Weight> {
        let norms = [
            &mut self.attention_input,
            &mut self.attention_output,
            &mut self.feed_forward_input,
            &mut self.feed_forward_output,
        ];
        let mut list: Vec<_> = norms.into_iter().flatten().flat_map(Norm::weights_mut).collect();
        list.extend(self.attention.weights_mut());
        list.extend(self.feed_forward.linears_mut().into_iter().flat_map(Linear::weights_mut));
        list
    }

    /// The weights in the order of `Description::parameters`, adapters not included.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        let norms =
            [&self.attention_input, &self.attention_output, &self.feed_forward_input, &self.feed_forward_output];
        let mut list: Vec<_> = norms.into_iter().flatten().flat_map(Norm::weights).collect();
        list.extend(self.attention.norm_weights());
        list.extend(self.linears().into_iter().flat_map(Linear::weights));
        list
    }
}

/// The normalised input of a part, which is made again from `x`; where there is no norm, `x` itself.
fn normed<'a>(norm: Option<&'a Norm>, x: &Tensor, remade: &mut Remade<'a>) -> Result<Tensor, ModelError> {
    let normed = apply(norm, x)?;
    if let Some(norm) = norm {
        let x = x.detach();
        remade.value(&normed, move || norm.forward(&x));
    }
    Ok(normed)
}

/// The norm where there is one, else the input itself.
fn apply(norm: Option<&Norm>, x: &Tensor) -> Result<Tensor, ModelError> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}
