//! One row of tokens, as the token file holds it and as a Hugging Face trainer reads it.

use crate::TrainingError;

/// The label of a token that is not learnt (`ignore_index` of PyTorch's cross-entropy).
pub const NOT_TRAINED: i32 = -100;

/// One row: one example, or several packed behind each other.
///
/// `labels` are unshifted, as in Hugging Face: the label of a token is the token itself or [`NOT_TRAINED`].
/// A packed example begins wherever `position_ids` does not continue from its neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    input_ids: Vec<u32>,
    labels: Vec<i32>,
    position_ids: Vec<u32>,
}

impl Row {
    /// A row of equally long columns.
    ///
    /// # Errors
    /// Columns of different lengths, no token at all, or a label below −100 or between −99 and −1.
    pub fn new(input_ids: Vec<u32>, labels: Vec<i32>, position_ids: Vec<u32>) -> Result<Self, TrainingError> {
        if input_ids.len() != labels.len() || input_ids.len() != position_ids.len() {
            return Err(TrainingError::RowLengths {
                input_ids: input_ids.len(),
                labels: labels.len(),
                position_ids: position_ids.len(),
            });
        }
        if input_ids.is_empty() {
            return Err(TrainingError::EmptyRow);
        }
        if let Some(&label) = labels.iter().find(|&&label| label < 0 && label != NOT_TRAINED) {
            return Err(TrainingError::Label { label });
        }
        Ok(Self { input_ids, labels, position_ids })
    }

    /// Its first tokens, at most so many.
    #[must_use]
    pub(crate) fn first(&self, tokens: usize) -> Self {
        let end = tokens.min(self.len());
        Self {
            input_ids: self.input_ids[..end].to_vec(),
            labels: self.labels[..end].to_vec(),
            position_ids: self.position_ids[..end].to_vec(),
        }
    }

    /// Token ids.
    pub fn input_ids(&self) -> &[u32] {
        &self.input_ids
    }

    /// Labels, unshifted.
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// Position of each token in its own example.
    pub fn position_ids(&self) -> &[u32] {
        &self.position_ids
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Never true: a row without tokens cannot be made.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Where each packed example begins, and the end of the row: 0 = b₀ < b₁ < … = length.
    pub fn boundaries(&self) -> Vec<usize> {
        let starts = (1..self.len()).filter(|&i| !self.continues(i));
        std::iter::once(0).chain(starts).chain(std::iter::once(self.len())).collect()
    }

    /// What each position is asked to predict: the label of the next token of the same example, else [`NOT_TRAINED`].
    pub fn targets(&self) -> impl Iterator<Item = i32> + '_ {
        (1..=self.len()).map(
            |next| {
                if next < self.len() && self.continues(next) { self.labels[next] } else { NOT_TRAINED }
            },
        )
    }

    /// Number of tokens in the loss.
    pub fn trained_tokens(&self) -> usize {
        self.targets().filter(|&target| target != NOT_TRAINED).count()
    }

    /// Whether token `i` (≥ 1) belongs to the example of token `i − 1`.
    fn continues(&self, i: usize) -> bool {
        self.position_ids[i] == self.position_ids[i - 1].wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(labels: &[i32], positions: &[u32]) -> Row {
        Row::new(vec![7; labels.len()], labels.to_vec(), positions.to_vec()).unwrap()
    }

    #[test]
    fn targets_are_the_next_labels() {
        let row = row(&[-100, -100, 5, 6], &[0, 1, 2, 3]);
        assert_eq!(row.targets().collect::<Vec<_>>(), [-100, 5, 6, -100]);
        assert_eq!(row.trained_tokens(), 2);
        assert_eq!(row.boundaries(), [0, 4]);
    }

    #[test]
    fn a_packed_example_is_not_asked_for_its_neighbour() {
        let row = row(&[1, 2, 3, 4], &[0, 1, 0, 1]);
        assert_eq!(row.targets().collect::<Vec<_>>(), [2, -100, 4, -100]);
        assert_eq!(row.boundaries(), [0, 2, 4]);
    }

    #[test]
    fn a_jump_in_position_starts_an_example_too() {
        assert_eq!(row(&[1, 2, 3], &[0, 5, 6]).boundaries(), [0, 1, 3]);
    }

    #[test]
    fn bad_rows_are_refused() {
        assert!(matches!(Row::new(vec![1], vec![], vec![0]), Err(TrainingError::RowLengths { .. })));
        assert!(matches!(Row::new(vec![], vec![], vec![]), Err(TrainingError::EmptyRow)));
        assert!(matches!(Row::new(vec![1], vec![-5], vec![0]), Err(TrainingError::Label { label: -5 })));
    }

    proptest! {
        #[test]
        fn packing_trains_on_what_its_parts_train_on(parts in prop::collection::vec(prop::collection::vec(-1i32..20, 1..9), 1..6)) {
            let parts: Vec<Vec<i32>> = parts.into_iter().map(|part| part.into_iter().map(|l| if l < 0 { NOT_TRAINED } else { l }).collect()).collect();
            let alone: Vec<i32> = parts.iter().flat_map(|part| {
                row(part, &(0..part.len() as u32).collect::<Vec<_>>()).targets().collect::<Vec<_>>()
            }).collect();
            let positions: Vec<u32> = parts.iter().flat_map(|part| 0..part.len() as u32).collect();
            let packed = row(&parts.concat(), &positions);
            prop_assert_eq!(packed.targets().collect::<Vec<_>>(), alone);
            prop_assert_eq!(packed.boundaries().len(), parts.len() + 1);
        }
    }
}
