//! Training a byte-level BPE vocabulary (Sennrich et al. 2016; bytes as in GPT-2).
//!
//! Our own loop rather than the library's trainer, whose queue is filled in the order of a randomly seeded hash map:
//! the merges must be a function of the text alone. Words are counted in sorted order, and of equally frequent pairs
//! the one with the lower ids is merged first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

type Pair = (u32, u32);

/// A trained vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bpe {
    /// Token texts by id: specials, the 256 bytes, then one for each merge.
    pub(crate) tokens: Vec<String>,
    /// Pairs of token texts, in the order in which they are merged.
    pub(crate) merges: Vec<(String, String)>,
}

struct Word {
    symbols: Vec<u32>,
    count: i64,
}

/// The printable character that stands for each byte in a byte-level vocabulary.
pub(crate) fn byte_characters() -> [char; 256] {
    let mut next = 256;
    std::array::from_fn(|byte| {
        let shown = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if shown {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).expect("codes below 512 are characters")
    })
}

/// Learns merges until the vocabulary has `size` entries or no pair occurs twice. `words` are pre-tokenized pieces in
/// byte characters, with how often each occurs.
pub(crate) fn train(words: &BTreeMap<String, u64>, specials: &[String], size: usize) -> Bpe {
    let mut tokens: Vec<String> = specials.to_vec();
    let mut id_of_character: BTreeMap<char, u32> = BTreeMap::new();
    for character in byte_characters() {
        id_of_character.insert(character, tokens.len() as u32);
        tokens.push(character.to_string());
    }
    let known: BTreeSet<String> = tokens.iter().cloned().collect();
    let mut state = State::new(words, &id_of_character);
    let mut merges = Vec::new();
    while tokens.len() < size {
        let Some(pair) = state.most_frequent() else { break };
        let merged = format!("{}{}", tokens[pair.0 as usize], tokens[pair.1 as usize]);
        if known.contains(&merged) {
            // The text of a special token: that one must stay out of reach of plain text.
            state.forbid(pair);
            continue;
        }
        merges.push((tokens[pair.0 as usize].clone(), tokens[pair.1 as usize].clone()));
        state.merge(pair, tokens.len() as u32);
        tokens.push(merged);
    }
    Bpe { tokens, merges }
}

/// Words, how often each pair occurs in them, and where. The hash maps are looked into, never walked through, so their
/// order counts for nothing.
struct State {
    words: Vec<Word>,
    counts: HashMap<Pair, i64>,
    /// Words that hold a pair, or held it once.
    places: HashMap<Pair, Vec<u32>>,
    /// Candidates; an entry whose count is out of date is corrected when it comes up.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl State {
    fn new(words: &BTreeMap<String, u64>, id_of_character: &BTreeMap<char, u32>) -> Self {
        let words: Vec<Word> = words
            .iter()
            .map(|(word, count)| Word {
                symbols: word.chars().filter_map(|character| id_of_character.get(&character).copied()).collect(),
                count: *count as i64,
            })
            .collect();
        let mut state = Self { words, counts: HashMap::new(), places: HashMap::new(), queue: BinaryHeap::new() };
        let mut pairs = Vec::new();
        for index in 0..state.words.len() {
            state.account(index, 1, &mut pairs);
        }
        state.enqueue(pairs);
        state
    }

    /// Adds (or with −1 takes away) the pairs of one word; those it adds are noted in `added`.
    fn account(&mut self, index: usize, sign: i64, added: &mut Vec<Pair>) {
        let word = &self.words[index];
        for pair in word.symbols.windows(2).map(|pair| (pair[0], pair[1])) {
            *self.counts.entry(pair).or_default() += sign * word.count;
            if sign > 0 {
                let places = self.places.entry(pair).or_default();
                if places.last() != Some(&(index as u32)) {
                    places.push(index as u32);
                }
                added.push(pair);
            }
        }
    }

    fn enqueue(&mut self, mut pairs: Vec<Pair>) {
        pairs.sort_unstable();
        pairs.dedup();
        let counted = pairs.into_iter().filter_map(|pair| Some((*self.counts.get(&pair)?, Reverse(pair))));
        self.queue.extend(counted.filter(|(count, _)| *count >= 2));
    }

    /// The pair to merge next: occurring most often, at least twice, and of those the one with the lowest ids.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let current = self.counts.get(&pair).copied().unwrap_or(0);
            if current < 2 {
                continue;
            }
            if current == count {
                return Some(pair);
            }
            if current < count {
                self.queue.push((current, Reverse(pair)));
            }
            // A count that grew has been queued anew when it did.
        }
        None
    }

    fn forbid(&mut self, pair: Pair) {
        self.counts.remove(&pair);
    }

    fn merge(&mut self, pair: Pair, merged: u32) {
        let mut places = self.places.remove(&pair).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        let mut changed = Vec::new();
        for index in places {
            let index = index as usize;
            let replaced = replace(&self.words[index].symbols, pair, merged);
            if replaced.len() == self.words[index].symbols.len() {
                // An earlier merge took the pair out of this word.
                continue;
            }
            self.account(index, -1, &mut changed);
            self.words[index].symbols = replaced;
            self.account(index, 1, &mut changed);
        }
        self.counts.remove(&pair);
        self.enqueue(changed);
    }
}

fn replace(symbols: &[u32], pair: Pair, merged: u32) -> Vec<u32> {
    let mut replaced = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        if symbols.get(at + 1).is_some_and(|next| (symbols[at], *next) == pair) {
            replaced.push(merged);
            at += 2;
        } else {
            replaced.push(symbols[at]);
            at += 1;
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
        entries.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    }

    #[test]
    fn merges_follow_frequency_then_ids() {
        // Sennrich et al.'s own example: e s (9), es t (9), l o (7), lo w (7).
        let bpe = train(&words(&[("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)]), &[], 256 + 4);
        let merges: Vec<String> = bpe.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        assert_eq!(merges, ["e s", "es t", "l o", "lo w"]);
        assert_eq!(bpe.tokens.len(), 260);
    }

    #[test]
    fn repeated_symbols_and_small_texts_are_fine() {
        let bpe = train(&words(&[("aaaa", 3), ("b", 9)]), &["<|endoftext|>".into()], 300);
        assert_eq!(bpe.merges, [("a".into(), "a".into()), ("aa".into(), "aa".into())]);
        assert_eq!(bpe.tokens[0], "<|endoftext|>");
        assert_eq!(train(&BTreeMap::new(), &[], 300).merges, []);
    }

    #[test]
    fn byte_characters_are_those_of_gpt2() {
        let characters = byte_characters();
        assert_eq!((characters[b' ' as usize], characters[b'\n' as usize], characters[b'a' as usize]), ('Ġ', 'Ċ', 'a'));
        assert_eq!(characters.iter().collect::<BTreeSet<_>>().len(), 256);
    }
}
