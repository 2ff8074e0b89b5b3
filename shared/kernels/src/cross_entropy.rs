//! Output layer and cross-entropy in one: the logits exist for a chunk of rows at a time, and both gradients are computed
//! in the forward pass, while the chunk's logits are at hand.

use crate::{
    Int8Matrix,
    matmul::{Matrix, multiply_add, multiply_into},
    numeric::{exp, tanh},
    parallel::{CHUNK, for_each_chunk},
    profile::timed,
    simd::{Kernel, LANES, dispatch, sum, sum_lanes},
    tape::apply2,
    tensors::{floats, fused, storage, tensor},
};
use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, OnceLock};

/// What is applied to the logits before the softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyOptions {
    /// Gemma's cap: `cap · tanh(logits / cap)`, after the scale.
    pub logit_softcap: Option<f32>,
    /// The logits are multiplied by this.
    pub logit_scale: f32,
    /// Share ε of the target's weight that is spread evenly over the vocabulary (Szegedy et al. 2016, arXiv:1512.00567):
    /// the loss is `(1 − ε)·NLL + ε·mean over all tokens of −log p`, as in transformers' `LabelSmoother`.
    pub label_smoothing: f32,
}

impl Default for CrossEntropyOptions {
    fn default() -> Self {
        Self { logit_softcap: None, logit_scale: 1.0, label_smoothing: 0.0 }
    }
}

/// Negative log-likelihoods in nats.
#[derive(Debug)]
pub struct CrossEntropy {
    /// The sum of the loss over all positions with a target, smoothed where that is asked for: a differentiable scalar.
    /// The backward pass can run through it once.
    pub loss_sum: Tensor,
    /// The same sum as a plain number, in full precision.
    pub objective: f64,
    /// The negative log-likelihood of each position with a target, in order; never smoothed.
    pub losses: Vec<f32>,
    /// Whether the largest logit (the first of equals) is the target's, for the same positions.
    pub correct: Vec<bool>,
}

/// Cross-entropy of `hidden` `[N, C]` through the output weight `[V, C]` against `targets`: what each position predicts,
/// already shifted, −100 (or any negative number) for none. Rows without a target cost nothing.
///
/// # Errors
/// Where the shapes do not fit or a target is not below `V`.
pub fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[i32],
    options: &CrossEntropyOptions,
) -> Result<CrossEntropy> {
    cross_entropy_with(hidden, weight, None, targets, options)
}

/// [`cross_entropy`] whose logits come from the same weight in 8 bits (`coarse`, quantised from it); the gradient of the
/// hidden states is that of the full weight, as small probabilities would be lost in 8 bits.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_int8(
    hidden: &Tensor,
    weight: &Tensor,
    coarse: &Arc<Int8Matrix>,
    targets: &[i32],
    options: &CrossEntropyOptions,
) -> Result<CrossEntropy> {
    if coarse.dims() != weight.dims2()? {
        bail!("cross_entropy: the weight in 8 bits has another shape: {:?}", coarse.dims());
    }
    cross_entropy_with(hidden, weight, Some(coarse), targets, options)
}

fn cross_entropy_with(
    hidden: &Tensor,
    weight: &Tensor,
    coarse: Option<&Arc<Int8Matrix>>,
    targets: &[i32],
    options: &CrossEntropyOptions,
) -> Result<CrossEntropy> {
    let ((n, columns), (vocabulary, weight_columns)) = (hidden.dims2()?, weight.dims2()?);
    if columns != weight_columns || targets.len() != n {
        bail!(
            "cross_entropy: expected a weight of shape [V, {columns}] and {n} targets, found {:?} and {}",
            weight.dims(),
            targets.len()
        );
    }
    if let Some(target) = targets.iter().find(|&&target| target >= 0 && target as usize >= vocabulary) {
        bail!("cross_entropy: expected targets below the vocabulary's size {vocabulary}, found {target}");
    }
    let targets: Vec<Target> =
        (0..n).filter(|&row| targets[row] >= 0).map(|row| Target { row, token: targets[row] as usize }).collect();
    if !fused(&[hidden, weight]) {
        return portable(hidden, weight, &targets, options);
    }
    let outcome = Arc::new(OnceLock::new());
    let op = Op {
        targets,
        coarse: coarse.cloned(),
        options: *options,
        wanted: Wanted { hidden: hidden.track_op(), weight: weight.track_op() },
        outcome: outcome.clone(),
        gradients: Mutex::new(None),
    };
    let loss_sum = apply2(&hidden.contiguous()?, &weight.contiguous()?, op)?;
    let Outcome { objective, losses, correct } = outcome.get().cloned().expect("the forward pass has just run");
    Ok(CrossEntropy { loss_sum, objective, losses, correct })
}

/// What a forward pass found out besides its result.
#[derive(Clone)]
struct Outcome {
    objective: f64,
    losses: Vec<f32>,
    correct: Vec<bool>,
}

#[derive(Clone, Copy)]
struct Target {
    row: usize,
    token: usize,
}

fn portable(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[Target],
    options: &CrossEntropyOptions,
) -> Result<CrossEntropy> {
    let device = hidden.device();
    if targets.is_empty() {
        let loss_sum = (hidden.narrow(0, 0, 0)?.sum_all()? + weight.narrow(0, 0, 0)?.sum_all()?)?;
        return Ok(CrossEntropy { loss_sum, objective: 0.0, losses: vec![], correct: vec![] });
    }
    let rows = Tensor::from_iter(targets.iter().map(|target| target.row as u32), device)?;
    let tokens = Tensor::from_iter(targets.iter().map(|target| target.token as u32), device)?;
    let mut logits = (hidden.index_select(&rows, 0)?.matmul(&weight.t()?)? * f64::from(options.logit_scale))?;
    if let Some(cap) = options.logit_softcap {
        logits = ((logits / f64::from(cap))?.tanh()? * f64::from(cap))?;
    }
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?;
    let losses = (&log_sum - shifted.gather(&tokens.unsqueeze(1)?, 1)?.squeeze(1)?)?;
    let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let smoothing = f64::from(options.label_smoothing);
    let even = (log_sum - shifted.mean(D::Minus1)?)?;
    let loss_sum = ((&losses * (1.0 - smoothing))? + (even * smoothing)?)?.sum_all()?;
    Ok(CrossEntropy {
        objective: loss_sum.to_dtype(DType::F64)?.to_scalar()?,
        loss_sum,
        losses: losses.to_dtype(DType::F32)?.to_vec1()?,
        correct: best.iter().zip(targets).map(|(&best, target)| best as usize == target.token).collect(),
    })
}

#[derive(Clone, Copy)]
struct Wanted {
    hidden: bool,
    weight: bool,
}

struct Gradients {
    hidden: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
}

struct Op {
    targets: Vec<Target>,
    /// The weight in 8 bits, where logits come from it.
    coarse: Option<Arc<Int8Matrix>>,
    options: CrossEntropyOptions,
    wanted: Wanted,
    outcome: Arc<OnceLock<Outcome>>,
    gradients: Mutex<Option<Gradients>>,
}

/// Rows whose logits exist at a time: each chunk packs the whole weight, and writes its gradient where that is wanted, so
/// many rows are efficient; the logits of a vocabulary of 49,152 take 96 MiB.
pub fn logit_rows(vocabulary: usize) -> usize {
    ((24 << 20) / vocabulary.max(1)).clamp(256, 1024) / 32 * 32
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        lh: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let _timer = timed("cross_entropy", false);
        let (hidden, weight) = (floats(hidden, lh)?, floats(weight, lw)?);
        let (vocabulary, columns) = (lw.dims()[0], lw.dims()[1]);
        let weight_matrix = Matrix::new(weight, vocabulary, columns);
        let mut grad_hidden = self.wanted.hidden.then(|| vec![0.0; hidden.len()]);
        let mut grad_weight = self.wanted.weight.then(|| vec![0.0; weight.len()]);
        let (mut objective, mut losses, mut correct) = (0.0, Vec::new(), Vec::new());

        let at_a_time = logit_rows(vocabulary).min(self.targets.len());
        let mut logits = vec![0.0; at_a_time * vocabulary];
        let mut rows = vec![0.0; at_a_time * columns];
        for targets in self.targets.chunks(at_a_time.max(1)) {
            let count = targets.len();
            let (logits, rows) = (&mut logits[..count * vocabulary], &mut rows[..count * columns]);
            for (row, target) in rows.chunks_exact_mut(columns).zip(targets) {
                row.copy_from_slice(&hidden[target.row * columns..][..columns]);
            }
            let rows_matrix = Matrix::new(rows, count, columns);
            match &self.coarse {
                None => multiply_into(logits, rows_matrix, weight_matrix.transposed(), self.options.logit_scale),
                Some(coarse) => {
                    coarse.multiply_into(rows, logits);
                    let scale = self.options.logit_scale;
                    if scale != 1.0 {
                        for_each_chunk(logits, CHUNK, |_, part| dispatch(Scale { values: part, scale }));
                    }
                }
            }
            for row in self.softmax(logits, targets, vocabulary) {
                objective += f64::from(row.objective);
                losses.push(row.loss);
                correct.push(row.correct);
            }
            let logits = Matrix::new(logits, count, vocabulary);
            if let Some(grad_weight) = &mut grad_weight {
                multiply_add(grad_weight, logits.transposed(), rows_matrix, 1.0);
            }
            if let Some(grad_hidden) = &mut grad_hidden {
                multiply_into(rows, logits, weight_matrix, 1.0);
                for (row, target) in rows.chunks_exact(columns).zip(targets) {
                    grad_hidden[target.row * columns..][..columns].copy_from_slice(row);
                }
            }
        }
        self.outcome.get_or_init(|| Outcome { objective, losses, correct });
        *self.gradients.lock().expect("no thread panics while it holds the gradients") =
            Some(Gradients { hidden: grad_hidden, weight: grad_weight });
        Ok(storage(vec![objective as f32], ()))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let _timer = timed("cross_entropy", true);
        let gradients = self.gradients.lock().expect("no thread panics while it holds the gradients").take();
        let Some(gradients) = gradients else {
            bail!("cross_entropy: the backward pass can run once; compute the loss again for another")
        };
        let scale = grad.to_scalar::<f32>()?;
        let scaled = |values: Option<Vec<f32>>, like: &Tensor| {
            let scaled = values.map(|mut values| {
                for_each_chunk(&mut values, CHUNK, |_, part| dispatch(Scale { values: part, scale }));
                tensor(values, like)
            });
            scaled.transpose()
        };
        Ok((scaled(gradients.hidden, hidden)?, scaled(gradients.weight, weight)?))
    }
}

impl Op {
    /// Turns each row of logits into its gradient where one is wanted; returns what each row comes to.
    fn softmax(&self, logits: &mut [f32], targets: &[Target], vocabulary: usize) -> Vec<RowOutcome> {
        let gradient = self.wanted.hidden || self.wanted.weight;
        logits
            .par_chunks_mut(vocabulary)
            .zip(targets)
            .map(|(row, target)| dispatch(Softmax { row, target: target.token, options: self.options, gradient }))
            .collect()
    }
}

struct RowOutcome {
    /// The negative log-likelihood of the target.
    loss: f32,
    /// The same, smoothed where that is asked for.
    objective: f32,
    correct: bool,
}

struct Scale<'a> {
    values: &'a mut [f32],
    scale: f32,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.values.iter_mut().for_each(|value| *value *= self.scale);
    }
}

struct Softmax<'a> {
    row: &'a mut [f32],
    target: usize,
    options: CrossEntropyOptions,
    gradient: bool,
}

impl Kernel for Softmax<'_> {
    type Output = RowOutcome;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> RowOutcome {
        let row = self.row;
        if let Some(cap) = self.options.logit_softcap {
            for logit in row.iter_mut() {
                *logit = cap * tanh::<FMA>(*logit / cap);
            }
        }
        let largest = maximum(row);
        let target = row[self.target];
        let correct = target == largest && row[..self.target].iter().all(|&logit| logit < largest);
        let smoothing = self.options.label_smoothing;
        let mean = if smoothing > 0.0 { sum(row.len(), |i, total| total + row[i]) / row.len() as f32 } else { 0.0 };
        // With a cap the slope needs the logits again.
        let total = match self.options.logit_softcap {
            None => exponentials::<FMA, true>(row, largest),
            Some(_) => exponentials::<FMA, false>(row, largest),
        };
        let log_total = f64::from(largest) + total.ln();
        let loss = log_total - f64::from(target);
        let even = if smoothing > 0.0 { log_total - f64::from(mean) } else { loss };
        let objective = loss + f64::from(smoothing) * (even - loss);
        let (keep, spread) = (1.0 - smoothing, smoothing / row.len() as f32);
        if self.gradient {
            let (inverse, scale) = ((1.0 / total) as f32, self.options.logit_scale);
            match self.options.logit_softcap {
                None => {
                    let scale_of_all = inverse * scale;
                    let spread = spread * scale;
                    for power in row.iter_mut() {
                        *power = *power * scale_of_all - spread;
                    }
                    // 1 − p from the other logits' view: exact to rounding also where p is close to 1.
                    row[self.target] -= keep * scale;
                }
                Some(cap) => {
                    let slope = |z: f32| scale * (1.0 - (z / cap) * (z / cap));
                    for z in row.iter_mut() {
                        *z = (exp::<FMA>(*z - largest) * inverse - spread) * slope(*z);
                    }
                    row[self.target] -= keep * slope(target);
                }
            }
        }
        RowOutcome { loss: loss as f32, objective: objective as f32, correct }
    }
}

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let mut largest = f32::NEG_INFINITY;
    for &value in chunks.remainder() {
        largest = if value > largest { value } else { largest };
    }
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().fold(largest, |largest, &value| if value > largest { value } else { largest })
}

/// The sum of the exponentials, in blocks that are added in `f64` because a vocabulary is long. `STORE` leaves the
/// exponentials in the row.
#[inline(always)]
fn exponentials<const FMA: bool, const STORE: bool>(row: &mut [f32], largest: f32) -> f64 {
    const BLOCK: usize = 32 * LANES;
    let mut total = 0.0f64;
    for block in row.chunks_mut(BLOCK) {
        let mut lanes = [0.0f32; LANES];
        let mut chunks = block.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for lane in 0..LANES {
                let power = exp::<FMA>(chunk[lane] - largest);
                lanes[lane] += power;
                if STORE {
                    chunk[lane] = power;
                }
            }
        }
        for (lane, value) in chunks.into_remainder().iter_mut().enumerate() {
            let power = exp::<FMA>(*value - largest);
            lanes[lane] += power;
            if STORE {
                *value = power;
            }
        }
        total += f64::from(sum_lanes(lanes));
    }
    total
}

#[cfg(test)]
mod tests;
