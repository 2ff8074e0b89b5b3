//! AdamW (Loshchilov and Hutter 2019), the arithmetic of PyTorch's, in one pass over parameter, gradient and moments.

use crate::{
    parallel::CHUNK,
    profile::timed,
    simd::{Kernel, dispatch},
    tensors::{Floats, fused},
};
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// The numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Counts from 1: the moments' bias is corrected by it.
    pub step: u64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay rate of the mean of gradients.
    pub beta1: f64,
    /// Decay rate of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay; 0 for norms and biases.
    pub weight_decay: f64,
    /// The gradient is multiplied by this first: clipping and division by the number of tokens need no pass of their own.
    pub gradient_scale: f64,
}

/// Updates the parameter in place from its gradient, and the two moments (one element for each of the parameter's).
///
/// # Errors
/// Where the shapes differ or `step` is 0.
pub fn adamw_update(
    parameter: &Var,
    gradient: &Tensor,
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    step: &AdamWStep,
) -> Result<()> {
    let _timer = timed("adamw", false);
    let count = parameter.elem_count();
    if gradient.shape() != parameter.shape() || first_moment.len() != count || second_moment.len() != count {
        bail!(
            "adamw: expected a gradient of shape {:?} and {count} moments, found {:?}, {} and {}",
            parameter.dims(),
            gradient.dims(),
            first_moment.len(),
            second_moment.len()
        );
    }
    if step.step == 0 {
        bail!("adamw: expected steps that count from 1, found 0");
    }
    let gradient = gradient.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()?;
    let gradient = Floats::of(&gradient)?;
    if fused(&[parameter]) && parameter.is_contiguous() {
        let moments = Mutex::new((first_moment, second_moment));
        return parameter.inplace_op1(&Update { gradient: &gradient, moments, step });
    }
    let mut values = parameter.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    update(&mut values, &gradient, first_moment, second_moment, step);
    let updated = Tensor::from_vec(values, parameter.shape(), &Device::Cpu)?;
    parameter.set(&updated.to_device(parameter.device())?.to_dtype(parameter.dtype())?)
}

struct Update<'a> {
    gradient: &'a [f32],
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
    step: &'a AdamWStep,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("adamw: expected a contiguous f32 parameter")
        };
        let mut moments = self.moments.lock().expect("no thread panics while it holds the moments");
        let (first, second) = &mut *moments;
        update(&mut values[start..end], self.gradient, first, second, self.step);
        Ok(())
    }
}

fn update(values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: &AdamWStep) {
    let (power1, power2) = (step.beta1.powf(step.step as f64), step.beta2.powf(step.step as f64));
    let constants = Constants {
        gradient_scale: step.gradient_scale as f32,
        keep: (1.0 - step.learning_rate * step.weight_decay) as f32,
        beta2: step.beta2 as f32,
        rest1: (1.0 - step.beta1) as f32,
        rest2: (1.0 - step.beta2) as f32,
        step_size: (step.learning_rate / (1.0 - power1)) as f32,
        root_correction: (1.0 - power2).sqrt() as f32,
        epsilon: step.epsilon as f32,
    };
    if values.len() <= CHUNK {
        return dispatch(Chunk { values, gradient, first, second, constants });
    }
    values
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
        .for_each(|((values, gradient), (first, second))| {
            dispatch(Chunk { values, gradient, first, second, constants });
        });
}

#[derive(Clone, Copy)]
struct Constants {
    gradient_scale: f32,
    keep: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
}

struct Chunk<'a> {
    values: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    constants: Constants,
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let c = self.constants;
        let moments = self.first.iter_mut().zip(self.second.iter_mut());
        for (((value, gradient), first), second) in
            self.values.iter_mut().zip(self.gradient).zip(moments).map(|(pair, (m, v))| ((pair, m), v))
        {
            let gradient = gradient * c.gradient_scale;
            *first += (gradient - *first) * c.rest1;
            *second = *second * c.beta2 + gradient * gradient * c.rest2;
            let denominator = second.sqrt() / c.root_correction + c.epsilon;
            *value = *value * c.keep - c.step_size * (*first / denominator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{numbers, with_threads};

    fn step(step: u64) -> AdamWStep {
        AdamWStep {
            step,
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            gradient_scale: 0.5,
        }
    }

    #[test]
    fn follows_the_paper() {
        let len = 3 * CHUNK + 5;
        let run = || {
            let parameter = Var::from_vec(numbers(len, 1), len, &Device::Cpu).unwrap();
            let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
            for i in 1..=3 {
                let gradient = Tensor::from_vec(numbers(len, 10 + i), len, &Device::Cpu).unwrap();
                adamw_update(&parameter, &gradient, &mut first, &mut second, &step(i)).unwrap();
            }
            parameter.to_vec1::<f32>().unwrap()
        };
        let mut expected: Vec<f64> = numbers(len, 1).iter().map(|&v| f64::from(v)).collect();
        let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
        for i in 1..=3 {
            for (j, gradient) in numbers(len, 10 + i).iter().enumerate() {
                let gradient = f64::from(*gradient) * 0.5;
                m[j] = 0.9 * m[j] + 0.1 * gradient;
                v[j] = 0.999 * v[j] + 0.001 * gradient * gradient;
                let m_hat: f64 = m[j] / (1.0 - 0.9f64.powi(i as i32));
                let v_hat: f64 = v[j] / (1.0 - 0.999f64.powi(i as i32));
                expected[j] -= 0.01 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.1 * expected[j]);
            }
        }
        let [one, two] = [1, 2].map(|threads| with_threads(threads, run));
        assert_eq!(one, two);
        for (value, expected) in one.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "{value} instead of {expected}");
        }
    }

    #[test]
    fn shapes_and_steps_are_checked() {
        let parameter = Var::from_vec(vec![1.0f32; 2], 2, &Device::Cpu).unwrap();
        let gradient = Tensor::new(&[1.0f32, 1.0], &Device::Cpu).unwrap();
        assert!(adamw_update(&parameter, &gradient, &mut [0.0], &mut [0.0; 2], &step(1)).is_err());
        assert!(adamw_update(&parameter, &gradient, &mut [0.0; 2], &mut [0.0; 2], &step(0)).is_err());
    }
}
