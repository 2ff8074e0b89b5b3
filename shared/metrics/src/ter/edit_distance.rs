//! Edit distance of words in a beam around the diagonal, with the operations that lead to it.
//!
//! The beam, and the preference between operations of equal cost, are Tercom's as sacreBLEU carries them over: both
//! decide the alignment and so which moves are tried.

/// Width of the beam on either side of the diagonal.
const BEAM: usize = 25;
const UNREACHED: u32 = u32::MAX / 2;

/// One step of turning the reference into the hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Equal words.
    Keep,
    /// Another word.
    Substitute,
    /// A word of the reference only.
    Insert,
    /// A word of the hypothesis only.
    Delete,
}

/// The distance to one reference, with the table kept between calls: hypotheses that share a prefix share its rows.
pub(super) struct BeamDistance<'a> {
    reference: &'a [u32],
    hypothesis: Vec<u32>,
    cost: Vec<u32>,
    operation: Vec<Operation>,
    /// Rows that are valid for `hypothesis`, the first row included.
    rows: usize,
}

impl<'a> BeamDistance<'a> {
    /// Prepares for hypotheses of `length` words; all that follow have that length.
    pub(super) fn new(reference: &'a [u32], length: usize) -> Self {
        let width = reference.len() + 1;
        let mut cost = vec![UNREACHED; (length + 1) * width];
        for (j, cost) in cost[..width].iter_mut().enumerate() {
            *cost = j as u32;
        }
        let operation = vec![Operation::Insert; (length + 1) * width];
        Self { reference, hypothesis: Vec::new(), cost, operation, rows: 1 }
    }

    /// The number of edits between `hypothesis` and the reference.
    pub(super) fn distance(&mut self, hypothesis: &[u32]) -> u32 {
        let common = self.hypothesis.iter().zip(hypothesis).take_while(|(old, new)| old == new).count();
        let kept = (common + 1).min(self.rows);
        self.hypothesis.clear();
        self.hypothesis.extend_from_slice(hypothesis);
        for i in kept..=hypothesis.len() {
            self.fill_row(i);
        }
        self.rows = hypothesis.len() + 1;
        self.cost[hypothesis.len() * (self.reference.len() + 1) + self.reference.len()]
    }

    fn fill_row(&mut self, i: usize) {
        let (length, columns) = (self.hypothesis.len(), self.reference.len());
        let width = columns + 1;
        let ratio = columns as f64 / length as f64;
        let beam = if (BEAM as f64) < ratio / 2.0 { (ratio / 2.0 + BEAM as f64).ceil() as usize } else { BEAM };
        let diagonal = (i as f64 * ratio).floor() as usize;
        let first = diagonal.saturating_sub(beam);
        let last = if i == length { width } else { width.min(diagonal + beam) };
        let (above, current) = self.cost.split_at_mut(i * width);
        let (above, current) = (&above[(i - 1) * width..], &mut current[..width]);
        let operations = &mut self.operation[i * width..(i + 1) * width];
        current.fill(UNREACHED);
        for j in first..last {
            if j == 0 {
                (current[0], operations[0]) = (above[0] + 1, Operation::Delete);
                continue;
            }
            let equal = self.hypothesis[i - 1] == self.reference[j - 1];
            let (mut best, mut operation) =
                if equal { (above[j - 1], Operation::Keep) } else { (above[j - 1] + 1, Operation::Substitute) };
            if above[j] + 1 < best {
                (best, operation) = (above[j] + 1, Operation::Delete);
            }
            if current[j - 1] + 1 < best {
                (best, operation) = (current[j - 1] + 1, Operation::Insert);
            }
            (current[j], operations[j]) = (best.min(UNREACHED), operation);
        }
    }

    /// The operations of the last hypothesis, first to last.
    pub(super) fn trace(&self) -> Vec<Operation> {
        let width = self.reference.len() + 1;
        let (mut i, mut j) = (self.hypothesis.len(), self.reference.len());
        let mut trace = Vec::with_capacity(i + j);
        while i > 0 || j > 0 {
            let operation = if i == 0 { Operation::Insert } else { self.operation[i * width + j] };
            trace.push(operation);
            match operation {
                Operation::Keep | Operation::Substitute => (i, j) = (i - 1, j - 1),
                Operation::Insert => j -= 1,
                Operation::Delete => i -= 1,
            }
        }
        trace.reverse();
        trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain table, without a beam.
    fn levenshtein(a: &[u32], b: &[u32]) -> u32 {
        let mut row: Vec<u32> = (0..=b.len() as u32).collect();
        for (i, x) in a.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i as u32 + 1;
            for (j, y) in b.iter().enumerate() {
                let substitute = diagonal + u32::from(x != y);
                diagonal = row[j + 1];
                row[j + 1] = substitute.min(row[j] + 1).min(row[j + 1] + 1);
            }
        }
        row[b.len()]
    }

    proptest::proptest! {
        #[test]
        fn equals_the_plain_table(
            a in proptest::collection::vec(0u32..4, 1..12),
            b in proptest::collection::vec(0u32..4, 1..12),
            swap in 0usize..11,
        ) {
            let mut beam = BeamDistance::new(&b, a.len());
            proptest::prop_assert_eq!(beam.distance(&a), levenshtein(&a, &b));
            let mut other = a.clone();
            other.swap(swap % a.len(), 0);
            proptest::prop_assert_eq!(beam.distance(&other), levenshtein(&other, &b));
            let edits = beam.trace().iter().filter(|&&operation| operation != Operation::Keep).count();
            proptest::prop_assert_eq!(edits as u32, levenshtein(&other, &b));
        }
    }
}
