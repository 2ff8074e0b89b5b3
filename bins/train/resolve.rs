//! From flags to settings: defaults filled in, what is not built refused, all of it in the form that the manifest keeps.

use anyhow::{Result, anyhow, bail};
use cli::Hint;
use model::{LoraConfig, Targets};
use serde::Serialize;
use training::{Duration, EarlyStopping, Options, ScheduleShape, Warmup};

use super::args::{Args, Choice, Device, Dtype, Method};

/// Everything that decides the result, apart from the inputs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    /// `lora` or `full`.
    pub(crate) method: &'static str,
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
    /// Steps; absent with `warmup_ratio`.
    pub(crate) warmup_steps: Option<usize>,
    /// Decoupled decay.
    pub(crate) weight_decay: f64,
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
        let method = method(args)?;
        let lora = match method {
            "lora" => Some(lora(args, adapter)?),
            _ => None,
        };
        let schedule = ScheduleShape::from(args.schedule.schedule);
        let warmup_ratio = match (args.schedule.warmup_steps, args.schedule.warmup_ratio) {
            (Some(_), _) => None,
            (None, Some(ratio)) => Some(ratio),
            (None, None) => Some(if schedule == ScheduleShape::Constant { 0.0 } else { 0.03 }),
        };
        Ok(Self {
            method,
            lora_r: lora.as_ref().map(|lora| lora.r),
            lora_alpha: lora.as_ref().map(|lora| lora.alpha),
            lora_dropout: lora.as_ref().map(|lora| lora.dropout),
            target_modules: lora.as_ref().map(|lora| targets_text(&lora.target_modules)),
            rslora: lora.as_ref().is_some_and(|lora| lora.use_rslora),
            epochs: args.schedule.max_steps.is_none().then(|| args.schedule.epochs.unwrap_or(3.0)),
            max_steps: args.schedule.max_steps,
            batch_size: args.schedule.batch_size,
            gradient_accumulation: args.schedule.gradient_accumulation,
            learning_rate: args.schedule.learning_rate.unwrap_or_else(|| default_learning_rate(args, method)),
            schedule,
            warmup_ratio,
            warmup_steps: args.schedule.warmup_steps,
            weight_decay: args.schedule.weight_decay,
            max_grad_norm: args.schedule.max_grad_norm,
            evaluate_every: args.watch.evaluate_every,
            early_stopping_patience: args.watch.early_stopping_patience,
            result: match args.watch.result {
                Choice::Best => "best",
                Choice::Last => "last",
            },
            dtype: "f32",
            seed: args.output.seed,
        })
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
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            early_stopping: self.early_stopping_patience.map(|patience| EarlyStopping { patience }),
            seed: self.seed,
            evaluate_every: self.evaluate_every.unwrap_or(1),
            save_every: save_every.unwrap_or(1),
            ..Options::default()
        };
        options.check()?;
        let tenth = options.total_steps(rows).div_ceil(10);
        Ok(Options {
            evaluate_every: self.evaluate_every.unwrap_or(tenth),
            save_every: save_every.unwrap_or(tenth),
            ..options
        })
    }
}

/// The method, or why it cannot be used.
fn method(args: &Args) -> Result<&'static str> {
    let from_random = args.init_config.is_some();
    let not_built =
        |name: &str| Err(anyhow!("--method {name} is not built yet")).hint("choose --method lora or --method full");
    match args.method {
        Some(Method::Qlora) => not_built("qlora"),
        Some(Method::Dora) => not_built("dora"),
        Some(Method::Lora) if from_random => {
            Err(anyhow!("--method lora adapts a trained model, and --init-config starts from random weights"))
                .hint("leave out --method, or choose --method full")
        }
        Some(Method::Full) if args.adapter.is_some() => {
            Err(anyhow!("--adapter goes on training an adapter; --method full trains the weights themselves"))
                .hint("merge it first: retune-export --model BASE --adapter DIR --out MERGED, then --model MERGED")
        }
        Some(Method::Full) => Ok("full"),
        None if from_random => Ok("full"),
        Some(Method::Lora) | None => Ok("lora"),
    }
}

/// Refuses a device or a number format that this build does not have.
fn check_machine(args: &Args) -> Result<()> {
    if matches!(args.device, Device::Cuda | Device::Metal) {
        return Err(anyhow!("this build computes on the CPU only")).hint("choose --device cpu, or leave it out");
    }
    if args.dtype == Dtype::Bf16 {
        return Err(anyhow!("--dtype bf16 is not built yet")).hint("choose --dtype f32, or leave it out");
    }
    Ok(())
}

fn default_learning_rate(args: &Args, method: &str) -> f64 {
    match method {
        "lora" => 2e-4,
        _ if args.init_config.is_some() => 1e-3,
        _ => 2e-5,
    }
}

/// The adapter's settings: those of `adapter` where one is continued, else those of the flags.
pub(crate) fn lora(args: &Args, adapter: Option<&LoraConfig>) -> Result<LoraConfig> {
    let flags = &args.lora;
    if let Some(adapter) = adapter {
        let given = [
            ("--lora-r", flags.lora_r.is_some_and(|r| r as usize != adapter.r)),
            ("--lora-dropout", flags.lora_dropout.is_some_and(|dropout| dropout != adapter.dropout)),
            ("--lora-alpha", flags.lora_alpha.is_some_and(|alpha| alpha != adapter.alpha)),
            ("--target-modules", flags.target_modules.is_some()),
            ("--rslora", flags.rslora && !adapter.use_rslora),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, differs)| *differs) {
            return Err(anyhow!("{flag} differs from the settings of the adapter that --adapter goes on training"))
                .hint(format!("leave out {flag}, or leave out --adapter to start a new one"));
        }
        return Ok(adapter.clone());
    }
    let dropout = flags.lora_dropout.unwrap_or(0.0);
    if !(0.0..1.0).contains(&dropout) {
        bail!("--lora-dropout must be from 0 to below 1, found {dropout}");
    }
    Ok(LoraConfig {
        r: flags.lora_r.unwrap_or(16) as usize,
        alpha: flags.lora_alpha.unwrap_or(32.0),
        dropout,
        target_modules: targets(flags.target_modules.as_deref()),
        use_rslora: flags.rslora,
        ..LoraConfig::default()
    })
}

fn targets(names: Option<&[String]>) -> Targets {
    match names {
        None => Targets::AllLinear,
        Some([name]) if name == "all-linear" => Targets::AllLinear,
        Some(names) => Targets::Named(names.to_vec()),
    }
}

fn targets_text(targets: &Targets) -> String {
    match targets {
        Targets::AllLinear => "all-linear".to_owned(),
        Targets::Named(names) => names.join(","),
        Targets::Pattern(pattern) => pattern.clone(),
    }
}
