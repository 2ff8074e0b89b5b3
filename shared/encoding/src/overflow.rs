//! Examples longer than a row.

use crate::{EncodedExample, NOT_TRAINED, Overflow};

/// What became of an example.
#[derive(Debug, PartialEq)]
pub enum Fitted {
    /// It fits, or was made to fit: the pieces, and whether something was cut away.
    Kept {
        /// One piece, or several where it was split.
        pieces: Vec<EncodedExample>,
        /// Tokens that were cut off.
        lost: usize,
    },
    /// It is too long and is left out, or the stage must fail.
    TooLong,
}

/// Applies the policy to one example and a row of `max_length` tokens.
pub fn fit(example: EncodedExample, max_length: usize, policy: Overflow) -> Fitted {
    let length = example.len();
    if length <= max_length {
        return Fitted::Kept { pieces: vec![example], lost: 0 };
    }
    match policy {
        Overflow::Error | Overflow::Drop => Fitted::TooLong,
        Overflow::Truncate => {
            let kept = piece(&example, 0, max_length);
            if kept.trained() == 0 {
                // Only the prompt would be left: nothing to learn from.
                return Fitted::TooLong;
            }
            Fitted::Kept { pieces: vec![kept], lost: length - max_length }
        }
        Overflow::Split => {
            let starts = (0..length).step_by(max_length);
            let pieces: Vec<EncodedExample> =
                starts.map(|start| piece(&example, start, (start + max_length).min(length))).collect();
            // A piece without a trained token teaches nothing; a text's last piece may be a single token.
            Fitted::Kept { pieces: pieces.into_iter().filter(|piece| piece.trained() > 0).collect(), lost: 0 }
        }
    }
}

fn piece(example: &EncodedExample, start: usize, end: usize) -> EncodedExample {
    let mut labels = example.labels[start..end].to_vec();
    if let Some(first) = labels.first_mut() {
        *first = NOT_TRAINED;
    }
    EncodedExample {
        input_ids: example.input_ids[start..end].to_vec(),
        labels,
        characters: example.characters[start..end].to_vec(),
        spans: example.spans.clone(),
        text_characters: example.text_characters,
        // Counted once, with the first piece.
        straddling: if start == 0 { example.straddling } else { 0 },
        unknown: if start == 0 { example.unknown } else { 0 },
        injected: if start == 0 { example.injected } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(length: usize, trained_from: usize) -> EncodedExample {
        let ids: Vec<u32> = (0..length as u32).collect();
        EncodedExample {
            labels: ids.iter().map(|id| if *id as usize >= trained_from { *id as i32 } else { NOT_TRAINED }).collect(),
            characters: ids.iter().map(|id| (*id, *id + 1)).collect(),
            input_ids: ids,
            ..EncodedExample::default()
        }
    }

    #[test]
    fn each_policy_does_what_it_says() {
        assert_eq!(fit(example(5, 1), 5, Overflow::Error), Fitted::Kept { pieces: vec![example(5, 1)], lost: 0 });
        assert_eq!(fit(example(6, 1), 5, Overflow::Error), Fitted::TooLong);
        assert_eq!(fit(example(6, 1), 5, Overflow::Drop), Fitted::TooLong);
        assert_eq!(fit(example(6, 1), 5, Overflow::Truncate), Fitted::Kept { pieces: vec![example(5, 1)], lost: 1 });
        assert_eq!(fit(example(6, 5), 5, Overflow::Truncate), Fitted::TooLong);
        let Fitted::Kept { pieces, lost: 0 } = fit(example(12, 1), 5, Overflow::Split) else {
            panic!("split keeps all")
        };
        assert_eq!(
            pieces.iter().map(|piece| piece.input_ids.clone()).collect::<Vec<_>>().concat(),
            example(12, 1).input_ids
        );
        assert_eq!(pieces[1].labels, [-100, 6, 7, 8, 9]);
        assert_eq!(pieces[2].characters, [(10, 11), (11, 12)]);
    }
}
