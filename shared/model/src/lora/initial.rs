//! First values of a new adapter, each element a function of (seed, name, index).

use super::config::InitialWeights;
use crate::random;

/// Values of the factors of one layer: `a` `[r, in]` and `b` `[out, r]`, under the names they are stored by.
pub(super) fn factors(
    kind: InitialWeights,
    seed: u64,
    (a_name, b_name): (&str, &str),
    (rank, input, output): (usize, usize, usize),
) -> (Vec<f32>, Vec<f32>) {
    let bound = |width: usize| (width as f64).powf(-0.5);
    let zeros = vec![0.0; output * rank];
    match kind {
        InitialWeights::Kaiming => (random::uniform(seed, a_name, rank * input, bound(input)), zeros),
        InitialWeights::Gaussian => (random::normal(seed, a_name, rank * input, 1.0 / rank as f64), zeros),
        InitialWeights::Random => (
            random::uniform(seed, a_name, rank * input, bound(input)),
            random::uniform(seed, b_name, output * rank, bound(rank)),
        ),
        InitialWeights::Orthogonal => orthogonal(seed, (a_name, b_name), (rank, input, output)),
    }
}

/// `Aᵀ = N₁·Q_odd / 10` and `B = N₂ᵀ·Q_even / 10` with normal `N₁`, `N₂` and the odd and even rows of one orthogonal
/// matrix Q `[r, r]`: no row of one is seen by the other, so that `B·A` is zero although neither is.
fn orthogonal(
    seed: u64,
    (a_name, b_name): (&str, &str),
    (rank, input, output): (usize, usize, usize),
) -> (Vec<f32>, Vec<f32>) {
    let q = orthogonal_rows(seed, a_name, rank);
    let half = rank / 2;
    let for_a = random::normal(seed, &format!("{a_name}.spread"), input * half, 1.0);
    let for_b = random::normal(seed, &format!("{b_name}.spread"), half * output, 1.0);
    let entry = |row: usize, column: usize| q[row][column];
    let dot = |left: &dyn Fn(usize) -> f32, right: &dyn Fn(usize) -> f64| -> f32 {
        ((0..half).map(|k| f64::from(left(k)) * right(k)).sum::<f64>() / 10.0) as f32
    };
    let mut a = Vec::with_capacity(rank * input);
    for r in 0..rank {
        a.extend((0..input).map(|i| dot(&|k| for_a[i * half + k], &|k| entry(2 * k, r))));
    }
    let mut b = Vec::with_capacity(output * rank);
    for o in 0..output {
        b.extend((0..rank).map(|r| dot(&|k| for_b[k * output + o], &|k| entry(2 * k + 1, r))));
    }
    (a, b)
}

/// An orthogonal matrix from a normal one by the Gram-Schmidt process, each row twice for the rounding.
fn orthogonal_rows(seed: u64, name: &str, rank: usize) -> Vec<Vec<f64>> {
    let normal = random::normal(seed, &format!("{name}.orthogonal"), rank * rank, 1.0);
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(rank);
    for row in normal.chunks_exact(rank) {
        let mut row: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
        for _ in 0..2 {
            for known in &rows {
                let along: f64 = row.iter().zip(known).map(|(x, y)| x * y).sum();
                row.iter_mut().zip(known).for_each(|(x, y)| *x -= along * y);
            }
        }
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter_mut().for_each(|x| *x /= length);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_adapter_changes_nothing_unless_it_is_asked_to() {
        let (rank, input, output) = (4, 9, 7);
        for kind in
            [InitialWeights::Kaiming, InitialWeights::Gaussian, InitialWeights::Orthogonal, InitialWeights::Random]
        {
            let (a, b) = factors(kind, 3, ("a", "b"), (rank, input, output));
            assert_eq!((a.len(), b.len()), (rank * input, output * rank));
            assert!(a.iter().any(|value| *value != 0.0));
            let largest = (0..output * input)
                .map(|index| {
                    let (o, i) = (index / input, index % input);
                    (0..rank).map(|r| b[o * rank + r] * a[r * input + i]).sum::<f32>().abs()
                })
                .fold(0.0, f32::max);
            assert_eq!(largest < 1e-6, kind != InitialWeights::Random, "{kind:?}: {largest}");
        }
    }
}
