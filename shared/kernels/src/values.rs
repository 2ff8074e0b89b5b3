//! The values of a tensor apart from its place in the graph of operations: let go after the forward pass, brought back
//! before the backward pass, moved into a leaf, added up in place; and a backward pass that starts from a given gradient.
//!
//! Candle keeps the result of every operation alive until the backward pass is over, also where no derivative reads it.
//! Here the shape stays in the graph and the memory goes.

use crate::{
    parallel::{CHUNK, for_each_chunk},
    simd::{Kernel, dispatch},
    tensors::{Floats, floats, fused, storage},
};
use candle_core::{
    CpuStorage, CustomOp1, InplaceOp1, Layout, Result, Shape, Storage, Tensor, Var, bail, op::BackpropOp,
};
use std::sync::{Mutex, PoisonError};

/// Frees the memory of `tensor`, which must be the whole of its storage; views and other devices stay as they are. What
/// reads the values before [`refill`] gives them back fails.
///
/// # Errors
/// Where the storage cannot be borrowed.
pub fn release(tensor: &Tensor) -> Result<()> {
    take(tensor).map(drop)
}

/// Moves the values of `from` into the tensor that [`release`] emptied; `from` is empty afterwards. Does nothing where
/// `tensor` was not emptied.
///
/// # Errors
/// Where the shapes differ.
pub fn refill(tensor: &Tensor, from: &Tensor) -> Result<()> {
    if tensor.shape() != from.shape() {
        bail!("refill: expected values of shape {:?}, found {:?}", tensor.dims(), from.dims());
    }
    if !is_released(tensor) {
        return Ok(());
    }
    let values = match take(from)? {
        Some(values) => values,
        None => Floats::of(&from.contiguous()?)?.to_vec(),
    };
    tensor.inplace_op1(&Swap(Mutex::new(values)))
}

/// A variable with the values of `tensor`, which is empty afterwards: where one piece of a backward pass ends, and the
/// next one, which begins at `tensor`, takes over.
///
/// # Errors
/// Where the values cannot be copied.
pub fn leaf(tensor: &Tensor) -> Result<Tensor> {
    match take(tensor)? {
        Some(values) => {
            let values = Storage::Cpu(CpuStorage::F32(values));
            Ok(Tensor::from_storage(values, tensor.shape(), BackpropOp::none(), true))
        }
        None => Ok(Var::from_tensor(&tensor.detach())?.into_inner()),
    }
}

/// A scalar whose gradient with respect to `tensor` is `gradient`: its backward pass goes on where another one stopped.
/// The values of `tensor` are not read.
///
/// # Errors
/// Where the shapes differ.
pub(crate) fn continued(tensor: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    if tensor.shape() != gradient.shape() {
        bail!("continued: expected a gradient of shape {:?}, found {:?}", tensor.dims(), gradient.dims());
    }
    if tensor.device().is_cpu() && fused(&[tensor]) {
        return tensor.apply_op1(Continued(gradient.detach()));
    }
    (tensor * gradient.detach())?.sum_all()
}

/// `total += more`, in place.
///
/// # Errors
/// Where the shapes differ, or `total` is a view that overlaps itself.
pub fn add_into(total: &Tensor, more: &Tensor) -> Result<()> {
    if total.shape() != more.shape() || !fused(&[total, more]) {
        bail!("add_into: expected f32 of one shape on the CPU, found {:?} and {:?}", total.dims(), more.dims());
    }
    let more = more.contiguous()?;
    let more = Floats::of(&more)?;
    total.inplace_op1(&AddInto(&more))
}

/// The values of a tensor that is the whole of an `f32` storage on the CPU; the storage is empty afterwards.
fn take(tensor: &Tensor) -> Result<Option<Vec<f32>>> {
    if !is_whole(tensor) {
        return Ok(None);
    }
    let swap = Swap(Mutex::new(Vec::new()));
    tensor.inplace_op1(&swap)?;
    Ok(Some(swap.0.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn is_whole(tensor: &Tensor) -> bool {
    stored(tensor).is_some_and(|len| len == tensor.elem_count())
}

fn is_released(tensor: &Tensor) -> bool {
    stored(tensor).is_some_and(|len| len == 0 && tensor.elem_count() > 0)
}

/// Number of elements of the storage, where the tensor begins at its start and lies in it without gaps.
fn stored(tensor: &Tensor) -> Option<usize> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => {
            (layout.contiguous_offsets()?.0 == 0 && !tensor.is_variable()).then_some(values.len())
        }
        _ => None,
    }
}

struct Swap(Mutex<Vec<f32>>);

impl InplaceOp1 for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        let CpuStorage::F32(values) = storage else { bail!("swap: expected f32") };
        std::mem::swap(values, &mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

struct Continued(Tensor);

impl CustomOp1 for Continued {
    fn name(&self) -> &'static str {
        "continued"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(storage(vec![0.0], ()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

struct AddInto<'a>(&'a [f32]);

impl InplaceOp1 for AddInto<'_> {
    fn name(&self) -> &'static str {
        "add_into"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        floats(storage, layout)?;
        let (CpuStorage::F32(total), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("add_into: expected a contiguous f32 tensor")
        };
        for_each_chunk(&mut total[start..end], CHUNK, |index, total| {
            dispatch(Add { more: &self.0[index * CHUNK..][..total.len()], total });
        });
        Ok(())
    }
}

struct Add<'a> {
    total: &'a mut [f32],
    more: &'a [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.total.iter_mut().zip(self.more).for_each(|(total, more)| *total += more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{numbers, random};
    use candle_core::{DType, Device};

    #[test]
    fn a_released_tensor_is_refilled_with_the_same_values() {
        let tensor = random(&[3, 5], 1);
        release(&tensor).unwrap();
        assert_eq!((tensor.dims(), stored(&tensor)), ([3, 5].as_slice(), Some(0)));
        assert!(refill(&tensor, &random(&[5, 3], 1)).is_err());
        let again = random(&[3, 5], 1);
        refill(&tensor, &again).unwrap();
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), numbers(15, 1));
        assert!(is_released(&again));
        refill(&tensor, &random(&[3, 5], 2)).unwrap();
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), numbers(15, 1));
    }

    #[test]
    fn views_variables_and_other_types_keep_their_values() {
        let whole = random(&[4, 6], 1);
        let view = whole.narrow(0, 1, 2).unwrap();
        release(&view).unwrap();
        assert!(view.to_vec2::<f32>().is_ok());
        let variable = Var::from_tensor(&whole).unwrap();
        release(&variable).unwrap();
        assert!(variable.to_vec2::<f32>().is_ok());
        let double = whole.to_dtype(DType::F64).unwrap();
        release(&double).unwrap();
        assert_eq!(leaf(&double).unwrap().to_vec2::<f64>().unwrap(), double.to_vec2::<f64>().unwrap());
    }

    /// A backward pass cut in two at `y` gives the gradients of the whole.
    #[test]
    fn a_backward_pass_can_be_cut() {
        for dtype in [DType::F32, DType::F64] {
            let x = Var::from_tensor(&random(&[4, 6], 1).to_dtype(dtype).unwrap()).unwrap();
            let first = |x: &Tensor| (x.sqr()? * 0.5)?.affine(1.0, 0.25);
            let second = |y: &Tensor| (y * y.sqr()?)?.sum_all();
            let whole = second(&first(&x).unwrap()).unwrap().backward().unwrap();
            let y = first(&x).unwrap();
            let cut = leaf(&y).unwrap();
            let mut upper = second(&cut).unwrap().backward().unwrap();
            let gradient = upper.remove(&cut).unwrap();
            let lower = continued(&y, &gradient).unwrap().backward().unwrap();
            let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
            assert_eq!(values(lower.get(&x).unwrap()), values(whole.get(&x).unwrap()));
            assert!(continued(&y, &gradient.flatten_all().unwrap()).is_err());
        }
    }

    #[test]
    fn adding_in_place_is_adding() {
        let len = CHUNK + 7;
        let (total, more) = (random(&[len], 1), random(&[len], 2));
        let expected = (&total + &more).unwrap().to_vec1::<f32>().unwrap();
        add_into(&total, &more).unwrap();
        assert_eq!(total.to_vec1::<f32>().unwrap(), expected);
        assert!(add_into(&total, &Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
