//! Prompts that begin alike are read once: keys and values of shared beginnings, block by block.
//!
//! A long prompt is always read in blocks of [`BLOCK`] tokens, whether it shares them or not. A block's result depends on
//! the tokens up to its end alone, so that taking it from another prompt changes no bit of the answer: what is generated
//! for a prompt still depends on the prompt alone.

use std::collections::HashMap;

use model::{Decoder, KvCache};

use crate::GenerationError;

/// Tokens of a block: enough for a quick matrix product, few enough that a system prompt fills some.
pub(crate) const BLOCK: usize = 128;

/// The beginnings that several prompts share, and what was computed of them.
#[derive(Default)]
pub(crate) struct Prefixes<'a> {
    /// By the tokens up to a block's end: prompts still to come that begin so, and the cache once it is there.
    shared: HashMap<&'a [u32], (usize, Option<KvCache>)>,
}

/// The blocks of a prompt before its last token, which must be read for its logits: their ends.
fn ends(prompt: &[u32]) -> impl DoubleEndedIterator<Item = usize> + use<> {
    (1..=prompt.len().saturating_sub(1) / BLOCK).map(|block| block * BLOCK)
}

impl<'a> Prefixes<'a> {
    /// Counts who begins how; a beginning of one prompt alone is nothing to keep.
    pub(crate) fn new(prompts: impl Iterator<Item = &'a [u32]>) -> Self {
        let mut shared: HashMap<&'a [u32], (usize, Option<KvCache>)> = HashMap::new();
        for prompt in prompts {
            for end in ends(prompt) {
                shared.entry(&prompt[..end]).or_default().0 += 1;
            }
        }
        shared.retain(|_, (prompts, _)| *prompts > 1);
        Self { shared }
    }

    /// A cache of one sequence that has read the prompt's whole blocks, and how many tokens these are.
    pub(crate) fn read(&mut self, decoder: &Decoder, prompt: &'a [u32]) -> Result<(KvCache, usize), GenerationError> {
        let known = ends(prompt).rev().find_map(|end| {
            let (_, cache) = self.shared.get(&prompt[..end])?;
            Some((cache.clone()?, end))
        });
        let (mut cache, mut read) = known.unwrap_or_else(|| (decoder.new_cache(1), 0));
        for end in ends(prompt).filter(|&end| end > read).collect::<Vec<_>>() {
            decoder.decode(&[&prompt[read..end]], &mut cache)?;
            read = end;
            if let Some((prompts, kept)) = self.shared.get_mut(&prompt[..end])
                && *prompts > 1
            {
                *kept = Some(cache.clone());
            }
        }
        // The last prompt that begins so takes the memory with it.
        for end in ends(prompt) {
            if let Some((prompts, kept)) = self.shared.get_mut(&prompt[..end]) {
                *prompts -= 1;
                if *prompts == 0 {
                    *kept = None;
                }
            }
        }
        Ok((cache, read))
    }
}
