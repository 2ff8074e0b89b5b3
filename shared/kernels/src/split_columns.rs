//! A matrix cut into blocks of columns, as the fused projections of attention and feed-forward need it.
//!
//! Candle's `narrow` fills a whole matrix with zeros for the gradient of each block and adds them up. Here the blocks'
//! gradients are written into one matrix, which the last of them hands on.

use crate::{
    parallel::{build, for_each_chunk, rows_per_chunk},
    profile::timed,
    tape::apply1,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// Cuts `x` `[N, C]` into blocks of the given widths, which sum to C: `[N, width]` each.
///
/// Invariant: the blocks are used together. A backward pass that reaches some of them and not the others gives `x` no
/// gradient.
///
/// # Errors
/// Where the widths do not sum to C.
pub fn split_columns(x: &Tensor, widths: &[usize]) -> Result<Vec<Tensor>> {
    let (_, columns) = x.dims2()?;
    if widths.iter().sum::<usize>() != columns {
        bail!("split_columns: expected widths that sum to {columns}, found {widths:?}");
    }
    let mut start = 0;
    let starts = widths.iter().map(|width| {
        start += width;
        start - width
    });
    if !fused(&[x]) {
        return starts.zip(widths).map(|(start, &width)| x.narrow(1, start, width)?.contiguous()).collect();
    }
    let x = x.contiguous()?;
    let gathered = Arc::new(Mutex::new(Gathered { gradient: Vec::new(), blocks: 0 }));
    starts
        .zip(widths)
        .map(|(start, &width)| {
            apply1(&x, Block { start, width, blocks: widths.len(), gathered: Arc::clone(&gathered) })
        })
        .collect()
}

/// The gradient of the whole, as far as the blocks have written it.
struct Gathered {
    gradient: Vec<f32>,
    blocks: usize,
}

/// One block of columns.
struct Block {
    start: usize,
    width: usize,
    blocks: usize,
    gathered: Arc<Mutex<Gathered>>,
}

impl CustomOp1 for Block {
    fn name(&self) -> &'static str {
        "split_columns"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("split_columns", false);
        let (x, (rows, columns)) = (floats(x, layout)?, layout.shape().dims2()?);
        let (width, some) = (self.width, rows_per_chunk(self.width));
        let y = build(rows * width, some * width, |index, y| {
            for (y, x) in y.chunks_exact_mut(width).zip(x[index * some * columns..].chunks_exact(columns)) {
                y.copy_from_slice(&x[self.start..][..width]);
            }
        });
        Ok(storage(y, (rows, width)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let _timer = timed("split_columns", true);
        let grad = grad.contiguous()?;
        let (grad, (_, columns)) = (Floats::of(&grad)?, x.dims2()?);
        let (grad, width, some) = (&grad[..], self.width, rows_per_chunk(columns));
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.gradient.resize(x.elem_count(), 0.0);
        for_each_chunk(&mut gathered.gradient, some * columns, |index, part| {
            for (part, grad) in part.chunks_exact_mut(columns).zip(grad[index * some * width..].chunks_exact(width)) {
                part[self.start..][..width].copy_from_slice(grad);
            }
        });
        gathered.blocks += 1;
        if gathered.blocks < self.blocks {
            return Ok(None);
        }
        gathered.blocks = 0;
        Ok(Some(tensor(std::mem::take(&mut gathered.gradient), x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    fn weighted(blocks: &[Tensor]) -> Result<Tensor> {
        let blocks = blocks.iter().enumerate().map(|(index, block)| block * (index as f64 + 0.5));
        Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 1)
    }

    #[test]
    fn agrees_with_narrow() {
        for (rows, widths) in [(1, vec![1]), (5, vec![3, 2]), (700, vec![40, 8, 8]), (3, vec![5000, 7])] {
            let columns = widths.iter().sum();
            Check::new(|t| weighted(&split_columns(&t[0], &widths)?))
                .with_plain(|t| weighted(&split_columns(&t[0], &widths)?))
                .run(&[random(&[rows, columns], 1)]);
        }
    }

    #[test]
    fn widths_that_do_not_fit_are_refused() {
        let message = split_columns(&random(&[2, 5], 1), &[2, 2]).unwrap_err().to_string();
        assert!(message.contains("sum to 5"), "{message}");
    }
}
