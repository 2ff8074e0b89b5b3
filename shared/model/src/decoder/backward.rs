//! The backward pass, one layer after the other, last one first. Each layer is a graph of its own that begins at a leaf,
//! so that its memory is free again as soon as its gradients are known; and a layer of which only the input was kept is
//! computed a second time (activation checkpointing, Chen et al. 2016, arXiv:1604.06174). Dropout draws from counters, so
//! the second time gives the same values, and the gradients are the same to the bit however much is kept.

use candle_core::{Tensor, backprop::GradStore};

use super::Decoder;
use crate::parts::{OverSegments, Remade};
use crate::{Batch, Mode, ModelError, Pass};

/// One layer between its forward and its backward pass.
struct Kept<'a> {
    input: Tensor,
    /// The layer's result, whose graph holds its inner values; none where the layer is computed again.
    graph: Option<(Tensor, Remade<'a>)>,
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
        let embedded = self.embed_in(batch, mode)?;
        let mut x = cut(&embedded)?;
        let mut kept = Vec::with_capacity(self.layers.len());
        for index in 0..self.layers.len() {
            let mut remade = if index < checkpointed { Remade::unread() } else { Remade::cheap() };
            let y = self.layer_keeping(index, &x, &pass, &mut remade)?;
            if !y.track_op() {
                // Nothing is trained so far down: neither its values nor its gradient are needed.
                x = y;
                continue;
            }
            let next = cut(&y)?;
            let graph = if index < checkpointed {
                None
            } else {
                remade.release()?;
                Some((y, remade))
            };
            kept.push((index, Kept { input: std::mem::replace(&mut x, next), graph }));
        }
        let normed = self.finish(&x)?;
        let hidden = cut(&normed)?;
        let (mut gradient, result) = {
            let (loss, result) = head(&hidden)?;
            let mut store = loss.backward().map_err(ModelError::from)?;
            let gradient = store.remove(&hidden);
            take(&mut store)?;
            (gradient, result)
        };
        drop(hidden);
        gradient = through(&normed, gradient, &x, take)?;
        drop((normed, x));
        while let Some((index, Kept { input, graph })) = kept.pop() {
            let (y, remade) = match graph {
                Some(graph) => graph,
                None => {
                    let mut remade = Remade::unread();
                    (self.layer_keeping(index, &input, &pass, &mut remade)?, remade)
                }
            };
            remade.refill()?;
            gradient = through(&y, gradient, &input, take)?;
        }
        through(&embedded, gradient, &embedded, take)?;
        Ok(result)
    }

    fn layer_keeping<'a>(
        &'a self,
        index: usize,
        x: &Tensor,
        pass: &Pass,
        remade: &mut Remade<'a>,
    ) -> Result<Tensor, ModelError> {
        self.layers[index].forward(x, &pass.tables, &mut OverSegments(&pass.segments), pass.mode, remade)
    }
}

/// The same values where another graph begins; the old one stays, without values.
fn cut(x: &Tensor) -> Result<Tensor, ModelError> {
    if x.track_op() { Ok(kernels::leaf(x)?) } else { Ok(x.clone()) }
}

/// From the gradient of `y` to that of its leaf `x`; the gradients of variables on the way are offered to `take`.
fn through<E: From<ModelError>>(
    y: &Tensor,
    gradient: Option<Tensor>,
    x: &Tensor,
    take: &mut dyn FnMut(&mut GradStore) -> Result<(), E>,
) -> Result<Option<Tensor>, E> {
    let Some(gradient) = gradient.filter(|_| y.track_op()) else { return Ok(None) };
    let continued = kernels::continued(y, &gradient).map_err(ModelError::from)?;
    drop(gradient);
    let mut store = continued.backward().map_err(ModelError::from)?;
    let gradient = store.remove(x);
    take(&mut store)?;
    Ok(gradient)
}
