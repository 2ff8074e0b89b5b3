//! The feed-forward of a layer: gated (Shazeer 2020, arXiv:2002.05202), gated with one fused weight, or plain.

use candle_core::Tensor;
use kernels::Activation;

use super::linear::{Linear, blocks};
use super::remade::Remade;
use super::weight::WeightBook;
use crate::description;
use crate::{Mode, ModelError};

/// A feed-forward.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one to each layer: the difference is a few kilobytes in all")]
pub(crate) enum FeedForward {
    Gated { gate: Linear, up: Linear, down: Linear, activation: Activation },
    FusedGated { gate_up: Linear, down: Linear, activation: Activation },
    Plain { up: Linear, down: Linear, activation: Activation },
}

impl FeedForward {
    pub(crate) fn build(description: &description::FeedForward, book: &mut WeightBook) -> Self {
        match description {
            description::FeedForward::Gated { gate, up, down, activation } => Self::Gated {
                gate: Linear::build(gate, book),
                up: Linear::build(up, book),
                down: Linear::build(down, book),
                activation: *activation,
            },
            description::FeedForward::FusedGated { gate_up, down, activation } => Self::FusedGated {
                gate_up: Linear::build(gate_up, book),
                down: Linear::build(down, book),
                activation: *activation,
            },
            description::FeedForward::Plain { up, down, activation } => {
                Self::Plain { up: Linear::build(up, book), down: Linear::build(down, book), activation: *activation }
            }
        }
    }

    /// `[N, C]` to `[N, C]`.
    pub(crate) fn forward<'a>(&'a self, x: &Tensor, mode: Mode, remade: &mut Remade<'a>) -> Result<Tensor, ModelError> {
        match self {
            Self::Gated { gate, up, down, activation } => {
                let inner = gated(gate.forward(x, mode)?, up.forward(x, mode)?, *activation, remade)?;
                down.forward(&inner, mode)
            }
            Self::FusedGated { gate_up, down, activation } => {
                let both = gate_up.forward(x, mode)?;
                let width = both.dim(1)? / 2;
                let [gate, up] = blocks(&both, [width; 2])?;
                remade.unread_value(&both)?;
                down.forward(&gated(gate, up, *activation, remade)?, mode)
            }
            Self::Plain { up, down, activation } => {
                let before = up.forward(x, mode)?;
                let inner = kernels::activate(&before, *activation)?;
                let before = before.detach();
                remade.value(&inner, move || Ok(kernels::activate(&before, *activation)?));
                down.forward(&inner, mode)
            }
        }
    }

    pub(crate) fn linears(&self) -> Vec<&Linear> {
        match self {
            Self::Gated { gate, up, down, .. } => vec![gate, up, down],
            Self::FusedGated { gate_up: up, down, .. } | Self::Plain { up, down, .. } => vec![up, down],
        }
    }

    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Gated { gate, up, down, .. } => vec![gate, up, down],
            Self::FusedGated { gate_up: up, down, .. } | Self::Plain { up, down, .. } => vec![up, down],
        }
    }
}

/// The product of the gate's activation and `up`, which is made again from both.
fn gated(gate: Tensor, up: Tensor, activation: Activation, remade: &mut Remade<'_>) -> Result<Tensor, ModelError> {
    let inner = kernels::gated(&gate, &up, activation)?;
    let (gate, up) = (gate.detach(), up.detach());
    remade.value(&inner, move || Ok(kernels::gated(&gate, &up, activation)?));
    Ok(inner)
}
