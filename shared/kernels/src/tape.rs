//! What was computed, in order, so that gradients can go back along it: each first gradient of a tensor is taken as it is and
//! each further one is added in parallel.
//!
//! Candle's own backward pass makes zeros for each tensor and adds each gradient to them, on one thread: twice as many
//! passes over memory as the operations themselves need. It still does the work where something was computed that the tape
//! does not know, with the same gradients.

use crate::{
    parallel::{CHUNK, build},
    profile::timed,
    simd::{Kernel, dispatch},
    tensors::{Floats, floats, fused, storage, tensor},
    values::{add_into, continued},
};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, TensorId, backprop::GradStore, bail,
};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

type One = Arc<Box<dyn CustomOp1 + Send + Sync>>;
type Two = Arc<Box<dyn CustomOp2 + Send + Sync>>;
type Three = Arc<Box<dyn CustomOp3 + Send + Sync>>;

/// The operations of a piece of the forward pass, in the order in which they ran.
#[derive(Default)]
pub struct Tape(Vec<Entry>);

struct Entry {
    result: Tensor,
    step: Step,
}

enum Step {
    One(One, Tensor),
    Two(Two, [Tensor; 2]),
    Three(Three, [Tensor; 3]),
    Reshaped(Tensor),
    Scaled(Tensor, f64),
    /// Divided by a constant.
    Divided(Tensor, Tensor),
}

impl Step {
    fn arguments(&self) -> &[Tensor] {
        match self {
            Self::One(_, x) | Self::Reshaped(x) | Self::Scaled(x, _) | Self::Divided(x, _) => std::slice::from_ref(x),
            Self::Two(_, arguments) => arguments,
            Self::Three(_, arguments) => arguments,
        }
    }

    /// The gradient of each argument, where there is one.
    fn gradients(&self, result: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; 3]> {
        Ok(match self {
            Self::One(op, x) => [op.bwd(x, result, gradient)?, None, None],
            Self::Two(op, [a, b]) => {
                let (a, b) = op.bwd(a, b, result, gradient)?;
                [a, b, None]
            }
            Self::Three(op, [a, b, c]) => op.bwd(a, b, c, result, gradient)?.into(),
            Self::Reshaped(x) => [Some(gradient.reshape(x.shape())?), None, None],
            Self::Scaled(_, factor) => [Some((gradient * *factor)?), None, None],
            Self::Divided(_, divisor) => [Some((gradient / divisor)?), None, None],
        })
    }
}

thread_local! {
    static RECORDED: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

/// Runs `work` and keeps what this thread computes meanwhile by the operations of this crate.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Tape) {
    let before = RECORDED.replace(Some(Tape::default()));
    let result = work();
    (result, RECORDED.replace(before).unwrap_or_default())
}

fn remember(result: &Tensor, step: impl FnOnce() -> Step) {
    RECORDED.with_borrow_mut(|tape| {
        if let Some(tape) = tape
            && result.track_op()
        {
            tape.0.push(Entry { result: result.clone(), step: step() });
        }
    });
}

impl Tape {
    /// The gradients of all variables on the way to `y`, whose own gradient is `gradient`.
    ///
    /// # Errors
    /// Where the shapes differ or an operation's backward pass fails.
    pub fn backward(self, y: &Tensor, gradient: Tensor) -> Result<GradStore> {
        if y.shape() != gradient.shape() {
            bail!("backward: expected a gradient of shape {:?}, found {:?}", y.dims(), gradient.dims());
        }
        if !self.knows_all(y) {
            let continued = continued(y, &gradient)?;
            drop(gradient);
            return continued.backward();
        }
        let mut sums = HashMap::from([(y.id(), Sum { total: gradient.detach(), own: false })]);
        let mut store = GradStore::default();
        for Entry { result, step } in self.0.into_iter().rev() {
            let Some(gradient) = sums.remove(&result.id()) else { continue };
            let gradients = step.gradients(&result, &gradient.total)?;
            drop(gradient);
            for (argument, gradient) in step.arguments().iter().zip(gradients) {
                if let Some(gradient) = gradient.filter(|_| argument.track_op()) {
                    add(&mut sums, argument.id(), gradient.detach())?;
                }
            }
        }
        for (id, sum) in sums {
            store.insert_id(id, sum.total);
        }
        Ok(store)
    }

    /// Whether the way from `y` to its variables was recorded without a gap; where it was not, [`Tape::backward`] leaves the
    /// work to candle.
    pub fn knows_all(&self, y: &Tensor) -> bool {
        let results: HashSet<TensorId> = self.0.iter().map(|entry| entry.result.id()).collect();
        let known = |x: &Tensor| !x.track_op() || x.is_variable() || results.contains(&x.id());
        known(y) && self.0.iter().flat_map(|entry| entry.step.arguments()).all(known)
    }
}

/// The gradient of a tensor so far.
struct Sum {
    total: Tensor,
    /// Its memory was made here: nothing else reads it.
    own: bool,
}

fn add(sums: &mut HashMap<TensorId, Sum>, id: TensorId, gradient: Tensor) -> Result<()> {
    match sums.get_mut(&id) {
        None => {
            sums.insert(id, Sum { total: gradient, own: false });
        }
        Some(sum) if sum.own && fused(&[&gradient]) => add_into(&sum.total, &gradient)?,
        Some(sum) => *sum = Sum { total: sum_of(&sum.total, &gradient)?, own: true },
    }
    Ok(())
}

/// `x` through `op`.
pub(crate) fn apply1(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    let op: One = Arc::new(Box::new(op));
    let result = x.apply_op1_arc(Arc::clone(&op))?;
    remember(&result, || Step::One(op, x.clone()));
    Ok(result)
}

/// Two tensors through `op`.
pub(crate) fn apply2(a: &Tensor, b: &Tensor, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Tensor> {
    let op: Two = Arc::new(Box::new(op));
    let result = a.apply_op2_arc(b, Arc::clone(&op))?;
    remember(&result, || Step::Two(op, [a.clone(), b.clone()]));
    Ok(result)
}

/// Three tensors through `op`.
pub(crate) fn apply3(a: &Tensor, b: &Tensor, c: &Tensor, op: impl CustomOp3 + Send + Sync + 'static) -> Result<Tensor> {
    let op: Three = Arc::new(Box::new(op));
    let result = a.apply_op3_arc(b, c, Arc::clone(&op))?;
    remember(&result, || Step::Three(op, [a.clone(), b.clone(), c.clone()]));
    Ok(result)
}

/// The same elements in another shape.
///
/// # Errors
/// Where the shape has another number of elements.
pub fn reshape(x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let result = x.reshape(shape.into())?;
    remember(&result, || Step::Reshaped(x.clone()));
    Ok(result)
}

/// `x` times a number.
///
/// # Errors
/// Where candle fails to allocate or run.
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    let result = (x * factor)?;
    remember(&result, || Step::Scaled(x.clone(), factor));
    Ok(result)
}

/// `x` divided by a tensor of its shape, which gets no gradient.
///
/// # Errors
/// Where the shapes differ.
pub fn divide(x: &Tensor, divisor: &Tensor) -> Result<Tensor> {
    let divisor = divisor.detach();
    let result = (x / &divisor)?;
    remember(&result, || Step::Divided(x.clone(), divisor));
    Ok(result)
}

/// The sum of two tensors of one shape.
///
/// # Errors
/// Where the shapes differ.
pub fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        bail!("sum: expected two tensors of one shape, found {:?} and {:?}", a.dims(), b.dims());
    }
    if fused(&[a, b]) { apply2(&a.contiguous()?, &b.contiguous()?, SumOf) } else { a + b }
}

struct SumOf;

impl CustomOp2 for SumOf {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("sum", false);
        Ok(storage(added(floats(a, la)?, floats(b, lb)?), la.shape()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

fn sum_of(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !fused(&[a, b]) {
        return a + b;
    }
    let _timer = timed("sum", true);
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    tensor(added(&Floats::of(&a)?, &Floats::of(&b)?), &a)
}

fn added(a: &[f32], b: &[f32]) -> Vec<f32> {
    build(a.len(), CHUNK, |index, sum| {
        let (a, b) = (&a[index * CHUNK..][..sum.len()], &b[index * CHUNK..][..sum.len()]);
        dispatch(Added { a, b, sum });
    })
}

struct Added<'a> {
    a: &'a [f32],
    b: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for Added<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((sum, a), b) in self.sum.iter_mut().zip(self.a).zip(self.b) {
            *sum = a + b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, WeightLayout, activate, gated, linear, linear_lora, rms_norm, testing::random};
    use candle_core::Var;

    fn variable(shape: &[usize], seed: u64) -> Var {
        Var::from_tensor(&random(shape, seed)).unwrap()
    }

    /// A block with branches that meet: every kind of entry, and tensors that are used twice.
    fn block(x: &Tensor, [norm, a, b, weight]: &[Var; 4]) -> Result<Tensor> {
        let normed = rms_norm(x, norm, 1e-5, 0.0)?;
        let frozen = random(&[24, 24], 9);
        let lora = linear_lora(&normed, &frozen, None, WeightLayout::OutputByInput, a, b, 0.5, None)?;
        let full = linear(&normed, weight, None, WeightLayout::OutputByInput)?;
        let inner = gated(&lora, &full, Activation::Silu)?;
        let inner = reshape(&reshape(&inner, (x.dim(0)? * 2, 12))?, x.shape())?;
        let between = sum(x, &activate(&inner, Activation::Silu)?)?;
        let divided = divide(&scale(&between, 0.25)?, &random(x.dims(), 7).affine(1.0, 3.0)?)?;
        sum(&divided, &sum(&between, &normed)?)
    }

    #[test]
    fn gradients_are_those_of_candle() {
        let x = variable(&[700, 24], 1);
        let weights = [variable(&[24], 2), variable(&[4, 24], 3), variable(&[24, 4], 4), variable(&[24, 24], 5)];
        let gradient = random(&[700, 24], 6);
        let (y, tape) = record(|| block(&x, &weights).unwrap());
        assert!(tape.knows_all(&y));
        let found = tape.backward(&y, gradient.clone()).unwrap();
        let y = block(&x, &weights).unwrap();
        let expected = continued(&y, &gradient).unwrap().backward().unwrap();
        for leaf in [&x].into_iter().chain(&weights) {
            let values = |store: &GradStore| store.get(leaf).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(&found), values(&expected));
        }
    }

    #[test]
    fn what_the_tape_does_not_know_goes_candles_way() {
        let x = variable(&[3, 4], 1);
        let gradient = random(&[3, 4], 2);
        for unknown in [|x: &Tensor| sum(&x.sqr()?, x), |x: &Tensor| sum(x, x)?.sqr()] {
            let (y, tape) = record(|| unknown(&x).unwrap());
            assert!(!tape.knows_all(&y));
            let found = tape.backward(&y, gradient.clone()).unwrap();
            let expected = continued(&y, &gradient).unwrap().backward().unwrap();
            let values = |store: &GradStore| store.get(&x).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(values(&found), values(&expected));
        }
    }

    #[test]
    fn gradients_are_added_and_never_overwritten() {
        let x = variable(&[2, 3], 1);
        let gradient = random(&[2, 3], 2);
        let (y, tape) = record(|| sum(&sum(&x, &x).unwrap(), &x).unwrap());
        let found = tape.backward(&y, gradient.clone()).unwrap();
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected: Vec<f32> = values(&gradient).iter().map(|g| g + g + g).collect();
        assert_eq!(values(found.get(&x).unwrap()), expected);
        assert_eq!(values(&gradient), values(&random(&[2, 3], 2)));
    }

    #[test]
    fn nothing_is_kept_outside_of_a_recording() {
        let x = variable(&[2, 3], 1);
        let ((), tape) = record(|| {
            sum(&x.detach(), &x.detach()).unwrap();
        });
        assert!(tape.0.is_empty());
        sum(&x, &x).unwrap();
        assert!(RECORDED.with_borrow(Option::is_none));
    }
}
