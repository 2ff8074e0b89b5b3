//! What records hold and examples do not: counted, so that nothing is left behind without a word.

use std::collections::BTreeMap;

/// Keys of turns that no field of an example takes, and roles that are spelled otherwise than examples spell them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Keys with a value, each with the turns that have one.
    pub keys: BTreeMap<String, u64>,
    /// `found → taken as`, each with its turns.
    pub roles: BTreeMap<String, u64>,
}

/// Different keys that are told apart: made-up keys must not fill the memory.
const TOLD: usize = 200;
/// Stands for all further ones.
const FURTHER: &str = "…";

impl Unread {
    /// Counts a key that is not used.
    pub fn key(&mut self, key: &str) {
        count(&mut self.keys, key, 1);
    }

    /// Counts a role that is spelled otherwise.
    pub fn role(&mut self, found: &str, taken: &str) {
        count(&mut self.roles, &format!("{found} → {taken}"), 1);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        other.keys.iter().for_each(|(key, turns)| count(&mut self.keys, key, *turns));
        other.roles.iter().for_each(|(role, turns)| count(&mut self.roles, role, *turns));
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str, more: u64) {
    let known = counts.len() < TOLD || counts.contains_key(name);
    let name = if known { name } else { FURTHER };
    match counts.get_mut(name) {
        Some(turns) => *turns += more,
        None => {
            counts.insert(name.to_owned(), more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_keys_are_counted_together() {
        let mut unread = Unread::default();
        (0..1000).for_each(|number| unread.key(&format!("key{number:04}")));
        let mut both = Unread::default();
        both.add(&unread);
        both.add(&unread);
        assert_eq!((both.keys.len(), both.keys.values().sum::<u64>()), (TOLD + 1, 2000));
        assert_eq!(both.keys[FURTHER], 1600);
    }
}
