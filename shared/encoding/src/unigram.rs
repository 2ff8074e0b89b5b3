//! Training a Unigram vocabulary (Kudo 2018, as SentencePiece does it): many candidate pieces, expectation maximisation
//! over all ways to cut each word, and the pieces that cost least leave until the size is right.
//!
//! Our own loop, as for BPE: the result must be a function of the text alone. Words come in sorted order, are shared out
//! in fixed chunks, and sums are taken in the order of the chunks.

use crate::fast::QuickMap;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Characters a piece has at most.
const LONGEST: usize = 16;
/// Parts of the character occurrences that pieces of one character must cover; the rest is spelled in bytes.
const COVERAGE: f64 = 0.9995;
/// Substrings that are counted at most: those of the most frequent words.
const COUNTED: usize = 6_000_000;
/// Part of the pieces that is kept by each pruning.
const SHRINK: f64 = 0.75;
const CHUNKS: usize = 16;

/// A piece and the logarithm of its probability.
pub(crate) type Piece = (String, f64);

/// Learns `size` pieces, fewer where the text has no more. Single characters come first in necessity, not in order: the
/// result is sorted by probability.
pub(crate) fn train(words: &BTreeMap<String, u64>, size: usize) -> Vec<Piece> {
    let words: Vec<Word> = words.iter().map(|(word, count)| Word::new(word, *count)).collect();
    let needed = characters(&words, size);
    let mut pieces = seeds(&words, &needed, size);
    let wanted = size + size / 10;
    loop {
        for _ in 0..2 {
            pieces = maximise(pieces, &words, &needed);
        }
        if pieces.len() <= wanted.max(needed.len()) {
            break;
        }
        let before = pieces.len();
        pieces = prune(pieces, &words, &needed, wanted);
        if pieces.len() == before {
            break;
        }
    }
    finish(pieces, &needed, size)
}

struct Word {
    text: String,
    /// Where each character begins, and the end.
    places: Vec<usize>,
    count: f64,
}

impl Word {
    fn new(text: &str, count: u64) -> Self {
        let places = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text: text.to_owned(), places, count: count as f64 }
    }

    fn length(&self) -> usize {
        self.places.len() - 1
    }
}

/// Characters that must have a piece of their own: the most frequent ones, up to the coverage.
fn characters(words: &[Word], size: usize) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<char, u64> = BTreeMap::new();
    for word in words {
        for character in word.text.chars() {
            *counts.entry(character).or_default() += word.count as u64;
        }
    }
    // With these the names of the bytes and of the unknown token, where a text has them, are spelled as any other word.
    for character in "<>0123456789ABCDEFxunk".chars() {
        counts.entry(character).or_insert(1);
    }
    let total: u64 = counts.values().sum();
    let named = |character: char| character.is_ascii_alphanumeric() || "<>".contains(character);
    let mut sorted: Vec<(char, u64)> = counts.into_iter().collect();
    sorted.sort_by_key(|(character, count)| (!named(*character), std::cmp::Reverse(*count), *character));
    let mut covered = 0u64;
    let enough = |(_, count): &(char, u64)| {
        let more = (covered as f64) < COVERAGE * total as f64;
        covered += count;
        more
    };
    sorted.into_iter().take(size).take_while(enough).map(|(character, count)| (character.to_string(), count)).collect()
}

/// Substrings that occur twice, those that stand for most text first, with their frequencies as first scores.
fn seeds(words: &[Word], needed: &BTreeMap<String, u64>, size: usize) -> Vec<Piece> {
    let mut order: Vec<&Word> = words.iter().collect();
    order.sort_by(|left, right| right.count.total_cmp(&left.count).then_with(|| left.text.cmp(&right.text)));
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let mut counted = 0;
    for word in order {
        counted += word.length() * LONGEST.min(word.length());
        if counted > COUNTED {
            break;
        }
        for start in 0..word.length() {
            for end in start + 2..=word.length().min(start + LONGEST) {
                let piece = &word.text[word.places[start]..word.places[end]];
                *counts.entry(piece).or_default() += word.count as u64;
            }
        }
    }
    let weight = |piece: &str, count: u64| count * piece.chars().count() as u64;
    let mut found: Vec<(&str, u64)> = counts.into_iter().filter(|(_, count)| *count >= 2).collect();
    found
        .sort_by(|left, right| weight(right.0, right.1).cmp(&weight(left.0, left.1)).then_with(|| left.0.cmp(right.0)));
    found.truncate((size * 10).clamp(20_000, 300_000));
    let all = needed.iter().map(|(piece, count)| (piece.as_str(), *count)).chain(found);
    let weighted: Vec<(String, f64)> =
        all.map(|(piece, count)| (piece.to_owned(), weight(piece, count) as f64)).collect();
    let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    weighted.into_iter().map(|(piece, weight)| (piece, (weight / total).ln())).collect()
}

/// Pieces by their characters, to find all that begin at a place.
struct Trie {
    children: QuickMap<u64, u32>,
    /// Of each node, the piece that ends there.
    pieces: Vec<Option<u32>>,
}

impl Trie {
    fn new(pieces: &[Piece]) -> Self {
        let mut trie = Self { children: QuickMap::default(), pieces: vec![None] };
        for (index, (piece, _)) in pieces.iter().enumerate() {
            let mut node = 0;
            for character in piece.chars() {
                let next = trie.pieces.len() as u32;
                node = *trie.children.entry(key(node, character)).or_insert(next);
                if node == next {
                    trie.pieces.push(None);
                }
            }
            trie.pieces[node as usize] = Some(index as u32);
        }
        trie
    }

    /// Calls `found` with the length and index of each piece that the characters begin with.
    fn walk(&self, text: &str, mut found: impl FnMut(usize, u32)) {
        let mut node = 0;
        for (index, character) in text.chars().take(LONGEST).enumerate() {
            match self.children.get(&key(node, character)) {
                None => return,
                Some(next) => node = *next,
            }
            if let Some(piece) = self.pieces[node as usize] {
                found(index + 1, piece);
            }
        }
    }
}

fn key(node: u32, character: char) -> u64 {
    u64::from(node) << 32 | u64::from(u32::from(character))
}

/// What a character costs that no piece spells: far less likely than any piece.
const MISSING: f64 = -30.0;

/// Each edge of a word's lattice: from, to, piece (`None` for a character that no piece spells), score.
fn edges(word: &Word, pieces: &[Piece], trie: &Trie, mut edge: impl FnMut(usize, usize, Option<u32>, f64)) {
    for start in 0..word.length() {
        let mut single = false;
        trie.walk(&word.text[word.places[start]..], |length, piece| {
            single |= length == 1;
            edge(start, start + length, Some(piece), pieces[piece as usize].1);
        });
        if !single {
            edge(start, start + 1, None, MISSING);
        }
    }
}

/// How often each piece is expected, over all ways to cut all words.
fn expected(words: &[Word], pieces: &[Piece], trie: &Trie) -> Vec<f64> {
    let chunk = words.len().div_ceil(CHUNKS).max(1);
    let sums: Vec<Vec<f64>> = words
        .par_chunks(chunk)
        .map(|words| {
            let mut counts = vec![0.0; pieces.len()];
            let mut lattice = Vec::new();
            for word in words {
                lattice.clear();
                edges(word, pieces, trie, |start, end, piece, score| lattice.push((start, end, piece, score)));
                forward_backward(word, &lattice, &mut counts);
            }
            counts
        })
        .collect();
    add_up(sums, pieces.len())
}

fn add_up(sums: Vec<Vec<f64>>, length: usize) -> Vec<f64> {
    let mut total = vec![0.0; length];
    for sum in sums {
        total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
    }
    total
}

type Edge = (usize, usize, Option<u32>, f64);

fn forward_backward(word: &Word, lattice: &[Edge], counts: &mut [f64]) {
    let length = word.length();
    let (mut before, mut after) = (vec![f64::NEG_INFINITY; length + 1], vec![f64::NEG_INFINITY; length + 1]);
    (before[0], after[length]) = (0.0, 0.0);
    // The edges are in the order of their starts.
    for &(start, end, _, score) in lattice {
        before[end] = log_add(before[end], before[start] + score);
    }
    for &(start, end, _, score) in lattice.iter().rev() {
        after[start] = log_add(after[start], after[end] + score);
    }
    for &(start, end, piece, score) in lattice {
        if let Some(piece) = piece {
            counts[piece as usize] += word.count * (before[start] + score + after[end] - after[0]).exp();
        }
    }
}

fn log_add(left: f64, right: f64) -> f64 {
    let (low, high) = if left < right { (left, right) } else { (right, left) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// One step of expectation maximisation; pieces that are hardly expected leave.
fn maximise(pieces: Vec<Piece>, words: &[Word], needed: &BTreeMap<String, u64>) -> Vec<Piece> {
    let counts = expected(words, &pieces, &Trie::new(&pieces));
    let kept: Vec<(String, f64)> = pieces
        .into_iter()
        .zip(counts)
        .filter(|((piece, _), count)| *count >= 0.5 || needed.contains_key(piece))
        .map(|((piece, _), count)| (piece, count.max(0.5)))
        .collect();
    let total: f64 = kept.iter().map(|(_, count)| count).sum();
    let whole = digamma(total);
    kept.into_iter().map(|(piece, count)| (piece, digamma(count) - whole)).collect()
}

/// The derivative of the logarithm of the gamma function, by its recurrence and asymptotic series.
fn digamma(mut x: f64) -> f64 {
    let mut result = 0.0;
    while x < 7.0 {
        result -= 1.0 / x;
        x += 1.0;
    }
    x -= 0.5;
    let square = 1.0 / (x * x);
    let fourth = square * square;
    result + x.ln() + square / 24.0 - 7.0 / 960.0 * fourth + 31.0 / 8064.0 * fourth * square
        - 127.0 / 30720.0 * fourth * fourth
}

/// The most likely way to cut a word, without the piece `banned`.
fn best_cut(word: &Word, pieces: &[Piece], trie: &Trie, banned: Option<u32>) -> Vec<Option<u32>> {
    let length = word.length();
    let mut best: Vec<(f64, usize, Option<u32>)> = vec![(f64::NEG_INFINITY, 0, None); length + 1];
    best[0].0 = 0.0;
    edges(word, pieces, trie, |start, end, piece, score| {
        let total = best[start].0 + score;
        if (piece.is_none() || piece != banned) && total > best[end].0 {
            best[end] = (total, start, piece);
        }
    });
    let (mut cut, mut at) = (Vec::new(), length);
    while at > 0 {
        cut.push(best[at].2);
        at = best[at].1;
    }
    cut
}

/// Lets the pieces go whose loss the text would feel least.
fn prune(pieces: Vec<Piece>, words: &[Word], needed: &BTreeMap<String, u64>, wanted: usize) -> Vec<Piece> {
    let trie = Trie::new(&pieces);
    let chunk = words.len().div_ceil(CHUNKS).max(1);
    let count = |words: &[Word]| {
        let mut counts = vec![0.0; pieces.len()];
        for word in words {
            for piece in best_cut(word, &pieces, &trie, None).into_iter().flatten() {
                counts[piece as usize] += word.count;
            }
        }
        counts
    };
    let counts = add_up(words.par_chunks(chunk).map(count).collect(), pieces.len());
    let total: f64 = counts.iter().sum();
    let loss = |index: usize| -> Option<f64> {
        let (piece, frequency) = (&pieces[index].0, counts[index]);
        if needed.contains_key(piece) {
            return Some(f64::INFINITY);
        }
        if frequency == 0.0 {
            return None;
        }
        let word = Word::new(piece, 1);
        let Some(others) = best_cut(&word, &pieces, &trie, Some(index as u32)).into_iter().collect::<Option<Vec<_>>>()
        else {
            // Nothing else spells it.
            return Some(f64::INFINITY);
        };
        let without = (total + frequency * (others.len() as f64 - 1.0)).ln();
        let others: f64 = others.iter().map(|other| (counts[*other as usize] + frequency).ln() - without).sum();
        Some(frequency / total * (frequency.ln() - total.ln() - others))
    };
    let mut losses: Vec<(usize, f64)> =
        (0..pieces.len()).into_par_iter().filter_map(|index| Some((index, loss(index)?))).collect();
    losses.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    losses.truncate(wanted.max((pieces.len() as f64 * SHRINK) as usize).max(needed.len()));
    losses.sort_by_key(|(index, _)| *index);
    losses.into_iter().map(|(index, _)| pieces[index].clone()).collect()
}

/// The pieces of single characters, then the likeliest others, up to the size; sorted by probability.
fn finish(mut pieces: Vec<Piece>, needed: &BTreeMap<String, u64>, size: usize) -> Vec<Piece> {
    pieces.sort_by(|left, right| {
        let place = |piece: &Piece| !needed.contains_key(&piece.0);
        place(left).cmp(&place(right)).then(right.1.total_cmp(&left.1)).then_with(|| left.0.cmp(&right.0))
    });
    pieces.truncate(size);
    pieces.sort_by(|left, right| right.1.total_cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
        entries.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    }

    #[test]
    fn frequent_words_become_pieces_and_probabilities_sum_to_one() {
        let found = train(&words(&[("▁the", 500), ("▁then", 90), ("▁other", 80), ("▁there", 60), ("▁x", 3)]), 40);
        assert!(found.len() <= 40, "{found:?}");
        assert_eq!(found[0].0, "▁the");
        let sum: f64 = found.iter().map(|(_, score)| score.exp()).sum();
        assert!(sum > 0.5 && sum < 1.05, "{sum}");
        for character in ["▁", "t", "h", "e", "n", "o", "r"] {
            assert!(found.iter().any(|(piece, _)| piece == character), "{character}");
        }
    }

    #[test]
    fn digamma_is_as_tabulated() {
        for (x, expected) in [(1.0, -0.577_215_664_9), (0.5, -1.963_510_026_0), (10.0, 2.251_752_589_1)] {
            assert!((digamma(x) - expected).abs() < 1e-6, "{x}: {}", digamma(x));
        }
    }
}
