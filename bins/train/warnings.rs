//! What a run is told before its first step, because its curves would not tell it in time.

use cli::format::plural;
use training::{Options, Trainer, Warmup};

use super::resolve::Settings;

/// Below so many steps the schedule has no room and little is learnt.
const FEW_STEPS: usize = 10;
/// A run of so many steps is what is proposed instead.
const ENOUGH_STEPS: usize = 30;

/// Warns of a run that is over before it has begun, and of a warm-up that never ends.
pub(crate) fn before(trainer: &Trainer<'_>, options: &Options, settings: &Settings) {
    let learnable = trainer.rows() - trainer.rows_without_targets();
    let asked = settings.epochs.map(|epochs| (epochs, learnable));
    let warnings = [few_steps(options, trainer.total_steps(), asked), long_warmup(options, trainer.total_steps())];
    warnings.iter().flatten().for_each(|text| cli::warn(text));
}

/// Someone who gave `--max-steps` knows how many there are.
fn few_steps(options: &Options, steps: usize, asked: Option<(f64, usize)>) -> Option<String> {
    let (epochs, rows) = asked.filter(|_| steps < FEW_STEPS)?;
    let at_once = options.rows_per_step();
    let smaller = ((epochs * rows as f64 / ENOUGH_STEPS as f64) as usize).clamp(1, at_once);
    let mut ways = Vec::new();
    if smaller < at_once {
        let single = if options.gradient_accumulation > 1 { " --gradient-accumulation 1" } else { "" };
        ways.push(format!("--batch-size {}{single}", smaller.min(options.batch_size)));
    }
    let longer = ENOUGH_STEPS.div_ceil(rows.div_ceil(at_once));
    ways.push(format!("--epochs {longer}"));
    Some(format!(
        "only {}: {} to learn from, {} to a step, {epochs} {}; for more, take {}",
        plural(steps as u64, "optimizer step"),
        plural(rows as u64, "packed row"),
        at_once.min(rows),
        if epochs == 1.0 { "epoch" } else { "epochs" },
        ways.join(" or ")
    ))
}

fn long_warmup(options: &Options, steps: usize) -> Option<String> {
    let asked = match options.warmup {
        Warmup::Steps(steps) => steps,
        Warmup::Ratio(ratio) => (ratio * steps as f64).ceil() as usize,
    };
    if asked < steps || asked == 0 {
        return None;
    }
    Some(match steps {
        1 => "a warm-up would leave the only step at learning rate 0: it is left out".to_owned(),
        _ => format!(
            "the warm-up takes {asked} steps and the run has {steps}: the learning rate never reaches {}; take a lower \
             --warmup-steps or --warmup-ratio",
            options.learning_rate
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_steps_come_with_what_gives_more() {
        let options = Options { batch_size: 8, gradient_accumulation: 2, ..Options::default() };
        let text = few_steps(&options, 3, Some((1.0, 40))).unwrap();
        assert!(
            text.starts_with("only 3 optimizer steps: 40 packed rows to learn from, 16 to a step, 1 epoch;"),
            "{text}"
        );
        assert!(text.ends_with("take --batch-size 1 --gradient-accumulation 1 or --epochs 10"), "{text}");
        assert_eq!(few_steps(&options, FEW_STEPS, Some((1.0, 160))), None);
        assert_eq!(few_steps(&options, 3, None), None);
        let single = Options { batch_size: 1, gradient_accumulation: 1, ..options };
        assert!(few_steps(&single, 2, Some((1.0, 2))).unwrap().ends_with("take --epochs 15"));
    }

    #[test]
    fn a_warm_up_as_long_as_the_run_is_told() {
        let options = |warmup| Options { warmup, ..Options::default() };
        assert!(long_warmup(&options(Warmup::Ratio(0.5)), 10).is_none());
        assert!(long_warmup(&options(Warmup::Steps(0)), 1).is_none());
        assert!(long_warmup(&options(Warmup::Steps(10)), 10).unwrap().contains("never reaches 0.0002"));
        assert!(long_warmup(&options(Warmup::Ratio(0.03)), 1).unwrap().contains("left out"));
    }
}
