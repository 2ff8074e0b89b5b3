//! The curves of the training run, where it left them beside the tuned model, and the verdict on them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{Manifest, MetricsRow, files, read_metrics};
use metrics::{CurvePoint, FitVerdict, Overfitting, judge_fit};
use serde_json::{Map, Value};

/// What is known of the training run.
pub(crate) struct Run {
    /// Its figures, step by step.
    pub(crate) rows: Vec<MetricsRow>,
    /// The verdict.
    pub(crate) fit: Overfitting,
    /// Its options, where its manifest is there.
    pub(crate) options: Map<String, Value>,
    /// The step whose weights are the result, where its manifest tells.
    pub(crate) result_step: Option<u64>,
}

/// The file with the run's figures; none where the folder has none.
pub(crate) fn metrics_file(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(files::METRICS)).filter(|path| path.is_file())
}

impl Run {
    /// Reads the figures and judges them; `folder` is that of the result, `validation` the number of validation examples
    /// where known.
    pub(crate) fn read(path: &Path, folder: &Path, validation: Option<usize>) -> Result<Self> {
        let rows = read_metrics(path)?;
        let judged = judge_fit(&curve(&rows, |row| row.loss), &curve(&rows, |row| row.validation_loss));
        let mut fit = judged.over(validation);
        let manifest = Manifest::read(folder).ok().flatten();
        let manifest = manifest.filter(|manifest| manifest.identity.stage == "retune-train");
        let result_step = manifest.as_ref().and_then(|manifest| manifest.summary["result_step"].as_u64());
        let options = manifest.map(|manifest| manifest.identity.options).unwrap_or_default();
        if fit.verdict == FitVerdict::Overfitted {
            fit.advice.extend(advice(&options, &fit));
        }
        Ok(Self { rows, fit, options, result_step })
    }

    /// One of its curves.
    pub(crate) fn curve(&self, value: fn(&MetricsRow) -> Option<f64>) -> Vec<CurvePoint> {
        curve(&self.rows, value)
    }
}

/// What to change of the options that this run had.
fn advice(options: &Map<String, Value>, fit: &Overfitting) -> Vec<String> {
    let number = |name: &str| options.get(name).and_then(Value::as_f64);
    let mut advice = Vec::new();
    if let (Some(epochs), Some(best), Some(last)) = (number("epochs"), fit.best, fit.last) {
        let enough = epochs * best.step as f64 / last.step.max(1) as f64;
        advice.push(format!(
            "retune-train --epochs {enough:.1} instead of {epochs}: validation was best at step {}.",
            best.step
        ));
    }
    if let Some(dropout) = number("lora_dropout").filter(|&dropout| dropout < 0.1) {
        advice.push(format!("retune-train --lora-dropout {:.2} instead of {dropout}.", (dropout + 0.05).max(0.1)));
    }
    if let Some(rank) = number("lora_r").filter(|&rank| rank >= 4.0) {
        advice.push(format!("retune-train --lora-r {} instead of {rank}.", (rank / 2.0) as u64));
    }
    advice
}

fn curve(rows: &[MetricsRow], value: fn(&MetricsRow) -> Option<f64>) -> Vec<CurvePoint> {
    rows.iter().filter_map(|row| Some(CurvePoint { step: row.step, loss: value(row)? })).collect()
}
