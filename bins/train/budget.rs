//! `--memory` and `--activation-checkpointing`: how many layers keep only their input so that the run fits, or, where it
//! cannot, which settings would.

use anyhow::{Result, anyhow};
use cli::Hint;
use cli::format::bytes;
use model::{Decoder, Footprint, Workload};
use serde::Serialize;
use training::{Row, Trainer};

use super::args::{Args, Checkpointing};

/// What the run may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    bytes: Option<u64>,
    given: bool,
    checkpointing: Checkpointing,
}

/// What a run is expected to take, by kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Forecast {
    /// Largest resident size of the process.
    pub(crate) peak: u64,
    /// Base and adapter.
    pub(crate) weights: u64,
    /// Gradients at the peak.
    pub(crate) gradients: u64,
    /// Moments of AdamW.
    pub(crate) optimizer: u64,
    /// What the layers keep for their backward pass.
    pub(crate) activations: u64,
    /// Logits of one chunk of rows.
    pub(crate) logits: u64,
    /// What one layer needs for a moment.
    pub(crate) work: u64,
    /// The program, its rows, and what the allocator cannot use.
    pub(crate) program: u64,
    /// Layers of which only the input is kept.
    pub(crate) checkpointed_layers: usize,
    /// Layers of the model.
    pub(crate) layers: usize,
    /// What the run may take, where it is known.
    pub(crate) budget: Option<u64>,
}

/// Code, thread stacks, tables and files of a process that trains nothing: measured.
const PROGRAM: u64 = 72 << 20;
/// Freed pieces that fit no later request, as a part of what comes and goes: measured, since the allocator gives nothing
/// back. (With `MIMALLOC_PURGE_DELAY=0` it is almost nothing, and a step takes half as long again.)
const UNUSABLE: f64 = 0.15;
/// Of free memory that nobody granted, a tenth is left alone: others may take it.
const CAUTION: f64 = 0.9;

impl Budget {
    /// Asks the system where `--memory` does not say. To be called before anything large is loaded.
    pub(crate) fn new(args: &Args) -> Self {
        let free = || Some((cli::available_bytes()? as f64 * CAUTION) as u64);
        let checkpointing = args.activation_checkpointing;
        Self { bytes: args.memory.or_else(free), given: args.memory.is_some(), checkpointing }
    }

    /// Refuses a model whose weights alone do not fit, before they are read. `trained` is whether each of them has a
    /// gradient and two moments besides.
    pub(crate) fn check_weights(&self, weights: u64, trained: bool) -> Result<()> {
        let needed = if trained { 4 * weights } else { weights };
        match self.bytes {
            Some(budget) if needed > budget => {
                let what = if trained { "the weights with their gradients and moments" } else { "the weights" };
                let error = anyhow!("{what} take {}, {}", bytes(needed), self.describe(budget));
                let hint = if trained {
                    "train an adapter with --method lora, or a smaller model"
                } else {
                    "take a smaller model"
                };
                Err(error).hint(format!("{hint}, or allow more with --memory"))
            }
            _ => Ok(()),
        }
    }

    /// Chooses how many layers to checkpoint: as few as fit.
    pub(crate) fn choose(&self, decoder: &Decoder, trainer: &mut Trainer<'_>, rows: &[Row]) -> Result<Forecast> {
        let layers = decoder.layer_count();
        let workload = trainer.workload(trainer.batch_size());
        let expect = |workload: Workload| self.forecast(decoder, workload, rows);
        let with = |checkpointed_layers| expect(Workload { checkpointed_layers, ..workload });
        let fits = |forecast: &Forecast| self.bytes.is_none_or(|budget| forecast.peak <= budget);
        let chosen = match self.checkpointing {
            Checkpointing::On => with(layers),
            Checkpointing::Off => with(0),
            Checkpointing::Auto => (0..=layers).map(with).find(fits).unwrap_or_else(|| with(layers)),
        };
        if fits(&chosen) { Ok(chosen) } else { Err(self.refusal(decoder, trainer, rows, chosen)) }
    }

    fn forecast(&self, decoder: &Decoder, workload: Workload, rows: &[Row]) -> Forecast {
        let footprint: Footprint = decoder.footprint(workload);
        let Footprint { weights, gradients, optimizer, activations, logits, work } = footprint;
        let moving = (gradients + activations + logits + work) as f64 * UNUSABLE;
        let program = PROGRAM + rows.iter().map(|row| 12 * row.len() as u64 + 72).sum::<u64>() + moving as u64;
        Forecast {
            peak: footprint.total() + program,
            weights,
            gradients,
            optimizer,
            activations,
            logits,
            work,
            program,
            checkpointed_layers: workload.checkpointed_layers,
            layers: decoder.layer_count(),
            budget: self.bytes,
        }
    }

    fn describe(&self, budget: u64) -> String {
        if self.given {
            format!("--memory allows {}", bytes(budget))
        } else {
            format!("and of the memory that is free {} may be used", bytes(budget))
        }
    }

    /// Why the run does not fit, and each change that would make it fit.
    fn refusal(&self, decoder: &Decoder, trainer: &mut Trainer<'_>, rows: &[Row], wanted: Forecast) -> anyhow::Error {
        let budget = self.bytes.unwrap_or(u64::MAX);
        let layers = decoder.layer_count();
        let mut ways = Vec::new();
        let fits = |workload: Workload| self.forecast(decoder, workload, rows).peak <= budget;
        let own = Workload { checkpointed_layers: layers, ..trainer.workload(trainer.batch_size()) };
        let off = self.checkpointing == Checkpointing::Off;
        if off && fits(own) {
            ways.push("--activation-checkpointing auto".to_owned());
        }
        let checkpointed = if off { 0 } else { layers };
        let (batch_size, accumulation) = (trainer.batch_size(), trainer.gradient_accumulation());
        let smaller = (1..batch_size).rev().filter(|size| batch_size.is_multiple_of(*size)).find(|&size| {
            fits(Workload { checkpointed_layers: checkpointed, accumulates: true, ..trainer.workload(size) })
        });
        if let Some(size) = smaller {
            let times = accumulation * batch_size / size;
            ways.push(format!("--batch-size {size} --gradient-accumulation {times}, which trains the same"));
        }
        let one = Workload { checkpointed_layers: checkpointed, ..trainer.workload(1) };
        let length = (4..).map(|power| 1usize << power).take_while(|&tokens| {
            tokens < one.tokens && fits(Workload { tokens, targets: tokens.min(one.targets), ..one })
        });
        if let (None, Some(length)) = (smaller, length.last()) {
            ways.push(format!("rows of {length} tokens: retune-tokenize --max-length {length}, with --batch-size 1"));
        }
        // The least that the model needs: one row at a time, and what is trained of the base left out.
        let least = self.forecast(decoder, Workload { checkpointed_layers: layers, accumulates: true, ..one }, rows);
        let of_base = if decoder.adapter().is_none() { least.gradients + least.optimizer } else { 0 };
        let rows_per_step = batch_size * accumulation;
        if of_base > 0 && least.peak - of_base <= budget {
            ways.push(format!(
                "--method lora --batch-size 1 --gradient-accumulation {rows_per_step}, which keeps no gradient and no moments \
                 of the base"
            ));
        }
        if ways.is_empty() {
            ways.push(format!(
                "a smaller model, or --memory of at least {} with --batch-size 1 --gradient-accumulation {rows_per_step}",
                bytes(least.peak)
            ));
        }
        let error = anyhow!(
            "the run would take about {} with {} of {layers} layers checkpointed, {}",
            bytes(wanted.peak),
            wanted.checkpointed_layers,
            self.describe(budget)
        );
        let refused: Result<()> = Err(error).hint(format!("what would help: {}", ways.join("; or ")));
        refused.expect_err("made of an error just above")
    }
}

impl Forecast {
    /// For people: the kinds, largest first, without those that take nothing.
    pub(crate) fn kinds(&self) -> String {
        let mut kinds = [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("logits", self.logits),
            ("work space", self.work),
            ("program", self.program),
        ];
        kinds.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        let kinds = kinds.iter().filter(|(_, size)| *size > 0).map(|(kind, size)| format!("{kind} {}", bytes(*size)));
        kinds.collect::<Vec<_>>().join(", ")
    }

    /// For people: which layers are computed twice; nothing where none is.
    pub(crate) fn checkpointing(&self) -> Option<String> {
        (self.checkpointed_layers > 0).then(|| {
            format!(
                "{} of {} layers keep only their input and are computed twice",
                self.checkpointed_layers, self.layers
            )
        })
    }
}
