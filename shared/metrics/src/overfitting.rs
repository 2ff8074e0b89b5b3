//! A plain verdict on a training run from its two curves: did it learn, did it go on too long, what to change.

use serde::Serialize;

use crate::bootstrap::FEWEST_ROWS;

/// One value of a loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Optimizer step.
    pub step: u64,
    /// Nats per trained token.
    pub loss: f64,
}

/// What the curves say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FitVerdict {
    /// Too few validation losses to say anything.
    Unknown,
    /// Validation loss did not fall at all.
    NotLearning,
    /// A loss is not a finite number.
    Diverged,
    /// Validation loss was still falling noticeably when training ended.
    StillImproving,
    /// Validation loss levelled out and stayed near its best.
    WellFitted,
    /// Validation loss turned and rose while training loss went on falling.
    Overfitted,
}

/// The verdict with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overfitting {
    /// The verdict.
    pub verdict: FitVerdict,
    /// Where validation loss was lowest.
    pub best: Option<CurvePoint>,
    /// The last validation loss.
    pub last: Option<CurvePoint>,
    /// Training loss around the best step, averaged since the validation before it.
    pub train_at_best: Option<f64>,
    /// Training loss at the end, averaged since the validation before it.
    pub train_at_end: Option<f64>,
    /// Validation minus training loss at the end, nats.
    pub gap: Option<f64>,
    /// Examples that the validation losses are means over, where known.
    pub validation_examples: Option<usize>,
    /// The verdict as a sentence with its figures.
    pub sentence: String,
    /// What to change, each tied to a figure.
    pub advice: Vec<String>,
}

/// A rise of validation loss over its best that counts, as a share of the best.
const TURN: f64 = 0.01;
/// A fall over the last third of the validations that counts as still improving.
const STILL_FALLING: f64 = 0.01;
/// The same in nats: a loss near zero falls by a percent for ever.
const STILL_FALLING_NATS: f64 = 0.002;

/// Judges a run from its training losses (each step) and validation losses, both in step order.
pub fn judge_fit(train: &[CurvePoint], validation: &[CurvePoint]) -> Overfitting {
    let mut evidence = Overfitting {
        verdict: FitVerdict::Unknown,
        best: validation
            .iter()
            .copied()
            .filter(|point| point.loss.is_finite())
            .min_by(|a, b| a.loss.total_cmp(&b.loss)),
        last: validation.last().copied(),
        train_at_best: None,
        train_at_end: None,
        gap: None,
        validation_examples: None,
        sentence: String::new(),
        advice: Vec::new(),
    };
    if train.iter().chain(validation).any(|point| !point.loss.is_finite()) {
        evidence.diverged();
        return evidence;
    }
    let (Some(best), Some(last), true) = (evidence.best, evidence.last, validation.len() >= 3) else {
        evidence.unknown(validation.len());
        return evidence;
    };
    evidence.train_at_best = mean_before(train, validation, best.step);
    evidence.train_at_end = mean_before(train, validation, last.step);
    evidence.gap = evidence.train_at_end.map(|loss| last.loss - loss);
    let first = validation[0];
    if first.step == 0 && best.step == 0 && last.loss > first.loss * (1.0 + TURN) {
        evidence.worsened(validation, last);
    } else if last.loss > best.loss * (1.0 + TURN) && best.step < last.step {
        evidence.turned(first, best, last);
    } else if best.loss >= first.loss * (1.0 - TURN / 2.0) && first.step == 0 {
        evidence.not_learning(first, last);
    } else {
        let third = validation[validation.len() - 1 - (validation.len() / 3).max(1)];
        evidence.settled(first, third, best, last);
    }
    evidence
}

/// Mean training loss over the steps between the validation before `step` and `step` itself.
fn mean_before(train: &[CurvePoint], validation: &[CurvePoint], step: u64) -> Option<f64> {
    let from = validation.iter().rev().map(|point| point.step).find(|&earlier| earlier < step).unwrap_or(0);
    let window: Vec<f64> =
        train.iter().filter(|point| point.step > from && point.step <= step).map(|point| point.loss).collect();
    (!window.is_empty()).then(|| window.iter().sum::<f64>() / window.len() as f64)
}

impl Overfitting {
    /// The same, knowing over how many examples validation went: from fewer than [`FEWEST_ROWS`] no verdict on overfitting and no
    /// advice is drawn. A loss that is not finite needs no number of examples.
    #[must_use]
    pub fn over(mut self, examples: Option<usize>) -> Self {
        self.validation_examples = examples;
        let Some(few) = examples.filter(|&examples| examples < FEWEST_ROWS) else { return self };
        let finite = self.last.is_none_or(|last| last.loss.is_finite());
        if self.verdict == FitVerdict::Unknown || (self.verdict == FitVerdict::Diverged && !finite) {
            return self;
        }
        let noun = if few == 1 { "example is" } else { "examples are" };
        self.verdict = FitVerdict::Unknown;
        self.sentence = format!(
            "{few} validation {noun} too few to tell whether the model overfits ({FEWEST_ROWS} are the least). What the curves hint at: {}",
            self.sentence
        );
        self.advice =
            vec!["Give validation more rows, such as retune-ingest --split train=0.8,validation=0.2.".to_owned()];
        self
    }

    fn diverged(&mut self) {
        self.verdict = FitVerdict::Diverged;
        "Training diverged: a loss is not a finite number.".clone_into(&mut self.sentence);
        self.advice.push("Lower the learning rate, and raise the warm-up.".to_owned());
    }

    fn unknown(&mut self, validations: usize) {
        self.sentence = format!(
            "The curves cannot say whether the model overfits: {validations} validation losses were recorded, 3 are needed."
        );
        self.advice.push(
            "Let retune-train measure more often (--evaluate-every), on a data set with a validation split.".to_owned(),
        );
    }

    fn not_learning(&mut self, first: CurvePoint, last: CurvePoint) {
        self.verdict = FitVerdict::NotLearning;
        self.sentence = format!(
            "Training did not help: validation loss went from {:.4} to {:.4} by step {}.",
            first.loss, last.loss, last.step
        );
        self.advice
            .push("Raise the learning rate or train longer; check that the trained tokens are the answers.".to_owned());
    }

    /// No step was as good as the model before the first one.
    fn worsened(&mut self, validation: &[CurvePoint], last: CurvePoint) {
        self.verdict = FitVerdict::NotLearning;
        let lowest = validation[1..].iter().copied().min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap_or(last);
        self.sentence = format!(
            "Training made validation worse from the start: its loss was {:.4} before the first step, {:.4} at best (step {}) and {:.4} at the end.",
            validation[0].loss, lowest.loss, lowest.step, last.loss
        );
        self.advice.push(
            "Lower the learning rate, and check that the validation rows are of the same kind as the training rows."
                .to_owned(),
        );
    }

    fn turned(&mut self, first: CurvePoint, best: CurvePoint, last: CurvePoint) {
        let train_fell = match (self.train_at_best, self.train_at_end) {
            (Some(at_best), Some(at_end)) => at_end < at_best,
            _ => true,
        };
        let rise = 100.0 * (last.loss / best.loss - 1.0);
        if !train_fell {
            self.verdict = FitVerdict::Diverged;
            self.sentence = format!(
                "Training became unstable: after step {} validation loss rose {rise:.1} % (from {:.4} to {:.4}), and training loss rose with it.",
                best.step, best.loss, last.loss
            );
            self.advice.push("Lower the learning rate, raise the warm-up, or clip gradients lower.".to_owned());
            return;
        }
        self.verdict = FitVerdict::Overfitted;
        let train = match (self.train_at_best, self.train_at_end) {
            (Some(at_best), Some(at_end)) => format!(", while training loss fell from {at_best:.4} to {at_end:.4}"),
            _ => String::new(),
        };
        self.sentence = format!(
            "The model overfits from step {} on: validation loss rose {rise:.1} %, from {:.4} to {:.4}{train}.",
            best.step, best.loss, last.loss
        );
        let share = 100.0 * best.step as f64 / last.step.max(1) as f64;
        self.advice.push(format!(
            "Fewer epochs: the best step came after {share:.0} % of the run. retune-train keeps its weights unless --result last; --early-stopping-patience saves the time after it."
        ));
        if let Some(gap) = self.gap.filter(|&gap| gap > 0.0) {
            self.advice.push(format!(
                "A gap of {gap:.3} nats between validation and training at the end: a lower rank (retune-train --lora-r), more --lora-dropout, or more data narrows it."
            ));
        }
        if first.loss <= best.loss * (1.0 + TURN) {
            self.advice.push(
                "Validation was hardly better than at the first measurement: try a lower learning rate.".to_owned(),
            );
        }
    }

    fn settled(&mut self, first: CurvePoint, third: CurvePoint, best: CurvePoint, last: CurvePoint) {
        let gap = match (self.gap, self.train_at_end) {
            (Some(gap), Some(train)) => {
                let sign = if gap < 0.0 { '−' } else { '+' };
                format!("; training loss ended at {train:.4}, a gap of {sign}{:.4}", gap.abs())
            }
            _ => String::new(),
        };
        let falling = 1.0 - last.loss / third.loss;
        if falling > STILL_FALLING && third.loss - last.loss > STILL_FALLING_NATS {
            self.verdict = FitVerdict::StillImproving;
            self.sentence = format!(
                "No overfitting: validation loss fell from {:.4} to {:.4} and was still falling at step {}{gap}.",
                first.loss, last.loss, last.step
            );
            self.advice.push(format!(
                "More epochs should help: the last part of the run, from step {}, still lowered validation loss by {:.1} %.",
                third.step,
                100.0 * falling
            ));
        } else {
            self.verdict = FitVerdict::WellFitted;
            let end = if best.step == last.step {
                format!("(lowest at the end, step {}), hardly changing over the last third", best.step)
            } else {
                format!("(best at step {}) and stayed within {:.0} % of it to the end", best.step, 100.0 * TURN)
            };
            self.sentence =
                format!("No overfitting: validation loss fell from {:.4} to {:.4} {end}{gap}.", first.loss, best.loss);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: &[f64]) -> Vec<CurvePoint> {
        losses.iter().enumerate().map(|(i, &loss)| CurvePoint { step: 10 * i as u64, loss }).collect()
    }

    #[test]
    fn each_shape_has_its_verdict() {
        let falling = curve(&[3.0, 2.5, 2.0, 1.5, 1.0]);
        let verdict = |validation: &[f64]| judge_fit(&falling, &curve(validation)).verdict;
        assert_eq!(verdict(&[3.0, 2.5, 2.2, 2.4, 2.8]), FitVerdict::Overfitted);
        assert_eq!(verdict(&[3.0, 2.5, 2.2, 2.1, 2.0]), FitVerdict::StillImproving);
        assert_eq!(verdict(&[3.0, 2.0, 1.99, 1.985, 1.987]), FitVerdict::WellFitted);
        assert_eq!(verdict(&[0.3, 0.03, 0.024, 0.0237, 0.0234]), FitVerdict::WellFitted);
        assert_eq!(verdict(&[3.0, 3.0, 3.0]), FitVerdict::NotLearning);
        let worse = judge_fit(&falling, &curve(&[2.0, 2.3, 2.2, 2.5]));
        assert_eq!(worse.verdict, FitVerdict::NotLearning);
        assert!(
            worse.sentence.ends_with("2.0000 before the first step, 2.2000 at best (step 20) and 2.5000 at the end.")
        );
        assert_eq!(verdict(&[3.0, f64::NAN, 3.0]), FitVerdict::Diverged);
        assert_eq!(verdict(&[3.0]), FitVerdict::Unknown);
        let rising = curve(&[3.0, 2.5, 2.0, 2.5, 3.0]);
        assert_eq!(judge_fit(&rising, &rising).verdict, FitVerdict::Diverged);
    }

    #[test]
    fn a_few_validation_examples_give_no_verdict() {
        let fit = || judge_fit(&curve(&[3.0, 2.5, 2.0, 1.5, 1.0]), &curve(&[3.0, 2.5, 2.2, 2.4, 2.8]));
        assert_eq!(fit().over(Some(30)).verdict, FitVerdict::Overfitted);
        assert_eq!(fit().over(None).verdict, FitVerdict::Overfitted);
        let few = fit().over(Some(1));
        assert_eq!(few.verdict, FitVerdict::Unknown);
        assert!(few.sentence.starts_with("1 validation example is too few"), "{}", few.sentence);
        assert!(few.advice.len() == 1 && few.advice[0].contains("--split"), "{:?}", few.advice);
        let diverged = judge_fit(&curve(&[3.0, f64::NAN]), &curve(&[3.0, f64::NAN])).over(Some(2));
        assert_eq!(diverged.verdict, FitVerdict::Diverged);
    }

    #[test]
    fn the_evidence_names_the_turning_step() {
        let fit = judge_fit(&curve(&[3.0, 2.5, 2.0, 1.5, 1.0]), &curve(&[3.0, 2.5, 2.2, 2.4, 2.8]));
        assert!(fit.sentence.contains("from step 20 on"), "{}", fit.sentence);
        assert_eq!(fit.train_at_best, Some(2.0));
        assert!((fit.gap.expect("training losses") - 1.8).abs() < 1e-12);
    }
}
