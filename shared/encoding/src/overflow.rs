//! Examples longer than a row.

use crate::{EncodedExample, NOT_TRAINED, Overflow};
use std::ops::Range;

/// What became of an example.
#[derive(Debug, PartialEq)]
pub enum Fitted {
    /// It fits, or was made to fit: the pieces, and whether something was left out.
    Kept {
        /// One piece, or several where it was split.
        pieces: Vec<EncodedExample>,
        /// What is in no piece.
        lost: Lost,
    },
    /// It is too long and is left out, or the stage must fail.
    TooLong,
}

/// Tokens of an example that are in no piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Tokens: the end that was cut off, or those of pieces in which nothing is trained.
    pub tokens: usize,
    /// Pieces in which nothing is trained.
    pub pieces: usize,
}

/// Applies the policy to one example and a row of `max_length` tokens.
///
/// # Panics
/// If `max_length` is less than 2 and an example is split: a piece holds a token and the one that it is predicted from.
pub fn fit(example: EncodedExample, max_length: usize, policy: Overflow) -> Fitted {
    let length = example.len();
    if length <= max_length {
        return Fitted::Kept { pieces: vec![example], lost: Lost::default() };
    }
    match policy {
        Overflow::Error | Overflow::Drop => Fitted::TooLong,
        Overflow::Truncate => {
            let kept = piece(&example, 0..max_length);
            if kept.trained() == 0 {
                // Only the prompt would be left: nothing to learn from.
                return Fitted::TooLong;
            }
            Fitted::Kept { pieces: vec![kept], lost: Lost { tokens: length - max_length, pieces: 0 } }
        }
        Overflow::Split => split(&example, max_length),
    }
}

/// Each piece after the first begins with the last token of the one before, from which its first new token is predicted: so
/// each trained token is trained in exactly one piece. Pieces in which nothing is trained are left out.
fn split(example: &EncodedExample, max_length: usize) -> Fitted {
    let (mut pieces, mut left_out): (Vec<EncodedExample>, usize) = (Vec::new(), 0);
    // One past the last token that is in a piece.
    let (mut end, mut covered) = (0, 0);
    for start in (0..example.len() - 1).step_by(max_length - 1) {
        let mut found = piece(example, start..(start + max_length).min(example.len()));
        if found.trained() == 0 {
            left_out += 1;
            continue;
        }
        if !pieces.is_empty() {
            // What is counted once for the example is counted with its first piece.
            (found.straddling, found.unknown, found.injected) = (0, 0, 0);
        }
        covered += found.len() - usize::from(start < end);
        end = start + found.len();
        pieces.push(found);
    }
    Fitted::Kept { pieces, lost: Lost { tokens: example.len() - covered, pieces: left_out } }
}

fn piece(example: &EncodedExample, range: Range<usize>) -> EncodedExample {
    let mut labels = example.labels[range.clone()].to_vec();
    if let Some(first) = labels.first_mut() {
        *first = NOT_TRAINED;
    }
    // Up to the next piece, so that what the tokenizer skips between two tokens counts too.
    let begin = |token: usize| example.characters.get(token).map_or(example.text_characters, |(start, _)| *start);
    let first = if range.start == 0 { 0 } else { begin(range.start) };
    EncodedExample {
        input_ids: example.input_ids[range.clone()].to_vec(),
        labels,
        characters: example.characters[range.clone()].to_vec(),
        spans: example.spans.clone(),
        text_characters: begin(range.end).saturating_sub(first),
        straddling: example.straddling,
        unknown: example.unknown,
        injected: example.injected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn example(length: usize, trained: impl Fn(usize) -> bool) -> EncodedExample {
        let ids: Vec<u32> = (0..length as u32).collect();
        EncodedExample {
            labels: ids.iter().map(|id| if trained(*id as usize) { *id as i32 } else { NOT_TRAINED }).collect(),
            // Three characters a token, of which the last is skipped.
            characters: ids.iter().map(|id| (3 * id, 3 * id + 2)).collect(),
            text_characters: 3 * length as u32,
            unknown: 1,
            input_ids: ids,
            ..EncodedExample::default()
        }
    }

    fn whole(example: EncodedExample) -> Fitted {
        Fitted::Kept { pieces: vec![example], lost: Lost::default() }
    }

    #[test]
    fn each_policy_does_what_it_says() {
        let six = || example(6, |at| at > 0);
        assert_eq!(fit(six(), 6, Overflow::Error), whole(six()));
        assert_eq!(fit(six(), 5, Overflow::Error), Fitted::TooLong);
        assert_eq!(fit(six(), 5, Overflow::Drop), Fitted::TooLong);
        let cut = Fitted::Kept { pieces: vec![example(5, |at| at > 0)], lost: Lost { tokens: 1, pieces: 0 } };
        assert_eq!(fit(six(), 5, Overflow::Truncate), cut);
        assert_eq!(fit(example(6, |at| at == 5), 5, Overflow::Truncate), Fitted::TooLong);
        let Fitted::Kept { pieces, lost } = fit(example(12, |at| at > 5), 5, Overflow::Split) else { panic!("kept") };
        // The first piece is all prompt.
        assert_eq!(lost, Lost { tokens: 4, pieces: 1 });
        assert_eq!(pieces[0].input_ids, [4, 5, 6, 7, 8]);
        assert_eq!(pieces[0].labels, [-100, -100, 6, 7, 8]);
        assert_eq!(pieces[1].labels, [-100, 9, 10, 11]);
        assert_eq!(pieces[1].characters, [(24, 26), (27, 29), (30, 32), (33, 35)]);
        assert_eq!(pieces.iter().map(|piece| piece.unknown).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(pieces.iter().map(|piece| piece.text_characters).collect::<Vec<_>>(), [15, 12]);
    }

    proptest! {
        #[test]
        fn split_trains_each_trained_token_once_and_accounts_for_every_token(
            trained in prop::collection::vec(any::<bool>(), 2..200),
            max_length in 2usize..40,
        ) {
            let whole = example(trained.len(), |at| at > 0 && trained[at]);
            prop_assume!(whole.trained() > 0);
            let places = |example: &EncodedExample| -> Vec<(u32, i32)> {
                let all = example.characters.iter().zip(&example.labels);
                all.filter(|(_, label)| **label != NOT_TRAINED).map(|((start, _), label)| (*start, *label)).collect()
            };
            let Fitted::Kept { pieces, lost } = fit(whole.clone(), max_length, Overflow::Split) else {
                panic!("split keeps what is trained")
            };
            prop_assert_eq!(pieces.iter().flat_map(places).collect::<Vec<_>>(), places(&whole));
            for piece in &pieces {
                prop_assert!(piece.len() <= max_length && piece.labels[0] == NOT_TRAINED);
                let first = piece.input_ids[0] as usize;
                prop_assert_eq!(&piece.input_ids[..], &whole.input_ids[first..first + piece.len()]);
            }
            let seen: BTreeSet<u32> = pieces.iter().flat_map(|piece| piece.input_ids.clone()).collect();
            prop_assert_eq!(seen.len() + lost.tokens, whole.len());
            prop_assert!(lost.pieces > 0 || lost.tokens == 0);
        }
    }
}
