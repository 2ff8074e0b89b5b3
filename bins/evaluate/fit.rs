//! The curves of the training run, where it left them beside the tuned model, and the verdict on them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{MetricsRow, files, read_metrics};
use metrics::{CurvePoint, Overfitting, judge_fit};

/// What is known of the training run.
pub(crate) struct Run {
    /// Its figures, step by step.
    pub(crate) rows: Vec<MetricsRow>,
    /// The verdict.
    pub(crate) fit: Overfitting,
}

/// The file with the run's figures; none where the folder has none.
pub(crate) fn metrics_file(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(files::METRICS)).filter(|path| path.is_file())
}

impl Run {
    /// Reads the figures and judges them.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let rows = read_metrics(path)?;
        let fit = judge_fit(&curve(&rows, |row| row.loss), &curve(&rows, |row| row.validation_loss));
        Ok(Self { rows, fit })
    }

    /// One of its curves.
    pub(crate) fn curve(&self, value: fn(&MetricsRow) -> Option<f64>) -> Vec<CurvePoint> {
        curve(&self.rows, value)
    }
}

fn curve(rows: &[MetricsRow], value: fn(&MetricsRow) -> Option<f64>) -> Vec<CurvePoint> {
    rows.iter().filter_map(|row| Some(CurvePoint { step: row.step, loss: value(row)? })).collect()
}
