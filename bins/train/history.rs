//! The loss of each example over the run: kept as numbers while the steps go by, carried by checkpoints, and written with
//! names when the run is sealed.

use std::path::Path;

use anyhow::{Result, bail};
use artifact::{ExamplePoint, FinishedFile, Origin, Split, StagedFile, TokenReader, write_example_history};
use training::SegmentLoss;

use super::inputs::Inputs;

/// One example at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    step: u32,
    /// 0 for training, 1 for validation.
    split: u32,
    row: u32,
    segment: u32,
    trained_tokens: u32,
    loss_sum: f64,
}

/// Bytes of a point in a checkpoint: five numbers of four bytes and one of eight, little-endian.
const POINT_BYTES: usize = 28;

/// Every example that was measured so far, in the order of the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History(Vec<Point>);

impl History {
    /// Takes in the losses of some examples.
    pub(crate) fn add(&mut self, step: usize, split: Split, examples: &[SegmentLoss]) {
        self.0.extend(examples.iter().map(|example| Point {
            step: step as u32,
            split: u32::from(split == Split::Validation),
            row: example.row as u32,
            segment: example.segment as u32,
            trained_tokens: example.trained_tokens,
            loss_sum: example.loss_sum,
        }));
    }

    /// As a checkpoint carries it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * POINT_BYTES);
        for point in &self.0 {
            for number in [point.step, point.split, point.row, point.segment, point.trained_tokens] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(point.loss_sum.to_le_bytes());
        }
        bytes
    }

    /// What a checkpoint carried.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if !bytes.len().is_multiple_of(POINT_BYTES) {
            bail!("expected a multiple of {POINT_BYTES} bytes, found {}", bytes.len());
        }
        let point = |bytes: &[u8]| {
            let number = |at: usize| u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four bytes"));
            Point {
                step: number(0),
                split: number(1),
                row: number(2),
                segment: number(3),
                trained_tokens: number(4),
                loss_sum: f64::from_le_bytes(bytes[20..].try_into().expect("eight bytes")),
            }
        };
        Ok(Self(bytes.chunks_exact(POINT_BYTES).map(point).collect()))
    }

    /// Writes the table; names come from the token files.
    pub(crate) fn write(&self, file: StagedFile, inputs: &Inputs) -> Result<FinishedFile> {
        let train = origins(&inputs.train)?;
        let validation = inputs.validation.as_deref().map(origins).transpose()?.unwrap_or_default();
        let points = self.0.iter().map(|point| {
            let (split, names) =
                if point.split == 0 { (Split::Train, &train) } else { (Split::Validation, &validation) };
            let name = names[point.row as usize][point.segment as usize].clone();
            ExamplePoint {
                step: u64::from(point.step),
                split,
                id: name.id,
                source_file: name.source_file,
                source_row: name.source_row,
                trained_tokens: point.trained_tokens,
                loss: point.loss_sum / f64::from(point.trained_tokens),
            }
        });
        Ok(write_example_history(file, points)?)
    }
}

/// The examples of each row.
fn origins(path: &Path) -> Result<Vec<Vec<Origin>>> {
    let table = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let rows = TokenReader::open(path).and_then(TokenReader::read_all)?;
    Ok(rows.iter().enumerate().map(|(index, row)| row.origins(&table, index as u64 + 1)).collect())
}
