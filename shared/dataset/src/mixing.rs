//! How often a row of a source counts: weights per source, by up and down sampling.

use artifact::Split;

use crate::split::chance;

/// `--mix`: patterns of file names with a weight each; the first that fits counts, and a file that none fits has one.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    parts: Vec<(glob::Pattern, f64)>,
    seed: u64,
}

impl Mix {
    /// Parses `PATTERN=WEIGHT,...`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str, seed: u64) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (pattern, weight) =
                part.rsplit_once('=').ok_or_else(|| format!("expected PATTERN=WEIGHT, found `{part}`"))?;
            let pattern = glob::Pattern::new(pattern).map_err(|error| format!("`{pattern}` is no pattern: {error}"))?;
            let number = weight.trim().parse::<f64>().ok().filter(|weight| (0.0..=1000.0).contains(weight));
            let number = number.ok_or_else(|| format!("expected a weight from 0 to 1000, found `{weight}`"))?;
            parts.push((pattern, number));
        }
        Ok(Self { parts, seed })
    }

    /// Whether every row counts once.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What is wrong with a pattern that counts for none of the files, if there is one.
    pub fn unused(&self, files: &[&str]) -> Option<String> {
        let used: Vec<usize> = files.iter().filter_map(|file| self.first(file)).collect();
        let (pattern, _) = self.parts.iter().enumerate().find(|(place, _)| !used.contains(place))?.1;
        let shadowed = files.iter().any(|file| pattern.matches(file));
        let why = if shadowed { "fits only files that a pattern before it fits" } else { "fits no file" };
        Some(format!("`{pattern}` {why}"))
    }

    /// The weight of a file's rows.
    pub fn weight(&self, file: &str) -> f64 {
        self.first(file).map_or(1.0, |place| self.parts[place].1)
    }

    /// The pattern that counts for a file.
    fn first(&self, file: &str) -> Option<usize> {
        self.parts.iter().position(|(pattern, _)| pattern.matches(file))
    }

    /// How often a row is written: the whole part of the weight, and once more by chance for the rest of it. A row of
    /// another split than the training split is written once at most: copies would only slow its reader.
    pub fn copies(&self, weight: f64, identity: u128, split: Split) -> u32 {
        let more = chance(b"mix", identity, self.seed) < weight.fract();
        let copies = weight.trunc() as u32 + u32::from(more);
        if split == Split::Train { copies } else { copies.min(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_met_by_whole_rows() {
        let mix = Mix::parse("web*=0.25, chats/*=2.5", 3).unwrap();
        assert_eq!((mix.weight("web.jsonl"), mix.weight("chats/a.jsonl"), mix.weight("other")), (0.25, 2.5, 1.0));
        let sum = |weight, split| (0..4000u128).map(|row| mix.copies(weight, row << 64 | row, split)).sum::<u32>();
        assert!(sum(0.25, Split::Train).abs_diff(1000) < 120);
        assert!(sum(2.5, Split::Train).abs_diff(10_000) < 120);
        assert_eq!(sum(2.5, Split::Test), 4000);
        assert_eq!(sum(0.0, Split::Train), 0);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for wrong in ["web", "web=x", "web=-1", "[=1"] {
            assert!(Mix::parse(wrong, 0).is_err(), "{wrong}");
        }
        let unused = |text: &str| Mix::parse(text, 0).unwrap().unused(&["a.jsonl", "b.jsonl"]);
        assert_eq!(unused("web*=2").unwrap(), "`web*` fits no file");
        assert_eq!(unused("*=2,a*=3").unwrap(), "`a*` fits only files that a pattern before it fits");
        assert_eq!(unused("a*=3,*=2"), None);
    }
}
