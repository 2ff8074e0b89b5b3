//! What a layer need not keep between its forward and its backward pass: values that no derivative reads are let go at
//! once, and those that take one pass over memory (norms, gates) are let go when the layer is done and made again when
//! its backward pass begins. What is made again is equal to the bit.

use candle_core::Tensor;

use crate::ModelError;

type Make<'a> = Box<dyn Fn() -> Result<Tensor, ModelError> + 'a>;

/// The values of one layer that are made again.
pub(crate) struct Remade<'a> {
    lets_go: bool,
    remakes: bool,
    values: Vec<(Tensor, Make<'a>)>,
}

impl<'a> Remade<'a> {
    /// Everything stays: there is no backward pass, or what is kept does not matter.
    pub(crate) fn nothing() -> Self {
        Self { lets_go: false, remakes: false, values: Vec::new() }
    }

    /// Lets go of what no derivative reads, and keeps the rest: the backward pass follows at once.
    pub(crate) fn unread() -> Self {
        Self { lets_go: true, ..Self::nothing() }
    }

    /// Lets go of all that is cheap to make again: other layers come before the backward pass.
    pub(crate) fn cheap() -> Self {
        Self { lets_go: true, remakes: true, values: Vec::new() }
    }

    /// No derivative reads this tensor, and it shares its memory with none that is read.
    pub(crate) fn unread_value(&self, tensor: &Tensor) -> Result<(), ModelError> {
        if self.lets_go {
            kernels::release(tensor)?;
        }
        Ok(())
    }

    /// `make` gives this tensor again, from values that are kept.
    pub(crate) fn value(&mut self, tensor: &Tensor, make: impl Fn() -> Result<Tensor, ModelError> + 'a) {
        if self.remakes {
            self.values.push((tensor.clone(), Box::new(make)));
        }
    }

    /// The layer's forward pass is over.
    pub(crate) fn release(&self) -> Result<(), ModelError> {
        self.values.iter().try_for_each(|(tensor, _)| Ok(kernels::release(tensor)?))
    }

    /// The layer's backward pass begins.
    pub(crate) fn refill(&self) -> Result<(), ModelError> {
        self.values.iter().try_for_each(|(tensor, make)| Ok(kernels::refill(tensor, &make()?)?))
    }
}
