//! Between candle tensors and slices of `f32`.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};
use std::ops::{Deref, Range};

/// Whether the fused path may run: all on the CPU and `f32`.
pub(crate) fn fused(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// The values of a contiguous `f32` tensor on the CPU, borrowed.
pub(crate) struct Floats<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Floats<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(cpu) = &*storage else { bail!("expected a tensor on the CPU") };
        cpu.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor") };
        Ok(Self { range: start..end, storage })
    }
}

impl Deref for Floats<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("checked when the borrow began"),
        }
    }
}

/// The values that a custom op is given: its callers made them contiguous.
pub(crate) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// A new CPU tensor that owns these values.
pub(crate) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// What `cpu_fwd` of a custom op returns.
pub(crate) fn storage(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Appends rows of a tensor (`[N, …]`, any device) to a growing buffer, as a key-value cache does.
///
/// # Errors
/// Where the rows lie outside the tensor or it cannot be read as `f32`.
pub fn append_rows(buffer: &mut Vec<f32>, tensor: &Tensor, rows: Range<usize>) -> Result<()> {
    let part = tensor.narrow(0, rows.start, rows.len())?.contiguous()?;
    if fused(&[&part]) {
        buffer.extend_from_slice(&Floats::of(&part)?);
    } else {
        buffer.extend(part.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
}
