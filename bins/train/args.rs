//! The command line of `retune-train`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, ValueEnum};
use training::ScheduleShape;

use super::quantize::BaseFormat;

/// Tune a language model on tokens, with LoRA or in full, or pre-train a small one from random weights.
///
/// Reads a folder of `retune-tokenize` (or any Parquet file with the columns input_ids, labels and position_ids) and a
/// Hugging Face model folder; writes a PEFT adapter or a whole model that other tools load, with one row of figures per
/// step in metrics.parquet.
#[derive(Debug, Parser)]
#[command(
    name = "retune-train",
    allow_negative_numbers = true,
    version,
    after_help = "\
Examples:
  retune-train tokens --model base --out model                        tune with LoRA
  retune-train tokens --model base --out model --method full          tune every weight
  retune-train pairs --model base --out model --objective dpo         learn which answers are preferred
  retune-train tokens --init-config small.json --out base             pre-train from random weights
  retune-train tokens --model base --out model --resume               go on after Ctrl-C or a crash
  retune-train tokens --model base --out model --plan                 say what it would take, and stop"
)]
pub(crate) struct Args {
    /// Folder written by retune-tokenize, or a Parquet file with the columns input_ids, labels and position_ids
    #[arg(value_name = "TOKENS")]
    pub(crate) tokens: PathBuf,

    /// Parquet file of validation rows, in place of the folder's validation.parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) validation: Option<PathBuf>,

    /// The base model: a Hugging Face folder, a GGUF file, or a name on a hub such as org/name@revision
    #[arg(long, value_name = "DIR|NAME", required_unless_present = "init_config")]
    pub(crate) model: Option<String>,

    /// Start from random weights of this config.json; vocab_size is taken from the tokenizer where it is absent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "adapter"])]
    pub(crate) init_config: Option<PathBuf>,

    /// Go on training this PEFT adapter instead of a new one
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) adapter: Option<PathBuf>,

    /// What is trained: low-rank adapters beside the frozen weights, or every weight [default: lora, with
    /// --init-config: full]
    #[arg(long, value_parser = cli::Advised::<Method>::new(OTHER_METHODS), help_heading = "Method")]
    pub(crate) method: Option<Method>,

    /// In which format --method qlora holds the base [default: nf4; a base in GGUF stays as it is]
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Method")]
    pub(crate) quantize_base: Option<BaseFormat>,

    #[command(flatten)]
    pub(crate) objective: super::preference::ObjectiveArgs,

    #[command(flatten)]
    pub(crate) lora: LoraArgs,

    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,

    #[command(flatten)]
    pub(crate) watch: WatchArgs,

    /// Print parameters, tokens, steps, memory by kind and time (measured in a short warm-up), and stop
    #[arg(long)]
    pub(crate) plan: bool,

    /// Take two steps in memory, print where the time of the second went, operation by operation, and stop
    #[arg(long, conflicts_with = "plan")]
    pub(crate) profile: bool,

    /// Where to compute; auto takes the best that this build has
    #[arg(long, value_enum, default_value_t = Device::Auto, help_heading = "Machine")]
    pub(crate) device: Device,

    /// Memory that the run may take, such as 8GiB [default: nine tenths of what is free]
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_bytes, help_heading = "Machine")]
    pub(crate) memory: Option<u64>,

    /// Keep only the input of a layer between forward and backward pass and compute the layer twice: less memory, more
    /// time, the same result to the byte. auto does so for as few layers as --memory asks for
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Checkpointing::Auto, help_heading = "Machine")]
    pub(crate) activation_checkpointing: Checkpointing,

    /// Number format of the arithmetic
    #[arg(long, value_enum, default_value_t = Dtype::F32, help_heading = "Machine")]
    pub(crate) dtype: Dtype,

    #[command(flatten)]
    pub(crate) output: cli::Output,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

impl cli::StageArgs for Args {
    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Flags of LoRA.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "LoRA")]
pub(crate) struct LoraArgs {
    /// Rank of the adapters [default: 16, with --adapter: its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lora_r: Option<u32>,

    /// Scale of the adapters: alpha / r [default: 32, with --adapter: its own]
    #[arg(long, value_name = "X")]
    pub(crate) lora_alpha: Option<f64>,

    /// Probability with which an input of an adapter is zeroed in training [default: 0, with --adapter: its own]
    #[arg(long, value_name = "P")]
    pub(crate) lora_dropout: Option<f64>,

    /// Linear layers that get an adapter: all-linear, names such as q_proj,v_proj, or a regular expression for the whole
    /// name such as '.*layers.[0-3].*_proj' [default: all-linear]
    #[arg(long, value_name = "NAMES|REGEX")]
    pub(crate) target_modules: Option<String>,

    /// Layers that get none although they are targeted: names, or a regular expression
    #[arg(long, value_name = "NAMES|REGEX")]
    pub(crate) exclude_modules: Option<String>,

    /// Only the layers of these numbers, from 0: 0,2,8-11
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) layers: Vec<String>,

    /// Names of the lists of layers that --layers counts in, where a model has several
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "layers")]
    pub(crate) layers_pattern: Vec<String>,

    /// Other ranks for some layers: q_proj=32,down_proj=8; names or regular expressions, the first match counts
    #[arg(long, value_name = "NAME=N,...", value_delimiter = ',')]
    pub(crate) lora_rank_pattern: Vec<String>,

    /// Other alphas for some layers, likewise
    #[arg(long, value_name = "NAME=X,...", value_delimiter = ',')]
    pub(crate) lora_alpha_pattern: Vec<String>,

    /// Scale by alpha / √r (rank-stabilised LoRA, arXiv:2312.03732)
    #[arg(long, alias = "use-rslora")]
    pub(crate) rslora: bool,

    /// Modules that are trained as a whole and stored with the adapter: lm_head,embed_tokens,norm
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) modules_to_save: Vec<String>,

    /// Keep a tied output tied when --modules-to-save trains the embedding
    #[arg(long, requires = "modules_to_save")]
    pub(crate) ensure_weight_tying: bool,

    /// Biases of the base model that are trained and stored with the adapter
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) bias: Option<BiasArg>,

    /// Give the adapters' second factor a bias
    #[arg(long)]
    pub(crate) lora_bias: bool,

    /// First values of a new adapter (PEFT's names) [default: true]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) init_lora_weights: Option<InitArg>,
}

/// Which biases train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BiasArg {
    /// None
    None,
    /// All, those of norms too
    All,
    /// Those of the adapted layers
    #[value(name = "lora_only", alias = "lora-only")]
    LoraOnly,
}

/// First values of a new adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitArg {
    /// A uniform (Kaiming), B zero
    True,
    /// Both random: the model changes from the start
    False,
    /// A normal with deviation 1/r, B zero
    Gaussian,
    /// Both from an orthogonal matrix, their product zero
    Orthogonal,
}

/// Flags of the optimisation.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Optimisation")]
pub(crate) struct ScheduleArgs {
    /// Times that each row is seen; a fraction is allowed [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "max_steps")]
    pub(crate) epochs: Option<f64>,

    /// Optimizer steps, in place of --epochs
    #[arg(long, value_name = "N")]
    pub(crate) max_steps: Option<usize>,

    /// Rows that go through the model together; more is faster and takes more memory
    #[arg(long, value_name = "ROWS", default_value_t = 8)]
    pub(crate) batch_size: usize,

    /// Batches whose gradients make one step; 4 batches of 2 rows train exactly as 1 batch of 8
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) gradient_accumulation: usize,

    /// Highest learning rate [default: 2e-4 for lora, 2e-5 for full, 1e-3 with --init-config]
    #[arg(long, value_name = "X")]
    pub(crate) learning_rate: Option<f64>,

    /// How the learning rate falls after the warm-up (formulas of transformers)
    #[arg(long, value_enum, default_value_t = Shape::Cosine)]
    pub(crate) schedule: Shape,

    /// Part of the steps in which the learning rate rises from 0 [default: 0.03, in runs below 34 steps and with --schedule
    /// constant: 0]
    #[arg(long, value_name = "X", conflicts_with = "warmup_steps")]
    pub(crate) warmup_ratio: Option<f64>,

    /// The same as a number of steps
    #[arg(long, value_name = "N")]
    pub(crate) warmup_steps: Option<usize>,

    /// Where the learning rate of cosine and wsd ends, as a share of the highest
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) min_learning_rate_ratio: f64,

    /// Part of the steps in which the learning rate of wsd falls
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    pub(crate) decay_ratio: f64,

    /// Decoupled weight decay of AdamW; norms and biases are spared
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    pub(crate) weight_decay: f64,

    /// Let norms and biases decay too
    #[arg(long)]
    pub(crate) decay_norms_and_biases: bool,

    /// AdamW's decay of the mean gradient
    #[arg(long, value_name = "X", default_value_t = 0.9)]
    pub(crate) adam_beta1: f64,

    /// AdamW's decay of the mean squared gradient
    #[arg(long, value_name = "X", default_value_t = 0.999)]
    pub(crate) adam_beta2: f64,

    /// What AdamW adds to the root of the mean squared gradient
    #[arg(long, value_name = "X", default_value_t = 1e-8)]
    pub(crate) adam_epsilon: f64,

    /// Gradients with a larger global norm are scaled down to it; 0 turns it off
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) max_grad_norm: f64,

    /// Learning rate of the adapters' B over that of A, and of vectors: LoRA+ (arXiv:2402.12354)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) lora_plus_ratio: f64,

    /// Noise on the embedded tokens in training: NEFTune (arXiv:2310.05914), often 5; 0 is none
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) neftune_alpha: f64,

    /// Share of each target's weight that is spread over the vocabulary; the reported training loss is then the smoothed
    /// one, the validation loss never is
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) label_smoothing: f64,
}

/// Flags of validation and checkpoints.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Validation and checkpoints")]
pub(crate) struct WatchArgs {
    /// Steps between validations [default: a tenth of the run]; the last step is always validated
    #[arg(long, value_name = "N")]
    pub(crate) evaluate_every: Option<usize>,

    /// Stop after this many validations in a row without a new lowest loss
    #[arg(long, value_name = "N")]
    pub(crate) early_stopping_patience: Option<usize>,

    /// Which weights are the result: those of the lowest validation loss, or the last ones. Without validation rows: last
    #[arg(long, value_enum, default_value_t = Choice::Best)]
    pub(crate) result: Choice,

    /// Steps between checkpoints [default: a tenth of the run]
    #[arg(long, value_name = "N")]
    pub(crate) save_every: Option<usize>,

    /// Checkpoints to keep, the newest ones; 0 removes them all when the run is finished
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) keep_checkpoints: usize,

    /// Go on from the newest checkpoint in --out; the result is the same to the byte as without the interruption
    #[arg(long)]
    pub(crate) resume: bool,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// Low-rank adapters (arXiv:2106.09685)
    Lora,
    /// Every weight
    Full,
    /// Low-rank adapters over a base that is held in 4 or 8 bits (arXiv:2305.14314)
    Qlora,
    /// Low-rank adapters with a trained length of each output (arXiv:2402.09353)
    Dora,
}

/// Methods of other trainers, and what to do here.
const OTHER_METHODS: &[(&[&str], &str)] = &[
    (
        &["ia3", "adalora", "vera", "oft", "boft", "loha", "lokr", "lora-fa", "pissa", "olora", "loftq", "randlora"],
        "--method lora trains as few weights; --rslora, --lora-rank-pattern and --method dora vary it",
    ),
    (
        &["prefix-tuning", "prefix", "prompt-tuning", "prompt", "p-tuning", "adapter", "adapters", "llama-adapter"],
        "--method lora serves the same end, and its result can be merged into the model",
    ),
    (
        &["galore", "lomo", "badam", "lisa"],
        "--method full with --activation-checkpointing on and --batch-size 1 saves memory",
    ),
    (&["freeze", "bitfit"], "--method lora with --layers trains some layers, --bias all trains the biases"),
    (&["qdora"], "--method dora keeps the base as it is stored; --method qlora holds it in fewer bits"),
    (&["sft", "dpo", "orpo", "kto"], "what is learnt is --objective; --method says which weights are trained"),
];

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// The best that this build has: the CPU
    Auto,
    /// The CPU
    Cpu,
    /// Not in this build
    Cuda,
    /// Not in this build
    Metal,
}

/// Which layers are computed twice to save memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Checkpointing {
    /// As few as fit into the memory
    Auto,
    /// All
    On,
    /// None
    Off,
}

/// Number format of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// 32 bits
    F32,
    /// Not built yet
    Bf16,
}

/// Shape of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Half a cosine
    Cosine,
    /// A straight line to 0
    Linear,
    /// Stays
    Constant,
    /// Stays, then falls in half a cosine
    Wsd,
}

impl From<Shape> for ScheduleShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Cosine => Self::Cosine,
            Shape::Linear => Self::Linear,
            Shape::Constant => Self::Constant,
            Shape::Wsd => Self::Wsd,
        }
    }
}

/// Which weights become the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Those with the lowest validation loss
    Best,
    /// Those after the last step
    Last,
}
