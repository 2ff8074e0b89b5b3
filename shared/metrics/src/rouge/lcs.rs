//! Longest common subsequences: the length of one, and the union of several as ROUGE-Lsum takes it.

use std::collections::BTreeMap;

/// The length of the longest common subsequence.
pub(super) fn length(reference: &[u32], candidate: &[u32]) -> usize {
    let mut row = vec![0usize; candidate.len() + 1];
    for &word in reference {
        let mut diagonal = 0;
        for (j, &other) in candidate.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[candidate.len()]
}

/// For each reference line the union of its common subsequences with all candidate lines; a word counts as a hit while
/// both texts still have it to give.
pub(super) fn union_hits(reference: &[Vec<u32>], candidate: &[Vec<u32>]) -> usize {
    let mut reference_left = occurrences(reference);
    let mut candidate_left = occurrences(candidate);
    let mut hits = 0;
    for line in reference {
        let mut taken = vec![false; line.len()];
        for other in candidate {
            mark_common(line, other, &mut taken);
        }
        for (&word, _) in line.iter().zip(&taken).filter(|(_, taken)| **taken) {
            let (Some(left), Some(right)) = (reference_left.get_mut(&word), candidate_left.get_mut(&word)) else {
                continue;
            };
            if *left > 0 && *right > 0 {
                hits += 1;
                *left -= 1;
                *right -= 1;
            }
        }
    }
    hits
}

fn occurrences(lines: &[Vec<u32>]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for &word in lines.iter().flatten() {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

/// Marks the positions of `reference` that one longest common subsequence uses. Which one, where several exist, follows
/// rouge-score's walk back through the table: on a tie it steps back in the reference.
fn mark_common(reference: &[u32], candidate: &[u32], taken: &mut [bool]) {
    let width = candidate.len() + 1;
    let mut table = vec![0u32; (reference.len() + 1) * width];
    for (i, word) in reference.iter().enumerate() {
        for (j, other) in candidate.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if word == other {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let (mut i, mut j) = (reference.len(), candidate.len());
    while i > 0 && j > 0 {
        if reference[i - 1] == candidate[j - 1] {
            taken[i - 1] = true;
            i -= 1;
            j -= 1;
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_union() {
        assert_eq!(length(&[1, 2, 3, 4], &[2, 4, 1]), 2);
        assert_eq!(length(&[], &[1]), 0);
        // The example of the ROUGE paper: w1 w2 w3 w4 w5 against w1 w2 w6 w7 w8 / w1 w3 w8 w9 w5.
        assert_eq!(union_hits(&[vec![1, 2, 3, 4, 5]], &[vec![1, 2, 6, 7, 8], vec![1, 3, 8, 9, 5]]), 4);
    }
}
