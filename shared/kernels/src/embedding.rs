//! Token embedding: one row of a table for each id.

use crate::{
    parallel::{build, for_each_chunk, rows_per_chunk},
    profile::timed,
    tape::apply1,
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

/// The rows `ids` (`u32`, `[N]`) of the table `[V, C]`. The backward pass adds rows in the order of their positions.
///
/// # Errors
/// Where an id is not in the table or the shapes do not fit.
pub fn embedding(ids: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (vocabulary, _) = table.dims2()?;
    let ids_on_host = ids.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    if let Some(id) = ids_on_host.iter().find(|&&id| id as usize >= vocabulary) {
        bail!("embedding: expected ids below the vocabulary's size {vocabulary}, found {id}");
    }
    if !fused(&[table]) {
        return table.index_select(ids, 0);
    }
    apply1(&table.contiguous()?, Embedding { ids: ids_on_host })
}

struct Embedding {
    ids: Vec<u32>,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("embedding", false);
        let (table, columns) = (floats(table, layout)?, layout.dims()[1]);
        let rows = rows_per_chunk(columns);
        let y = build(self.ids.len() * columns, rows * columns, |index, y| {
            for (y, id) in y.chunks_exact_mut(columns).zip(&self.ids[index * rows..]) {
                y.copy_from_slice(&table[*id as usize * columns..][..columns]);
            }
        });
        Ok(storage(y, (self.ids.len(), columns)))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let _timer = timed("embedding", true);
        let grad = grad.contiguous()?;
        let (grad, columns) = (Floats::of(&grad)?, table.dim(1)?);
        let grad = &grad[..];
        // Positions by id, then by position: each row of the table has one owner, which adds in a fixed order.
        let mut order: Vec<(u32, u32)> = self.ids.iter().zip(0..).map(|(&id, position)| (id, position)).collect();
        order.sort_unstable();
        let rows = rows_per_chunk(columns);
        let mut total = vec![0.0; table.elem_count()];
        for_each_chunk(&mut total, rows * columns, |index, part| {
            let (first, last) = (index * rows, index * rows + part.len() / columns);
            let start = order.partition_point(|&(id, _)| (id as usize) < first);
            for &(id, position) in order[start..].iter().take_while(|&&(id, _)| (id as usize) < last) {
                let row = &mut part[(id as usize - first) * columns..][..columns];
                row.iter_mut().zip(&grad[position as usize * columns..]).for_each(|(total, value)| *total += value);
            }
        });
        Ok(Some(tensor(total, table)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};
    use candle_core::Device;

    #[test]
    fn agrees_with_index_select() {
        for (vocabulary, columns, n) in [(1, 1, 3), (7, 5, 40), (5000, 64, 300), (3, 4, 0)] {
            let ids: Vec<u32> = (0..n as u32).map(|i| i * i * 7919 % vocabulary as u32).collect();
            let ids = Tensor::from_vec(ids, n, &Device::Cpu).unwrap();
            Check::new(|t| embedding(&ids, &t[0]))
                .with_plain(|t| t[0].index_select(&ids, 0))
                .run(&[random(&[vocabulary, columns], 1)]);
        }
    }

    #[test]
    fn an_id_outside_the_table_is_named() {
        let ids = Tensor::new(&[0u32, 9], &Device::Cpu).unwrap();
        let message = embedding(&ids, &random(&[9, 2], 1)).unwrap_err().to_string();
        assert!(message.contains("size 9, found 9"), "{message}");
    }
}
