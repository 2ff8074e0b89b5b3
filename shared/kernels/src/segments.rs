//! Which rows of a flat batch belong to the same sequence: attention never crosses a boundary.

use candle_core::{Result, bail};
use std::{ops::Range, sync::Arc};

/// The boundaries `0 = b0 < b1 < … < bn = N` that cut `N` rows into sequences. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments(Arc<[usize]>);

impl Segments {
    /// Takes boundaries that start at 0 and strictly rise; the last is the number of rows.
    ///
    /// # Errors
    /// Where the boundaries do not start at 0 or do not rise.
    pub fn new(boundaries: Vec<usize>) -> Result<Self> {
        if boundaries.first() != Some(&0) {
            bail!("segment boundaries start at 0, found {:?}", boundaries.first());
        }
        let mut pairs = boundaries.iter().zip(boundaries.iter().skip(1));
        if let Some((earlier, later)) = pairs.find(|(earlier, later)| earlier >= later) {
            bail!("segment boundaries rise strictly, found {earlier} before {later}");
        }
        Ok(Self(boundaries.into()))
    }

    /// One boundary more than there are segments.
    pub fn boundaries(&self) -> &[usize] {
        &self.0
    }

    /// The number of rows, `N`.
    pub fn total(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// The number of segments.
    pub fn count(&self) -> usize {
        self.0.len() - 1
    }

    /// The rows of each segment in turn.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.windows(2).map(|pair| pair[0]..pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_checked() {
        assert!(Segments::new(vec![]).is_err());
        assert!(Segments::new(vec![1, 2]).is_err());
        assert!(Segments::new(vec![0, 2, 2]).is_err());
        let segments = Segments::new(vec![0, 2, 5]).unwrap();
        assert_eq!((segments.total(), segments.count()), (5, 2));
        assert_eq!(segments.iter().collect::<Vec<_>>(), [0..2, 2..5]);
    }

    #[test]
    fn no_rows_are_no_segments() {
        let segments = Segments::new(vec![0]).unwrap();
        assert_eq!((segments.total(), segments.count(), segments.iter().count()), (0, 0, 0));
    }
}
