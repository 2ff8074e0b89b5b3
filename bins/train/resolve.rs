//! From flags to settings: defaults filled in, what is not built refused, all of it in the form that the manifest keeps.

use anyhow::Result;
use cli::{Hint, Usage};
use model::LoraConfig;
use serde::Serialize;
use training::preference::Objective;
use training::{Duration, EarlyStopping, Options, ScheduleShape, TrainingError, Warmup};

use super::args::{Args, Choice, Device, Dtype, Method, Shape};
use super::lora_settings::{self, lora};
use super::preference;
use super::quantize;

/// Everything that decides the result, apart from the inputs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    /// What is learnt, with its settings.
    pub(crate) objective: Objective,
    /// `lora`, `dora`, `qlora` or `full`.
    pub(crate) method: &'static str,
    /// In which format the base is quantised; absent where it is held as it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quantize_base: Option<&'static str>,
    /// Rank; absent for full training.
    pub(crate) lora_r: Option<usize>,
    /// Alpha; absent for full training.
    pub(crate) lora_alpha: Option<f64>,
    /// Dropout; absent for full training.
    pub(crate) lora_dropout: Option<f64>,
    /// `all-linear` or names; absent for full training.
    pub(crate) target_modules: Option<String>,
    /// Whether the scale is alpha / √r.
    pub(crate) rslora: bool,
    /// What else there is to say about the adapter, in PEFT's words; absent where all of it is as by default.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub(crate) adapter: serde_json::Map<String, serde_json::Value>,
    /// Passes over the rows; absent with `max_steps`.
    pub(crate) epochs: Option<f64>,
    /// Steps; absent with `epochs`.
    pub(crate) max_steps: Option<usize>,
    /// Rows of a micro-batch.
    pub(crate) batch_size: usize,
    /// Micro-batches of a step.
    pub(crate) gradient_accumulation: usize,
    /// Highest learning rate.
    pub(crate) learning_rate: f64,
    /// Shape of the learning rate.
    pub(crate) schedule: ScheduleShape,
    /// Part of the steps; absent with `warmup_steps`.
    pub(crate) warmup_ratio: Option<f64>,
    /// Whether nobody asked for that part.
    #[serde(skip)]
    pub(crate) default_warmup: bool,
    /// Steps; absent with `warmup_ratio`.
    pub(crate) warmup_steps: Option<usize>,
    /// Where a falling rate ends.
    pub(crate) min_learning_rate_ratio: f64,
    /// Part of the steps in which it falls, with wsd.
    pub(crate) decay_ratio: f64,
    /// Decoupled decay.
    pub(crate) weight_decay: f64,
    /// Whether norms and biases decay too.
    pub(crate) decay_norms_and_biases: bool,
    /// AdamW's decay of the mean gradient.
    pub(crate) adam_beta1: f64,
    /// AdamW's decay of the mean squared gradient.
    pub(crate) adam_beta2: f64,
    /// What AdamW adds to the root.
    pub(crate) adam_epsilon: f64,
    /// LoRA+.
    pub(crate) lora_plus_ratio: f64,
    /// NEFTune.
    pub(crate) neftune_alpha: f64,
    /// Label smoothing.
    pub(crate) label_smoothing: f64,
    /// Clipping; 0 is off.
    pub(crate) max_grad_norm: f64,
    /// Steps between validations; absent for a tenth of the run.
    pub(crate) evaluate_every: Option<usize>,
    /// Early stopping.
    pub(crate) early_stopping_patience: Option<usize>,
    /// `best` or `last`.
    pub(crate) result: &'static str,
    /// Number format.
    pub(crate) dtype: &'static str,
    /// Fixes the order of rows, new adapters, random weights and dropout.
    pub(crate) seed: u64,
}

impl Settings {
    /// Fills in the defaults. `adapter` holds the settings of the adapter to continue.
    pub(crate) fn new(args: &Args, adapter: Option<&LoraConfig>) -> Result<Self> {
        check_machine(args)?;
        let method = method(args, adapter)?;
        let objective = preference::objective(&args.objective)?;
        let lora = match method {
            "full" => {
                lora_settings::refuse(&args.lora)?;
                None
            }
            _ => Some(lora(args, adapter)?),
        };
        check_flags_that_go_together(args, method)?;
        let schedule = ScheduleShape::from(args.schedule.schedule);
        let warmup_ratio = match (args.schedule.warmup_steps, args.schedule.warmup_ratio) {
            (Some(_), _) => None,
            (None, Some(ratio)) => Some(ratio),
            (None, None) => Some(if schedule == ScheduleShape::Constant { 0.0 } else { 0.03 }),
        };
        let settings = Self {
            objective,
            method,
            quantize_base: quantize::resolve(args)?,
            lora_r: lora.as_ref().map(|lora| lora.r),
            lora_alpha: lora.as_ref().map(|lora| lora.alpha),
            lora_dropout: lora.as_ref().map(|lora| lora.dropout),
            target_modules: lora.as_ref().map(|lora| lora.target_modules.to_string()),
            rslora: lora.as_ref().is_some_and(|lora| lora.use_rslora),
            adapter: lora.as_ref().map(lora_settings::beyond_defaults).unwrap_or_default(),
            epochs: args.schedule.max_steps.is_none().then(|| args.schedule.epochs.unwrap_or(3.0)),
            max_steps: args.schedule.max_steps,
            batch_size: args.schedule.batch_size,
            gradient_accumulation: args.schedule.gradient_accumulation,
            learning_rate: args
                .schedule
                .learning_rate
                .or_else(|| preference::default_learning_rate(&objective, method != "full"))
                .unwrap_or_else(|| default_learning_rate(args, method)),
            schedule,
            warmup_ratio,
            default_warmup: args.schedule.warmup_steps.is_none() && args.schedule.warmup_ratio.is_none(),
            warmup_steps: args.schedule.warmup_steps,
            min_learning_rate_ratio: args.schedule.min_learning_rate_ratio,
            decay_ratio: args.schedule.decay_ratio,
            weight_decay: args.schedule.weight_decay,
            decay_norms_and_biases: args.schedule.decay_norms_and_biases,
            adam_beta1: args.schedule.adam_beta1,
            adam_beta2: args.schedule.adam_beta2,
            adam_epsilon: args.schedule.adam_epsilon,
            lora_plus_ratio: args.schedule.lora_plus_ratio,
            neftune_alpha: args.schedule.neftune_alpha,
            label_smoothing: args.schedule.label_smoothing,
            max_grad_norm: args.schedule.max_grad_norm,
            evaluate_every: args.watch.evaluate_every,
            early_stopping_patience: args.watch.early_stopping_patience,
            result: match args.watch.result {
                Choice::Best => "best",
                Choice::Last => "last",
            },
            dtype: "f32",
            seed: args.output.seed,
        };
        // What is out of range is said before anything is read.
        settings.options(1, args.watch.save_every)?;
        Ok(settings)
    }

    /// The loop's options for a run over `rows` rows: a tenth of the run is now a number.
    pub(crate) fn options(&self, rows: usize, save_every: Option<usize>) -> Result<Options> {
        let options = Options {
            duration: match (self.max_steps, self.epochs) {
                (Some(steps), _) => Duration::Steps(steps),
                (None, epochs) => Duration::Epochs(epochs.expect("one of the two is always set")),
            },
            batch_size: self.batch_size,
            gradient_accumulation: self.gradient_accumulation,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            warmup: match (self.warmup_steps, self.warmup_ratio) {
                (Some(steps), _) => Warmup::Steps(steps),
                (None, ratio) => Warmup::Ratio(ratio.unwrap_or(0.0)),
            },
            minimum_learning_rate_ratio: self.min_learning_rate_ratio,
            decay_ratio: self.decay_ratio,
            weight_decay: self.weight_decay,
            decay_norms_and_biases: self.decay_norms_and_biases,
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            lora_plus_ratio: self.lora_plus_ratio,
            neftune_alpha: self.neftune_alpha,
            label_smoothing: self.label_smoothing,
            max_grad_norm: self.max_grad_norm,
            early_stopping: self.early_stopping_patience.map(|patience| EarlyStopping { patience }),
            seed: self.seed,
            objective: self.objective,
            evaluate_every: self.evaluate_every.unwrap_or(1),
            save_every: save_every.unwrap_or(1),
        };
        options.check().map_err(wrong_value)?;
        let steps = options.total_steps(rows);
        let tenth = steps.div_ceil(10);
        // A warm-up of one step would spend it at rate 0. Asked for, it is done all the same, as transformers does it.
        let wasted = self.default_warmup && options.learning_rate_schedule(steps).warmup_steps < 2;
        let warmup = if wasted { Warmup::Steps(0) } else { options.warmup };
        Ok(Options {
            warmup,
            evaluate_every: self.evaluate_every.unwrap_or(tenth),
            save_every: save_every.unwrap_or(tenth),
            ..options
        })
    }
}

/// A value out of its range, under the name of its flag.
fn wrong_value(error: TrainingError) -> anyhow::Error {
    let TrainingError::Option { name, found, expected } = error else { return error.into() };
    let flag = match name {
        "beta1" => "adam-beta1".to_owned(),
        "beta2" => "adam-beta2".to_owned(),
        "epsilon" => "adam-epsilon".to_owned(),
        "minimum_learning_rate_ratio" => "min-learning-rate-ratio".to_owned(),
        name => name.replace('_', "-"),
    };
    Usage(format!("--{flag} must be {expected}, found {found}")).into()
}

fn usage<T>(what: &str) -> Result<T, Usage> {
    Err(Usage(what.to_owned()))
}

/// The method, or why it cannot be used.
fn method(args: &Args, adapter: Option<&LoraConfig>) -> Result<&'static str> {
    let from_random = args.init_config.is_some();
    let continued = adapter.map(|adapter| if adapter.use_dora { "dora" } else { "lora" });
    match args.method {
        Some(Method::Lora | Method::Dora | Method::Qlora) if from_random => {
            usage("adapters adapt a trained model, and --init-config starts from random weights")
                .hint("leave out --method, or choose --method full")
        }
        Some(Method::Lora) if continued == Some("dora") => {
            usage("--method lora, but the adapter that --adapter goes on training is DoRA's (use_dora)")
                .hint("leave out --method")
        }
        Some(Method::Dora) if continued == Some("lora") => {
            usage("--method dora, but the adapter that --adapter goes on training is plain LoRA")
                .hint("leave out --method, or leave out --adapter to start a new one")
        }
        Some(Method::Dora) => Ok("dora"),
        Some(Method::Qlora) => Ok("qlora"),
        Some(Method::Full) if args.adapter.is_some() => {
            usage("--adapter goes on training an adapter; --method full trains the weights themselves")
                .hint("merge it first: retune-export --model BASE --adapter DIR --out MERGED, then --model MERGED")
        }
        Some(Method::Full) => Ok("full"),
        None if from_random => Ok("full"),
        Some(Method::Lora) => Ok("lora"),
        None => Ok(continued.unwrap_or("lora")),
    }
}

/// Refuses flags that would have no effect beside the others.
fn check_flags_that_go_together(args: &Args, method: &str) -> Result<()> {
    let flags = &args.schedule;
    let falls = matches!(flags.schedule, Shape::Cosine | Shape::Wsd);
    if flags.min_learning_rate_ratio != 0.0 && !falls {
        return usage("--min-learning-rate-ratio has no effect with this --schedule")
            .hint("choose --schedule cosine or wsd");
    }
    if flags.decay_ratio != 0.1 && flags.schedule != Shape::Wsd {
        return usage("--decay-ratio has no effect with this --schedule").hint("choose --schedule wsd");
    }
    if flags.lora_plus_ratio != 1.0 && method == "full" {
        return usage("--lora-plus-ratio is about adapters, and every weight is trained here")
            .hint("choose --method lora");
    }
    Ok(())
}

/// Refuses a device or a number format that this build does not have.
fn check_machine(args: &Args) -> Result<()> {
    if matches!(args.device, Device::Cuda | Device::Metal) {
        return usage("this build computes on the CPU only").hint("choose --device cpu, or leave it out");
    }
    if args.dtype == Dtype::Bf16 {
        return usage("--dtype bf16 is not built yet").hint("choose --dtype f32, or leave it out");
    }
    Ok(())
}

fn default_learning_rate(args: &Args, method: &str) -> f64 {
    match method {
        "lora" | "dora" | "qlora" => 2e-4,
        _ if args.init_config.is_some() => 1e-3,
        _ => 2e-5,
    }
}
