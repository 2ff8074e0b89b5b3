//! What the tests of every operation share: inputs, and the comparison with a plain formula.

use candle_core::{DType, Device, Result, Tensor, Var};

/// Numbers spread over about [−1, 1], a function of the seed alone.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A tensor of [`numbers`].
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

/// Runs in a pool of so many threads.
pub(crate) fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that no element differs by more than `tolerance` of the largest (at least 1).
pub(crate) fn close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (values(found), values(expected));
    let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * largest, "element {index}: {found} instead of {expected} (of {largest})");
    }
}

type Function<'a> = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'a>;

/// Compares an operation and its gradients with a plain formula in `f64`, with finite differences, and with itself for
/// another number of threads.
pub(crate) struct Check<'a> {
    fused: Function<'a>,
    plain: Function<'a>,
    constants: usize,
    smooth: bool,
}

impl<'a> Check<'a> {
    pub(crate) fn new(fused: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'a) -> Self {
        Self {
            fused: Box::new(fused),
            plain: Box::new(|_| unreachable!("a plain formula is given")),
            constants: 0,
            smooth: true,
        }
    }

    pub(crate) fn with_plain(mut self, plain: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'a) -> Self {
        self.plain = Box::new(plain);
        self
    }

    /// The last so many inputs get no gradient.
    pub(crate) fn constants(mut self, count: usize) -> Self {
        self.constants = count;
        self
    }

    /// Finite differences are compared only where the function has no kinks.
    pub(crate) fn smooth(mut self, smooth: bool) -> Self {
        self.smooth = smooth;
        self
    }

    pub(crate) fn run(&self, inputs: &[Tensor]) {
        let (y, gradients) = with_threads(1, || self.evaluate(&self.fused, inputs, DType::F32));
        let (plain_y, plain_gradients) = self.evaluate(&self.plain, inputs, DType::F64);
        close(&y, &plain_y, 1e-5);
        if y.elem_count() == 0 {
            // Candle records no operation on an empty tensor.
            return;
        }
        for (gradient, plain) in gradients.iter().zip(&plain_gradients) {
            close(gradient, plain, 1e-5);
        }
        let (other_y, other_gradients) = with_threads(2, || self.evaluate(&self.fused, inputs, DType::F32));
        assert_eq!(values(&y), values(&other_y), "another number of threads, another result");
        for (gradient, other) in gradients.iter().zip(&other_gradients) {
            assert_eq!(values(gradient), values(other), "another number of threads, another gradient");
        }
        if self.smooth {
            self.finite_differences(inputs, &gradients);
        }
    }

    /// The result, and the gradient of each input of the sum of the result's elements with fixed weights.
    fn evaluate(&self, function: &Function, inputs: &[Tensor], dtype: DType) -> (Tensor, Vec<Tensor>) {
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(dtype).unwrap()).collect();
        let (tracked, constant) = inputs.split_at(inputs.len() - self.constants);
        let vars: Vec<Var> = tracked.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
        let arguments: Vec<Tensor> =
            vars.iter().map(|var| var.as_tensor().clone()).chain(constant.iter().cloned()).collect();
        let y = function(&arguments).unwrap();
        let weights = random(y.dims(), 77).to_dtype(dtype).unwrap();
        let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = vars.iter().map(|var| match gradients.get(var) {
            None if y.elem_count() == 0 => var.zeros_like().unwrap(),
            gradient => gradient.expect("each input has a gradient").clone(),
        });
        (y.detach(), gradients.collect())
    }

    /// Along one random direction for each input.
    fn finite_differences(&self, inputs: &[Tensor], gradients: &[Tensor]) {
        const STEP: f64 = 2e-3;
        for (index, gradient) in gradients.iter().enumerate() {
            let direction = random(gradient.dims(), 55 + index as u64);
            let loss = |step: f64| -> f64 {
                let mut moved = inputs.to_vec();
                moved[index] = (&inputs[index] + (&direction * step).unwrap()).unwrap();
                let y = (self.fused)(&moved).unwrap();
                values(&y).iter().zip(values(&random(y.dims(), 77))).map(|(y, weight)| y * weight).sum()
            };
            let difference = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
            let (gradient, direction) = (values(gradient), values(&direction));
            let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let size: f64 = gradient.iter().zip(&direction).map(|(g, d)| (g * d).powi(2)).sum::<f64>().sqrt();
            assert!(
                (difference - slope).abs() <= 1e-2 * (1.0 + size + slope.abs()),
                "input {index}: finite difference {difference}, gradient {slope} (size {size})"
            );
        }
    }
}
