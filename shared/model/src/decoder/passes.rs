//! One pass over a batch: embedding, layers, final norm, logits, loss. The steps are public one by one, so that a
//! trainer can recompute a layer instead of keeping what is inside it.

use std::ops::Range;

use candle_core::Tensor;
use kernels::{CrossEntropy, CrossEntropyOptions, FrozenWeight, Segments, WeightLayout};

use super::Decoder;
use crate::parts::{OverSegments, Remade, RotaryRows};
use crate::{Batch, Mode, ModelError, random};

/// What all layers of one pass share: rotary rows, segments, mode.
#[derive(Debug, Clone)]
pub struct Pass {
    pub(super) tables: Vec<RotaryRows>,
    pub(super) segments: Segments,
    pub(super) mode: Mode,
}

impl Decoder {
    /// Checks a batch and prepares what its layers share.
    ///
    /// # Errors
    /// A token outside the vocabulary, a position beyond the learned ones, or lengths that do not fit.
    pub fn begin(&self, batch: &Batch, mode: Mode) -> Result<Pass, ModelError> {
        let learned = self.description.embedding.positions.is_some().then_some(self.description.context);
        batch.check(self.description.vocabulary, learned)?;
        // Each segment is a sequence that ends at its own largest position.
        let length =
            |segment: Range<usize>| batch.position_ids[segment].iter().max().map_or(0, |last| *last as usize + 1);
        let lengths: Vec<usize> = batch.segments.iter().map(length).collect();
        Ok(Pass { tables: self.rotary_rows(batch, &lengths)?, segments: batch.segments.clone(), mode })
    }

    pub(super) fn rotary_rows(&self, batch: &Batch, lengths: &[usize]) -> Result<Vec<RotaryRows>, ModelError> {
        let device = self.embedding.table.tensor().device();
        self.rotary.iter().map(|table| table.rows(batch, lengths, device)).collect()
    }

    /// The embedded tokens `[N, C]`.
    ///
    /// # Errors
    /// Where the lookup fails.
    pub fn embed(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        self.embedding.forward(&batch.input_ids, &batch.position_ids)
    }

    /// The embedded tokens `[N, C]`, in training with the noise that [`Decoder::regularised`] asks for.
    ///
    /// # Errors
    /// Where the lookup fails.
    pub fn embed_in(&self, batch: &Batch, mode: Mode) -> Result<Tensor, ModelError> {
        let x = self.embed(batch)?;
        match mode {
            Mode::Train { dropout_seed } if self.regularisation.neftune_alpha > 0.0 => {
                self.noisy(&x, batch, dropout_seed)
            }
            _ => Ok(x),
        }
    }

    /// NEFTune (Jain et al. 2023, arXiv:2310.05914): `x` plus noise, uniform within `alpha / √(L·C)` for an example of L
    /// tokens; each number is a function of the seed and its place.
    fn noisy(&self, x: &Tensor, batch: &Batch, seed: u64) -> Result<Tensor, ModelError> {
        let (tokens, width) = x.dims2()?;
        let mut noise = random::uniform(seed, "neftune", tokens * width, 1.0);
        let alpha = self.regularisation.neftune_alpha * f64::from(self.description.embedding.noise_scale);
        for segment in batch.segments.iter() {
            let bound = (alpha / ((segment.len() * width) as f64).sqrt()) as f32;
            noise[segment.start * width..segment.end * width].iter_mut().for_each(|value| *value *= bound);
        }
        Ok(kernels::sum(x, &Tensor::from_vec(noise, (tokens, width), x.device())?)?)
    }

    /// How the loss is computed: label smoothing acts in training alone.
    pub fn loss_options(&self, mode: Mode) -> CrossEntropyOptions {
        let label_smoothing = match mode {
            Mode::Train { .. } => self.regularisation.label_smoothing as f32,
            Mode::Evaluate | Mode::Generate => 0.0,
        };
        CrossEntropyOptions { label_smoothing, ..self.cross_entropy_options() }
    }

    /// Number of layers.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Layer `index` applied to the stream `[N, C]`.
    ///
    /// # Errors
    /// Where the arithmetic fails.
    pub fn layer(&self, index: usize, x: &Tensor, pass: &Pass) -> Result<Tensor, ModelError> {
        let mut remade = Remade::nothing();
        self.layers[index].forward(x, &pass.tables, &mut OverSegments(&pass.segments), pass.mode, &mut remade)
    }

    /// The final norm, `[N, C]`.
    ///
    /// # Errors
    /// Where the arithmetic fails.
    pub fn finish(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.final_norm.forward(x)
    }

    /// Hidden states after the final norm, `[N, C]`.
    ///
    /// # Errors
    /// As [`Decoder::begin`], or where the arithmetic fails.
    pub fn hidden_states(&self, batch: &Batch, mode: Mode) -> Result<Tensor, ModelError> {
        let pass = self.begin(batch, mode)?;
        let mut x = self.embed_in(batch, mode)?;
        for index in 0..self.layers.len() {
            x = self.layer(index, &x, &pass)?;
        }
        self.finish(&x)
    }

    /// The output weight `[V, C]`: the token embedding where they are tied.
    pub fn output_weight(&self) -> &Tensor {
        self.output.as_ref().unwrap_or(&self.embedding.table).tensor()
    }

    /// How logits are scaled and capped.
    pub fn cross_entropy_options(&self) -> CrossEntropyOptions {
        CrossEntropyOptions {
            logit_softcap: self.description.output.softcap,
            logit_scale: self.description.output.scale,
            label_smoothing: 0.0,
        }
    }

    /// Logits `[N, V]` of hidden states `[N, C]`. The loss does not need them: see [`Decoder::loss`].
    ///
    /// # Errors
    /// Where the arithmetic fails.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.logits_of(hidden, Mode::Evaluate)
    }

    pub(super) fn logits_of(&self, hidden: &Tensor, mode: Mode) -> Result<Tensor, ModelError> {
        let CrossEntropyOptions { logit_softcap, logit_scale, .. } = self.cross_entropy_options();
        let (weight, layout) = (self.output_weight(), WeightLayout::OutputByInput);
        let mut logits = match mode {
            Mode::Generate => match &self.stored_output {
                Some(stored @ FrozenWeight::Stored(_)) if !weight.track_op() => {
                    kernels::linear_rows_independent_frozen(hidden, stored, None, layout)?
                }
                _ => kernels::linear_rows_independent(hidden, weight, None, layout)?,
            },
            Mode::Evaluate | Mode::Train { .. } => kernels::linear(hidden, weight, None, layout)?,
        };
        if logit_scale != 1.0 {
            logits = (logits * f64::from(logit_scale))?;
        }
        if let Some(cap) = logit_softcap.map(f64::from) {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(logits)
    }

    /// Cross-entropy of a batch. `targets[i]` is what position `i` should predict, −100 where nothing is asked.
    ///
    /// # Errors
    /// As [`Decoder::hidden_states`], or where a target is outside the vocabulary.
    pub fn loss(&self, batch: &Batch, targets: &[i32], mode: Mode) -> Result<CrossEntropy, ModelError> {
        self.loss_of(&self.hidden_states(batch, mode)?, targets, mode)
    }

    /// Cross-entropy of hidden states after the final norm, `[N, C]`.
    ///
    /// # Errors
    /// Where a target is outside the vocabulary.
    pub fn loss_of(&self, hidden: &Tensor, targets: &[i32], mode: Mode) -> Result<CrossEntropy, ModelError> {
        let (weight, options) = (self.output_weight(), self.loss_options(mode));
        if let (Some(FrozenWeight::Int8(coarse)), Mode::Train { .. }) = (&self.stored_output, mode)
            && !weight.track_op()
        {
            return Ok(kernels::cross_entropy_int8(hidden, weight, coarse, targets, &options)?);
        }
        Ok(kernels::cross_entropy(hidden, weight, targets, &options)?)
    }

    /// The loss of each position as in [`Decoder::loss`], for looking at it alone: no gradient, and nothing is kept for
    /// one, so that memory does not grow with the number of layers.
    ///
    /// # Errors
    /// As [`Decoder::loss`].
    pub fn score(&self, batch: &Batch, targets: &[i32]) -> Result<CrossEntropy, ModelError> {
        let pass = self.begin(batch, Mode::Evaluate)?;
        let mut x = self.embed(batch)?.detach();
        for index in 0..self.layers.len() {
            x = self.layer(index, &x, &pass)?.detach();
        }
        let hidden = self.finish(&x)?.detach();
        let weight = self.output_weight().detach();
        Ok(kernels::cross_entropy(&hidden, &weight, targets, &self.cross_entropy_options())?)
    }
}
