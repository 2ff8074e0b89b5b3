//! Rows laid flat, one behind the other, without padding.

use kernels::Segments;
use model::Batch;

use crate::{Row, TrainingError};

/// The rows that go through the model together: N tokens, cut into segments of one packed example each.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// What the model reads.
    pub batch: Batch,
    /// What each of the N positions is asked to predict, −100 where nothing.
    pub targets: Vec<i32>,
    /// For each row: its index and how many of its positions have a target.
    pub rows: Vec<(usize, usize)>,
    /// For each segment: the index of its row, and which example of the row it is.
    pub pieces: Vec<(usize, usize)>,
}

impl MicroBatch {
    /// Lays the chosen rows flat in the given order.
    ///
    /// # Errors
    /// Only those of [`Segments::new`], which rows cannot cause.
    pub fn new(rows: &[Row], chosen: &[usize]) -> Result<Self, TrainingError> {
        let tokens = chosen.iter().map(|&index| rows[index].len()).sum();
        let (mut input_ids, mut position_ids) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
        let (mut targets, mut boundaries, mut counts) = (Vec::with_capacity(tokens), vec![0], Vec::new());
        let mut pieces = Vec::new();
        for &index in chosen {
            let row = &rows[index];
            let start = input_ids.len();
            input_ids.extend_from_slice(row.input_ids());
            position_ids.extend_from_slice(row.position_ids());
            targets.extend(row.targets());
            let ends = row.boundaries().into_iter().skip(1);
            pieces.extend((0..ends.len()).map(|segment| (index, segment)));
            boundaries.extend(ends.map(|boundary| start + boundary));
            counts.push((index, row.trained_tokens()));
        }
        let segments = Segments::new(boundaries)?;
        Ok(Self { batch: Batch { input_ids, position_ids, segments }, targets, rows: counts, pieces })
    }

    /// As [`MicroBatch::new`], but no more than the first `tokens` tokens.
    ///
    /// # Errors
    /// As [`MicroBatch::new`].
    pub fn of_first(rows: &[Row], chosen: &[usize], tokens: usize) -> Result<Self, TrainingError> {
        let (mut room, mut pieces) = (tokens.max(1), Vec::new());
        for &index in chosen {
            let piece = rows[index].first(room);
            room -= piece.len();
            pieces.push(piece);
            if room == 0 {
                break;
            }
        }
        Self::new(&pieces, &(0..pieces.len()).collect::<Vec<_>>())
    }

    /// Number of tokens N.
    pub fn tokens(&self) -> usize {
        self.targets.len()
    }

    /// Number of positions with a target.
    pub fn trained_tokens(&self) -> usize {
        self.rows.iter().map(|(_, count)| count).sum()
    }

    /// Rows of which at least one of `losses` (one per position with a target, in order) is not finite.
    pub fn rows_with_non_finite(&self, losses: &[f32]) -> Vec<usize> {
        let mut rest = losses;
        let mut found = Vec::new();
        for &(index, count) in &self.rows {
            let (of_row, after) = rest.split_at(count.min(rest.len()));
            if of_row.iter().any(|loss| !loss.is_finite()) {
                found.push(index);
            }
            rest = after;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_behind_each_other_and_keep_their_examples() {
        let packed = Row::new(vec![1, 2, 3], vec![1, 2, 3], vec![0, 1, 0]).unwrap();
        let single = Row::new(vec![4, 5], vec![-100, 5], vec![0, 1]).unwrap();
        let batch = MicroBatch::new(&[packed, single], &[1, 0]).unwrap();
        assert_eq!(batch.batch.input_ids, [4, 5, 1, 2, 3]);
        assert_eq!(batch.batch.segments.boundaries(), [0, 2, 4, 5]);
        assert_eq!(batch.targets, [5, -100, 2, -100, -100]);
        assert_eq!((batch.tokens(), batch.trained_tokens()), (5, 2));
        assert_eq!(batch.rows_with_non_finite(&[1.0, f32::NAN]), [0]);
    }
}
