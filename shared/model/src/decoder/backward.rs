//! The backward pass, one layer after the other, last one first. Each layer is a graph of its own that begins at a leaf,
//! so that its memory is free again as soon as its gradients are known; and a layer of which only the input was kept is
//! computed a second time (activation checkpointing, Chen et al. 2016, arXiv:1604.06174). Dropout draws from counters, so
//! the second time gives the same values, and the gradients are the same to the bit however much is kept.

use candle_core::{Tensor, backprop::GradStore};
use kernels::{Tape, record};

use super::Decoder;
use crate::parts::{OverSegments, Remade};
use crate::{Batch, Mode, ModelError, Pass};

/// A result and how it came about.
struct Computed {
    y: Tensor,
    tape: Tape,
}

/// One layer between its forward and its backward pass.
struct Kept<'a> {
    input: Tensor,
    /// What was computed, with its inner values; none where the layer is computed again.
    done: Option<(Computed, Remade<'a>)>,
}

impl Decoder {
    /// Gradients of a scalar that `head` makes of the hidden states `[N, C]` after the final norm. Of the first
    /// `checkpointed` layers only the input is kept, and they are computed twice.
    ///
    /// `take` is called after each part of the model, from the output to the embedding, and removes from the store what it
    /// wants: the gradients of the variables of that part. A tied embedding has one from the head and one from the lookup.
    /// What the head returns besides is handed on.
    ///
    /// # Errors
    /// As [`Decoder::begin`], or what `head` and `take` report.
    pub fn gradients<R, E: From<ModelError>>(
        &self,
        batch: &Batch,
        mode: Mode,
        checkpointed: usize,
        head: impl FnOnce(&Tensor) -> Result<(Tensor, R), E>,
        take: &mut dyn FnMut(&mut GradStore) -> Result<(), E>,
    ) -> Result<R, E> {
        let pass = self.begin(batch, mode)?;
        let embedded = Computed::by(|| self.embed_in(batch, mode))?;
        let mut x = cut(&embedded.y)?;
        let mut kept = Vec::with_capacity(self.layers.len());
        for index in 0..self.layers.len() {
            let mut remade = if index < checkpointed { Remade::unread() } else { Remade::cheap() };
            let layer = self.layer_keeping(index, &x, &pass, &mut remade)?;
            if !layer.y.track_op() {
                // Nothing is trained so far down: neither its values nor its gradient are needed.
                x = layer.y;
                continue;
            }
            let next = cut(&layer.y)?;
            let done = if index < checkpointed {
                None
            } else {
                remade.release()?;
                Some((layer, remade))
            };
            kept.push((index, Kept { input: std::mem::replace(&mut x, next), done }));
        }
        let normed = Computed::by(|| self.finish(&x))?;
        let hidden = cut(&normed.y)?;
        let (loss, tape) = record(|| head(&hidden));
        let (loss, result) = loss?;
        let slope = loss.ones_like().map_err(ModelError::from)?;
        let mut gradient = Computed { y: loss, tape }.back(Some(slope), &hidden, take)?;
        drop(hidden);
        gradient = normed.back(gradient, &x, take)?;
        drop(x);
        while let Some((index, Kept { input, done })) = kept.pop() {
            let (layer, remade) = match done {
                Some(done) => done,
                None => {
                    let mut remade = Remade::unread();
                    (self.layer_keeping(index, &input, &pass, &mut remade)?, remade)
                }
            };
            remade.refill()?;
            gradient = layer.back(gradient, &input, take)?;
        }
        let embedded_alone = embedded.y.clone();
        embedded.back(gradient, &embedded_alone, take)?;
        Ok(result)
    }

    fn layer_keeping<'a>(
        &'a self,
        index: usize,
        x: &Tensor,
        pass: &Pass,
        remade: &mut Remade<'a>,
    ) -> Result<Computed, ModelError> {
        Computed::by(|| {
            self.layers[index].forward(x, &pass.tables, &mut OverSegments(&pass.segments), pass.mode, remade)
        })
    }
}

/// The same values where another graph begins; the old one stays, without values.
fn cut(x: &Tensor) -> Result<Tensor, ModelError> {
    if x.track_op() { Ok(kernels::leaf(x)?) } else { Ok(x.clone()) }
}

impl Computed {
    fn by(work: impl FnOnce() -> Result<Tensor, ModelError>) -> Result<Self, ModelError> {
        let (y, tape) = record(work);
        Ok(Self { y: y?, tape })
    }

    /// From the gradient of the result to that of its leaf `x`; the gradients of variables on the way are offered to `take`.
    fn back<E: From<ModelError>>(
        self,
        gradient: Option<Tensor>,
        x: &Tensor,
        take: &mut dyn FnMut(&mut GradStore) -> Result<(), E>,
    ) -> Result<Option<Tensor>, E> {
        let Some(gradient) = gradient.filter(|_| self.y.track_op()) else { return Ok(None) };
        let mut store = self.tape.backward(&self.y, gradient).map_err(ModelError::from)?;
        let gradient = store.remove(x);
        take(&mut store)?;
        Ok(gradient)
    }
}
