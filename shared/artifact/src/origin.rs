//! Which example a stretch of a token row is: as the table says, or by its place where another tool wrote the table.

use crate::TokenRow;

/// An example's name and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The example's id, or `row-N-K` where the table names none.
    pub id: String,
    /// The file it came from, or the table.
    pub source_file: String,
    /// Where in that file, counted from one.
    pub source_row: u64,
}

impl TokenRow {
    /// First token of each example in the row: where positions do not go on from the token before. Nothing for an empty
    /// row.
    pub fn starts(&self) -> Vec<usize> {
        let continues = |i: usize| i > 0 && self.position_ids[i] == self.position_ids[i - 1].wrapping_add(1);
        (0..self.input_ids.len()).filter(|&i| !continues(i)).collect()
    }

    /// The origin of each stretch that [`TokenRow::starts`] finds. `table` and `number` (from one) name the row itself.
    pub fn origins(&self, table: &str, number: u64) -> Vec<Origin> {
        let starts = self.starts();
        let origin = |(place, start): (usize, usize)| {
            let holds = |from: u32, length: u32| (from as usize..(from + length) as usize).contains(&start);
            match self.examples.iter().find(|example| holds(example.start, example.length)) {
                Some(example) => Origin {
                    id: example.id.clone(),
                    source_file: example.source_file.clone(),
                    source_row: example.source_row,
                },
                None => Origin {
                    id: format!("row-{number}-{}", place + 1),
                    source_file: table.to_owned(),
                    source_row: number,
                },
            }
        };
        starts.into_iter().enumerate().map(origin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackedExample;

    #[test]
    fn each_stretch_finds_its_example_or_names_its_place() {
        let example = |id: &str, start, length| PackedExample {
            id: id.to_owned(),
            source_file: "a.jsonl".to_owned(),
            source_row: 7,
            start,
            length,
            spans: Vec::new(),
        };
        let mut row = TokenRow {
            input_ids: vec![1; 5],
            position_ids: vec![0, 1, 0, 1, 2],
            examples: vec![example("x", 0, 2), example("y", 2, 3)],
            ..TokenRow::default()
        };
        assert_eq!(row.starts(), [0, 2]);
        let ids = |row: &TokenRow| row.origins("train.parquet", 3).into_iter().map(|o| o.id).collect::<Vec<_>>();
        assert_eq!(ids(&row), ["x", "y"]);
        row.examples.clear();
        assert_eq!(ids(&row), ["row-3-1", "row-3-2"]);
        assert_eq!(row.origins("train.parquet", 3)[1].source_row, 3);
    }
}
