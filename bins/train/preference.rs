//! Preference tuning on the command line: which objective, its settings, and the log-probabilities under the reference,
//! which are computed once and kept beside the checkpoints.

use std::path::Path;

use anyhow::Result;
use artifact::files;
use clap::{Args as ClapArgs, ValueEnum};
use training::Row;
use training::preference::{Dpo, DpoLoss, Objective, Reference, Sides};

const REFERENCE: &str = "reference.json";

/// Flags of the objective.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Objective")]
pub(crate) struct ObjectiveArgs {
    /// What is learnt: the trained tokens, or from pairs which answer is preferred
    #[arg(long, value_parser = cli::Advised::<Name>::new(OTHER_OBJECTIVES), default_value = "sft")]
    pub(crate) objective: Name,

    /// DPO: how much it costs to depart from the reference. ORPO: weight of the odds ratio [default: 0.1]
    #[arg(long, value_name = "X")]
    pub(crate) beta: Option<f64>,

    /// Shape of DPO's loss [default: sigmoid]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) dpo_loss: Option<LossType>,

    /// Chance that a pair is the wrong way round, for the losses sigmoid and robust [default: 0]
    #[arg(long, value_name = "P")]
    pub(crate) dpo_label_smoothing: Option<f64>,

    /// Weight of the chosen answer's own likelihood beside DPO's loss [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) rpo_alpha: Option<f64>,
}

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Supervised fine-tuning: the likelihood of the trained tokens
    Sft,
    /// Direct preference optimisation (arXiv:2305.18290)
    Dpo,
    /// Odds ratio preference optimisation (arXiv:2403.07691), which needs no reference
    Orpo,
}

/// Objectives of other trainers, and what to do here.
const OTHER_OBJECTIVES: &[(&[&str], &str)] = &[
    (
        &["kto"],
        "where two answers to a prompt differ in their marks, make pairs of them (chosen, rejected) and choose \
         --objective dpo; or train on the good answers alone with --objective sft",
    ),
    (&["ipo"], "--objective dpo --dpo-loss ipo"),
    (
        &["simpo", "cpo", "bco", "apo", "rrhf", "slic", "slic-hf"],
        "--objective orpo learns from pairs without a reference, --objective dpo with one; --dpo-loss takes sigmoid, hinge, \
         ipo and robust",
    ),
    (
        &["ppo", "grpo", "rloo", "reinforce", "rm", "reward", "prm", "gkd", "distill", "distillation"],
        "answers are not generated in training here: let a judge choose between answers beforehand, and learn from the \
         pairs with --objective dpo",
    ),
    (&["pt", "pretrain", "clm", "causal-lm"], "--objective sft learns every token of text: ingest with --format text"),
];

/// Shape of DPO's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LossType {
    /// The negative log-sigmoid of the margin
    Sigmoid,
    /// What lacks to a margin of one
    Hinge,
    /// The squared distance to a margin, per token (arXiv:2310.12036)
    Ipo,
    /// The sigmoid, unbiased for labels that are wrong with --dpo-label-smoothing
    Robust,
}

/// The objective that the flags ask for.
pub(crate) fn objective(args: &ObjectiveArgs) -> Result<Objective> {
    let beta = args.beta.unwrap_or(0.1);
    let given = [
        ("--beta", args.beta.is_some(), args.objective != Name::Sft),
        ("--dpo-loss", args.dpo_loss.is_some(), args.objective == Name::Dpo),
        ("--dpo-label-smoothing", args.dpo_label_smoothing.is_some(), args.objective == Name::Dpo),
        ("--rpo-alpha", args.rpo_alpha.is_some(), args.objective == Name::Dpo),
    ];
    if let Some((flag, ..)) = given.into_iter().find(|(_, given, used)| *given && !used) {
        let what = format!("{flag} has no meaning with --objective {}", word(args.objective));
        return Err(cli::Usage(what).into());
    }
    Ok(match args.objective {
        Name::Orpo => Objective::Orpo { beta },
        Name::Dpo => Objective::Dpo(Dpo {
            beta,
            loss_type: match args.dpo_loss.unwrap_or(LossType::Sigmoid) {
                LossType::Sigmoid => DpoLoss::Sigmoid,
                LossType::Hinge => DpoLoss::Hinge,
                LossType::Ipo => DpoLoss::Ipo,
                LossType::Robust => DpoLoss::Robust,
            },
            label_smoothing: args.dpo_label_smoothing.unwrap_or(0.0),
            rpo_alpha: args.rpo_alpha.unwrap_or(0.0),
        }),
        Name::Sft => Objective::Sft,
    })
}

fn word(name: Name) -> String {
    name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The peak learning rate where none is given; preferences need a gentler one than imitation.
pub(crate) fn default_learning_rate(objective: &Objective, is_adapter: bool) -> Option<f64> {
    match (objective, is_adapter) {
        (Objective::Sft, _) => None,
        (_, true) => Some(5e-5),
        (Objective::Dpo(_), false) => Some(1e-6),
        (Objective::Orpo { .. }, false) => Some(8e-6),
    }
}

/// The log-probabilities under the reference, as they were kept for this run, or computed by `reference` and kept.
pub(crate) fn reference(
    checkpoints: &Path,
    resumed: bool,
    (train, validation): (&[Row], &[Row]),
    compute: impl FnOnce() -> Result<Reference>,
) -> Result<Reference> {
    let path = checkpoints.join(REFERENCE);
    if resumed && path.is_file() {
        let [train_kept, validation_kept]: [Vec<Sides>; 2] = files::read_json(&path)?;
        if (train_kept.len(), validation_kept.len()) == (train.len(), validation.len()) {
            return Ok(Reference { train: train_kept, validation: validation_kept });
        }
    }
    let found = compute()?;
    files::create_folder(checkpoints)?;
    files::write_atomically(&path, &serde_json::to_vec(&[&found.train, &found.validation])?)?;
    Ok(found)
}
