//! Activation functions, alone and as the gate of a gated feed-forward layer (Shazeer 2020).

use crate::{
    numeric::{erf, exp, sigmoid},
    parallel::{CHUNK, build, build2},
    profile::timed,
    simd::{Kernel, dispatch},
    tape::{apply1, apply2},
    tensors::{Floats, floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// The activation functions of decoder models, as Hugging Face's `hidden_act` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`: `silu`, `swish`.
    Silu,
    /// `x · Φ(x)` by the error function: `gelu`.
    Gelu,
    /// GELU's approximation by a hyperbolic tangent: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// GELU's approximation by a sigmoid, `x · sigmoid(1.702 x)`: `quick_gelu`.
    QuickGelu,
    /// `max(x, 0)`: `relu`.
    Relu,
    /// `max(x, 0)²`: `relu2`.
    ReluSquared,
}

/// Applies the activation to each element of `x` (any shape).
///
/// # Errors
/// Where candle fails to allocate or run.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if fused(&[x]) { apply1(&x.contiguous()?, Single(activation)) } else { portable(x, activation) }
}

/// `activation(gate) · up`, element by element.
///
/// # Errors
/// Where the shapes differ.
pub fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        bail!("gated: expected gate and up of one shape, found {:?} and {:?}", gate.dims(), up.dims());
    }
    if !fused(&[gate, up]) {
        return portable(gate, activation)? * up;
    }
    apply2(&gate.contiguous()?, &up.contiguous()?, Gated(activation))
}

fn portable(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::QuickGelu => x * (x * f64::from(QUICK_SCALE))?.neg()?.exp()?.affine(1.0, 1.0)?.recip()?,
        Activation::Relu => x.relu(),
        Activation::ReluSquared => x.relu()?.sqr(),
    }
}

/// `√(2/π)`.
const TANH_SCALE: f32 = 0.797_884_6;
const TANH_CUBE: f32 = 0.044_715;
const QUICK_SCALE: f32 = 1.702;
/// `1 / √(2π)`.
const NORMAL_SCALE: f32 = 0.398_942_3;

/// A function of one number with its derivative, as a type, so that each is compiled into its own vector loop.
trait Curve {
    /// The value and the derivative at `x`; what is not used is not computed.
    fn at<const FMA: bool>(x: f32) -> (f32, f32);
}

struct Silu;
struct Gelu;
struct GeluTanh;
struct QuickGelu;
struct Relu;
struct ReluSquared;

impl Curve for Silu {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        let s = sigmoid::<FMA>(x);
        (x * s, s * (1.0 + x * (1.0 - s)))
    }
}

impl Curve for Gelu {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        let cumulative = 0.5 * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2));
        (x * cumulative, cumulative + x * NORMAL_SCALE * exp::<FMA>(-0.5 * x * x))
    }
}

impl Curve for GeluTanh {
    /// `½ (1 + tanh u) = sigmoid(2u)`, without the cancellation where `tanh u` is near −1.
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        let s = sigmoid::<FMA>(2.0 * TANH_SCALE * (x + TANH_CUBE * x * x * x));
        let slope = 2.0 * TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * x * x);
        (x * s, s * (1.0 + x * (1.0 - s) * slope))
    }
}

impl Curve for QuickGelu {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        let s = sigmoid::<FMA>(QUICK_SCALE * x);
        (x * s, s * (1.0 + QUICK_SCALE * x * (1.0 - s)))
    }
}

impl Curve for ReluSquared {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        if x <= 0.0 { (0.0, 0.0) } else { (x * x, 2.0 * x) }
    }
}

impl Curve for Relu {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        // `x <= 0` is false for NaN, which passes through.
        if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }
    }
}

/// Calls a kernel that is generic over the curve.
macro_rules! with_curve {
    ($activation:expr, $curve:ident => $call:expr) => {
        match $activation {
            Activation::Silu => {
                type $curve = Silu;
                $call
            }
            Activation::Gelu => {
                type $curve = Gelu;
                $call
            }
            Activation::GeluTanh => {
                type $curve = GeluTanh;
                $call
            }
            Activation::QuickGelu => {
                type $curve = QuickGelu;
                $call
            }
            Activation::Relu => {
                type $curve = Relu;
                $call
            }
            Activation::ReluSquared => {
                type $curve = ReluSquared;
                $call
            }
        }
    };
}

struct Single(Activation);

impl CustomOp1 for Single {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("activation", false);
        let x = floats(x, layout)?;
        let y = build(x.len(), CHUNK, |chunk, y| {
            let x = &x[chunk * CHUNK..][..y.len()];
            with_curve!(self.0, C => dispatch(Forward::<C> { x, y, curve: std::marker::PhantomData }));
        });
        Ok(storage(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let _timer = timed("activation", true);
        let grad = grad.contiguous()?;
        let (xs, gs) = (Floats::of(x)?, Floats::of(&grad)?);
        let (xs, gs) = (&xs[..], &gs[..]);
        let grad_x = build(xs.len(), CHUNK, |chunk, grad_x| {
            let (x, grad) = (&xs[chunk * CHUNK..][..grad_x.len()], &gs[chunk * CHUNK..][..grad_x.len()]);
            with_curve!(self.0, C => dispatch(Backward::<C> { x, grad, grad_x, curve: std::marker::PhantomData }));
        });
        Ok(Some(tensor(grad_x, x)?))
    }
}

struct Gated(Activation);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, gate: &CpuStorage, lg: &Layout, up: &CpuStorage, lu: &Layout) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("gated", false);
        let (gate, up) = (floats(gate, lg)?, floats(up, lu)?);
        let y = build(gate.len(), CHUNK, |chunk, y| {
            let (gate, up) = (&gate[chunk * CHUNK..][..y.len()], &up[chunk * CHUNK..][..y.len()]);
            with_curve!(self.0, C => dispatch(GatedForward::<C> { gate, up, y, curve: std::marker::PhantomData }));
        });
        Ok(storage(y, lg.shape()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("gated", true);
        let grad = grad.contiguous()?;
        let (gates, ups, grads) = (Floats::of(gate)?, Floats::of(up)?, Floats::of(&grad)?);
        let (gates, ups, grads) = (&gates[..], &ups[..], &grads[..]);
        let (grad_gate, grad_up) = build2(gates.len(), CHUNK, |chunk, grad_gate, grad_up| {
            let range = chunk * CHUNK..chunk * CHUNK + grad_gate.len();
            let (gate, up, grad) = (&gates[range.clone()], &ups[range.clone()], &grads[range]);
            with_curve!(self.0, C => {
                dispatch(GatedBackward::<C> { gate, up, grad, grad_gate, grad_up, curve: std::marker::PhantomData });
            });
        });
        Ok((Some(tensor(grad_gate, gate)?), Some(tensor(grad_up, up)?)))
    }
}

struct Forward<'a, C> {
    x: &'a [f32],
    y: &'a mut [f32],
    curve: std::marker::PhantomData<C>,
}

impl<C: Curve> Kernel for Forward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = C::at::<FMA>(*x).0;
        }
    }
}

struct Backward<'a, C> {
    x: &'a [f32],
    grad: &'a [f32],
    grad_x: &'a mut [f32],
    curve: std::marker::PhantomData<C>,
}

impl<C: Curve> Kernel for Backward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((grad_x, x), grad) in self.grad_x.iter_mut().zip(self.x).zip(self.grad) {
            *grad_x = grad * C::at::<FMA>(*x).1;
        }
    }
}

struct GatedForward<'a, C> {
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
    curve: std::marker::PhantomData<C>,
}

impl<C: Curve> Kernel for GatedForward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((y, gate), up) in self.y.iter_mut().zip(self.gate).zip(self.up) {
            *y = C::at::<FMA>(*gate).0 * up;
        }
    }
}

struct GatedBackward<'a, C> {
    gate: &'a [f32],
    up: &'a [f32],
    grad: &'a [f32],
    grad_gate: &'a mut [f32],
    grad_up: &'a mut [f32],
    curve: std::marker::PhantomData<C>,
}

impl<C: Curve> Kernel for GatedBackward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let outputs = self.grad_gate.iter_mut().zip(self.grad_up.iter_mut());
        for ((((grad_gate, grad_up), gate), up), grad) in outputs.zip(self.gate).zip(self.up).zip(self.grad) {
            let (value, slope) = C::at::<FMA>(*gate);
            *grad_gate = grad * up * slope;
            *grad_up = grad * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Check, random};

    const ALL: [Activation; 6] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::ReluSquared,
    ];

    #[test]
    fn agree_with_the_plain_formula() {
        for activation in ALL {
            for shape in [vec![1], vec![5, 7], vec![70, 300], vec![0, 3]] {
                let (gate, up) = ((random(&shape, 1) * 3.0).unwrap(), random(&shape, 2));
                Check::new(|t| activate(&t[0], activation))
                    .with_plain(|t| portable(&t[0], activation))
                    .run(std::slice::from_ref(&gate));
                Check::new(|t| gated(&t[0], &t[1], activation))
                    .with_plain(|t| portable(&t[0], activation)? * &t[1])
                    .run(&[gate, up]);
            }
        }
    }

    #[test]
    fn extreme_inputs_stay_finite() {
        let x = Tensor::new(&[-1e30f32, -100.0, 100.0, 1e10], &candle_core::Device::Cpu).unwrap();
        for activation in ALL {
            let y = activate(&x, activation).unwrap().to_vec1::<f32>().unwrap();
            let power = if activation == Activation::ReluSquared { 2 } else { 1 };
            assert_eq!((y[1].abs(), y[2], y[3]), (0.0, 100f32.powi(power), 1e10f32.powi(power)), "{activation:?}");
            assert_eq!(y[0].abs(), 0.0, "{activation:?}");
        }
    }
}
