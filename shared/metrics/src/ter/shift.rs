//! The greedy search for moves: as long as moving a run of words to where the reference has it saves edits, make the
//! move that saves most.

use std::cmp::Reverse;

use super::edit_distance::{BeamDistance, Operation};

/// The longest run of words that moves together.
const LONGEST_SHIFT: usize = 10;
/// How far a run may move.
const FARTHEST_SHIFT: usize = 50;
/// How many moves are tried for one pair before the search ends.
const MOST_CANDIDATES: usize = 1000;

/// Edits, a move counted as one, from `hypothesis` to `reference`.
pub(super) fn edits(hypothesis: &[u32], reference: &[u32]) -> usize {
    if reference.is_empty() {
        return hypothesis.len();
    }
    let mut distance = BeamDistance::new(reference, hypothesis.len());
    let mut words = hypothesis.to_vec();
    let (mut shifts, mut tried) = (0, 0);
    loop {
        let best = best_shift(&words, reference, &mut distance, &mut tried);
        let Some((saved, shifted)) = best else { break };
        if tried >= MOST_CANDIDATES || saved <= 0 {
            break;
        }
        shifts += 1;
        words = shifted;
    }
    distance.distance(&words) as usize + shifts
}

/// The order of moves: edits saved, length, earliest run, earliest target.
type Rank = (i64, usize, Reverse<usize>, Reverse<usize>);

/// The best move and how many edits it saves; of equals the longest, then the earliest run, then the earliest target.
fn best_shift(
    words: &[u32],
    reference: &[u32],
    distance: &mut BeamDistance,
    tried: &mut usize,
) -> Option<(i64, Vec<u32>)> {
    let before = i64::from(distance.distance(words));
    let alignment = Alignment::new(&distance.trace());
    let mut best: Option<(Rank, Vec<u32>)> = None;
    for start in 0..words.len() {
        for target in start.saturating_sub(FARTHEST_SHIFT)..reference.len().min(start + FARTHEST_SHIFT + 1) {
            let mut length = 0;
            while length < LONGEST_SHIFT
                && start + length < words.len()
                && target + length < reference.len()
                && words[start + length] == reference[target + length]
            {
                length += 1;
                if !alignment.worth_moving(start, target, length) {
                    continue;
                }
                for place in alignment.places(target, length) {
                    let shifted = shifted(words, start, length, place);
                    let saved = before - i64::from(distance.distance(&shifted));
                    let candidate = ((saved, length, Reverse(start), Reverse(place)), shifted);
                    *tried += 1;
                    if best.as_ref().is_none_or(|best| candidate > *best) {
                        best = Some(candidate);
                    }
                }
                if *tried >= MOST_CANDIDATES {
                    return best.map(|(rank, shifted)| (rank.0, shifted));
                }
            }
        }
    }
    best.map(|(rank, shifted)| (rank.0, shifted))
}

/// Where each reference word lies in the hypothesis, and which words of both are in error.
struct Alignment {
    /// For each reference word the hypothesis word at or before it; −1 before the first.
    to_hypothesis: Vec<i64>,
    reference_error: Vec<bool>,
    hypothesis_error: Vec<bool>,
}

impl Alignment {
    fn new(trace: &[Operation]) -> Self {
        let mut alignment =
            Self { to_hypothesis: Vec::new(), reference_error: Vec::new(), hypothesis_error: Vec::new() };
        for &operation in trace {
            let error = operation != Operation::Keep;
            // The trace turns the hypothesis into the reference: an insertion is a word of the reference only.
            if operation != Operation::Insert {
                alignment.hypothesis_error.push(error);
            }
            if operation != Operation::Delete {
                alignment.to_hypothesis.push(alignment.hypothesis_error.len() as i64 - 1);
                alignment.reference_error.push(error);
            }
        }
        alignment
    }

    /// A run is moved only where both sides are in error, and not within itself.
    fn worth_moving(&self, start: usize, target: usize, length: usize) -> bool {
        let within = self.to_hypothesis[target];
        self.hypothesis_error[start..start + length].iter().any(|&error| error)
            && self.reference_error[target..target + length].iter().any(|&error| error)
            && !(start as i64 <= within && within < (start + length) as i64)
    }

    /// The places before which the run may be put: after the words that stand for the reference words from just before
    /// the target to its end, each once.
    fn places(&self, target: usize, length: usize) -> Vec<usize> {
        let mut places = Vec::with_capacity(length + 1);
        for offset in 0..=length {
            let place = match (target + offset).checked_sub(1) {
                None => 0,
                Some(before) => match self.to_hypothesis.get(before) {
                    Some(&aligned) => (aligned + 1) as usize,
                    None => break,
                },
            };
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        places
    }
}

/// `words` with the run moved before `place`; a place inside the run moves it by that much.
fn shifted(words: &[u32], start: usize, length: usize, place: usize) -> Vec<u32> {
    let end = start + length;
    let run = &words[start..end];
    let parts: [&[u32]; 4] = if place < start {
        [&words[..place], run, &words[place..start], &words[end..]]
    } else if place > end {
        [&words[..start], &words[end..place], run, &words[place..]]
    } else {
        let after = (length + place).min(words.len());
        [&words[..start], &words[end..after], run, &words[after..]]
    };
    parts.concat()
}
