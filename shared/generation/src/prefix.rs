//! Prompts that begin alike: the keys and values of a shared beginning are computed once.
//!
//! A token's result does not depend, to the bit, on how many tokens were read with it, so that taking a beginning from
//! another prompt changes no bit of the answer: what is generated for a prompt still depends on the prompt alone.

use std::collections::HashMap;

use model::{Decoder, KvCache};

use crate::GenerationError;

/// Beginnings are compared up to multiples of so many tokens.
const BLOCK: usize = 32;
/// Most beginnings that are kept at a time: each is as large as the cache of a sequence.
const KEPT: usize = 32;

/// The beginnings that several prompts share, and what was computed of them.
pub(crate) struct Prefixes<'a> {
    /// By their tokens: prompts still to come that begin so, and the cache once it is there.
    shared: HashMap<&'a [u32], (usize, Option<KvCache>)>,
    /// Of longer prompts nothing is shared.
    longest: usize,
}

impl<'a> Prefixes<'a> {
    /// Counts who begins how. A beginning is worth keeping where the prompts that share it part.
    pub(crate) fn new(decoder: &Decoder, prompts: impl Iterator<Item = &'a [u32]> + Clone) -> Self {
        let longest = decoder.settled_context();
        let mut counts: HashMap<&'a [u32], usize> = HashMap::new();
        for prompt in prompts.clone() {
            for end in ends(prompt, longest) {
                *counts.entry(&prompt[..end]).or_default() += 1;
            }
        }
        let mut shared = HashMap::new();
        for prompt in prompts {
            for end in ends(prompt, longest) {
                let count = counts[&prompt[..end]];
                let further = prompt.get(..end + BLOCK).and_then(|further| counts.get(further));
                if count > 1 && further.is_none_or(|further| *further < count) {
                    shared.insert(&prompt[..end], (count, None));
                }
            }
        }
        Self { shared, longest }
    }

    /// A cache of one sequence that has read what the prompt shares with others, and how many tokens these are.
    pub(crate) fn read(&mut self, decoder: &Decoder, prompt: &'a [u32]) -> Result<(KvCache, usize), GenerationError> {
        let ends: Vec<usize> =
            ends(prompt, self.longest).filter(|&end| self.shared.contains_key(&prompt[..end])).collect();
        let known = ends.iter().rev().find_map(|&end| Some((self.shared[&prompt[..end]].1.clone()?, end)));
        let (mut cache, mut read) = known.unwrap_or_else(|| (decoder.new_cache(1), 0));
        let mut kept = self.shared.values().filter(|(_, cache)| cache.is_some()).count();
        for end in ends {
            let (waiting, shared) = self.shared.get_mut(&prompt[..end]).expect("only known ends are left");
            *waiting -= 1;
            if end > read && *waiting > 0 {
                decoder.decode(&[&prompt[read..end]], &mut cache)?;
                read = end;
                if kept < KEPT {
                    *shared = Some(cache.clone());
                    kept += 1;
                }
            }
            if *waiting == 0 {
                *shared = None;
            }
        }
        Ok((cache, read))
    }
}

/// The ends of whole blocks before the prompt's last token, which must be read for its logits.
fn ends(prompt: &[u32], longest: usize) -> impl Iterator<Item = usize> + use<> {
    let blocks = if prompt.len() > longest { 0 } else { prompt.len().saturating_sub(1) / BLOCK };
    (1..=blocks).map(|block| block * BLOCK)
}
