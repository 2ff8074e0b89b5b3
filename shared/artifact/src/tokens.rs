//! Tokens: what tokenize writes and train, evaluate and other trainers read.

use crate::columns::{counts, element, list_of, lists, number, strings, text, text_at};
use crate::{ArtifactError, FinishedFile, Result, StagedFile, TableReader, TableWriter};
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Builder, ListArray, ListBuilder, StringBuilder, StructArray, StructBuilder,
    UInt32Array, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Fields, Int32Type, Schema, UInt32Type};
use std::path::Path;
use std::sync::Arc;

/// The label of a token that is not trained on, as in PyTorch's cross entropy.
pub const IGNORED: i32 = -100;

/// A stretch of one message's content within the rendered example.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// Which message, counted from zero; 0 for text.
    pub message: u32,
    /// First character of the content in the rendered example.
    pub char_start: u32,
    /// One past the last character.
    pub char_end: u32,
}

/// One example within a row of tokens.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PackedExample {
    /// The example's id.
    pub id: String,
    /// The file it came from.
    pub source_file: String,
    /// Where in that file, counted from one.
    pub source_row: u64,
    /// Its first token in the row.
    pub start: u32,
    /// Its number of tokens.
    pub length: u32,
    /// Where each message's content lies in the rendered example.
    pub spans: Vec<Span>,
}

/// One row of tokens: one or more examples, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TokenRow {
    /// Token ids.
    pub input_ids: Vec<i32>,
    /// The same ids where trained on, [`IGNORED`] elsewhere; not shifted, as Hugging Face trainers expect.
    pub labels: Vec<i32>,
    /// Position of each token in its own example.
    pub position_ids: Vec<i32>,
    /// First character of each token in its rendered example; empty where another tool wrote the table.
    pub char_start: Vec<i32>,
    /// One past its last character.
    pub char_end: Vec<i32>,
    /// The examples packed into the row; empty where another tool wrote the table.
    pub examples: Vec<PackedExample>,
    /// Of a preference pair, the tokens of its first sequence, prompt and chosen answer; the rest is prompt and rejected
    /// answer. A table has this column where each of its rows is such a pair.
    pub chosen_length: Option<u32>,
}

fn span_fields() -> Fields {
    ["message", "char_start", "char_end"].map(|name| number(name, DataType::UInt32)).to_vec().into()
}

fn example_fields() -> Fields {
    vec![
        text("id"),
        text("source_file"),
        number("source_row", DataType::UInt64),
        number("start", DataType::UInt32),
        number("length", DataType::UInt32),
        number("spans", list_of(DataType::Struct(span_fields()))),
    ]
    .into()
}

const CHOSEN_LENGTH: &str = "chosen_length";
const ID_COLUMNS: [&str; 5] = ["input_ids", "labels", "position_ids", "char_start", "char_end"];

pub(crate) fn schema(of_pairs: bool) -> Schema {
    let mut fields = ID_COLUMNS.map(|name| number(name, list_of(DataType::Int32))).to_vec();
    fields.push(number("examples", list_of(DataType::Struct(example_fields()))));
    if of_pairs {
        fields.push(number(CHOSEN_LENGTH, DataType::UInt32));
    }
    Schema::new(fields)
}

/// Writes rows of tokens.
pub struct TokenWriter {
    table: TableWriter,
    of_pairs: bool,
}

impl TokenWriter {
    /// Begins the table.
    ///
    /// # Errors
    /// As [`TableWriter::new`].
    pub fn new(file: StagedFile) -> Result<Self> {
        Self::with_schema(file, false)
    }

    /// Begins a table of preference pairs, each row with its `chosen_length`.
    ///
    /// # Errors
    /// As [`TableWriter::new`].
    pub fn of_pairs(file: StagedFile) -> Result<Self> {
        Self::with_schema(file, true)
    }

    fn with_schema(file: StagedFile, of_pairs: bool) -> Result<Self> {
        Ok(Self { table: TableWriter::new(file, Arc::new(schema(of_pairs)))?, of_pairs })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn write(&mut self, rows: &[TokenRow]) -> Result<()> {
        let mut columns = columns(rows);
        if self.of_pairs {
            let lengths = rows.iter().map(|row| row.chosen_length.unwrap_or_default());
            columns.push(Arc::new(UInt32Array::from_iter_values(lengths)));
        }
        self.table.write(columns)
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.table.rows()
    }

    /// Completes the table.
    ///
    /// # Errors
    /// As [`TableWriter::finish`].
    pub fn finish(self) -> Result<FinishedFile> {
        self.table.finish()
    }
}

pub(crate) fn columns(rows: &[TokenRow]) -> Vec<ArrayRef> {
    let ids = |value: fn(&TokenRow) -> &[i32]| -> ArrayRef {
        let mut builder = ListBuilder::new(Int32Builder::new()).with_field(element(DataType::Int32));
        for row in rows {
            builder.values().append_slice(value(row));
            builder.append(true);
        }
        Arc::new(builder.finish())
    };
    vec![
        ids(|row| &row.input_ids),
        ids(|row| &row.labels),
        ids(|row| &row.position_ids),
        ids(|row| &row.char_start),
        ids(|row| &row.char_end),
        examples_column(rows),
    ]
}

type SpanBuilder = ListBuilder<StructBuilder>;

fn examples_column(rows: &[TokenRow]) -> ArrayRef {
    const FIELD: &str = "a field of the schema";
    let spans = || {
        let item = StructBuilder::from_fields(span_fields(), 0);
        ListBuilder::new(item).with_field(element(DataType::Struct(span_fields())))
    };
    let item = StructBuilder::new(
        example_fields(),
        vec![
            Box::new(StringBuilder::new()),
            Box::new(StringBuilder::new()),
            Box::new(UInt64Builder::new()),
            Box::new(UInt32Builder::new()),
            Box::new(UInt32Builder::new()),
            Box::new(spans()),
        ],
    );
    let mut list = ListBuilder::new(item).with_field(element(DataType::Struct(example_fields())));
    for row in rows {
        for example in &row.examples {
            let item = list.values();
            item.field_builder::<StringBuilder>(0).expect(FIELD).append_value(&example.id);
            item.field_builder::<StringBuilder>(1).expect(FIELD).append_value(&example.source_file);
            item.field_builder::<UInt64Builder>(2).expect(FIELD).append_value(example.source_row);
            item.field_builder::<UInt32Builder>(3).expect(FIELD).append_value(example.start);
            item.field_builder::<UInt32Builder>(4).expect(FIELD).append_value(example.length);
            let spans = item.field_builder::<SpanBuilder>(5).expect(FIELD);
            for span in &example.spans {
                let values = [span.message, span.char_start, span.char_end];
                for (index, value) in values.into_iter().enumerate() {
                    let builder = spans.values().field_builder::<UInt32Builder>(index);
                    builder.expect(FIELD).append_value(value);
                }
                spans.values().append(true);
            }
            spans.append(true);
            item.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

/// Reads rows of tokens, whoever wrote them: `input_ids` and `labels` must be there, `position_ids` count from zero
/// where they are not, the provenance columns are optional.
pub struct TokenReader {
    table: TableReader,
    row: u64,
}

impl TokenReader {
    /// Whether each row is a preference pair.
    pub fn holds_pairs(&self) -> bool {
        self.table.has(CHOSEN_LENGTH)
    }

    /// Opens a table of tokens.
    ///
    /// # Errors
    /// As [`TableReader::open`] and [`TableReader::require`].
    pub fn open(path: &Path) -> Result<Self> {
        let table = TableReader::open(path)?;
        table.require(
            &["input_ids", "labels"],
            "run retune-tokenize first, or name the columns as a Hugging Face trainer expects them",
        )?;
        Ok(Self { table, row: 0 })
    }

    /// Rows in the whole table.
    pub fn rows(&self) -> u64 {
        self.table.rows()
    }

    /// The next few thousand rows, `None` at the end.
    ///
    /// # Errors
    /// [`ArtifactError::Unexpected`] for a column of the wrong type, [`ArtifactError::Row`] where the lists of a row
    /// differ in length.
    pub fn next_batch(&mut self) -> Result<Option<Vec<TokenRow>>> {
        let Some(batch) = self.table.next_batch()? else { return Ok(None) };
        let mut columns: [Option<ArrayRef>; 5] = [const { None }; 5];
        for (slot, name) in columns.iter_mut().zip(ID_COLUMNS) {
            if self.table.has(name) {
                *slot = Some(self.table.column(&batch, name, &list_of(DataType::Int32))?);
            }
        }
        let examples = match self.table.has("examples") {
            true => {
                let wanted = list_of(DataType::Struct(example_fields()));
                self.table.column(&batch, "examples", &wanted).ok()
            }
            false => None,
        };
        let chosen = match self.table.has(CHOSEN_LENGTH) {
            true => Some(self.table.column(&batch, CHOSEN_LENGTH, &DataType::UInt32)?),
            false => None,
        };
        let mut rows = Vec::with_capacity(batch.num_rows());
        for index in 0..batch.num_rows() {
            self.row += 1;
            let ids = |column: usize| columns[column].as_ref().map(|array| integers(lists(array), index));
            let input_ids = ids(0).unwrap_or_default();
            let row = TokenRow {
                labels: ids(1).unwrap_or_default(),
                position_ids: ids(2).unwrap_or_else(|| (0..input_ids.len() as i32).collect()),
                char_start: ids(3).unwrap_or_default(),
                char_end: ids(4).unwrap_or_default(),
                chosen_length: chosen.as_ref().map(|array| array.as_primitive::<UInt32Type>().value(index)),
                examples: examples.as_ref().map(|array| examples_at(lists(array), index)).unwrap_or_default(),
                input_ids,
            };
            self.check(&row)?;
            rows.push(row);
        }
        Ok(Some(rows))
    }

    /// Reads the whole table.
    ///
    /// # Errors
    /// As [`TokenReader::next_batch`].
    pub fn read_all(mut self) -> Result<Vec<TokenRow>> {
        let mut all = Vec::new();
        while let Some(rows) = self.next_batch()? {
            all.extend(rows);
        }
        Ok(all)
    }

    fn check(&self, row: &TokenRow) -> Result<()> {
        let tokens = row.input_ids.len();
        let wrong = |expected: String, found: String| {
            Err(ArtifactError::Row { path: self.table.path().into(), row: self.row, expected, found })
        };
        for (name, length) in [("labels", row.labels.len()), ("position_ids", row.position_ids.len())] {
            if length != tokens {
                return wrong(format!("as many {name} as input_ids ({tokens})"), length.to_string());
            }
        }
        if let Some(id) = row.input_ids.iter().find(|id| **id < 0) {
            return wrong("token ids of zero or more".into(), id.to_string());
        }
        let unlike = row.labels.iter().zip(&row.input_ids).find(|(label, _)| **label < 0 && **label != IGNORED);
        if let Some((label, _)) = unlike {
            return wrong(format!("labels of zero or more, or {IGNORED}"), label.to_string());
        }
        Ok(())
    }
}

fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    if list.is_null(row) {
        return 0..0;
    }
    list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
}

fn integers(list: &ListArray, row: usize) -> Vec<i32> {
    list.values().as_primitive::<Int32Type>().values()[range(list, row)].to_vec()
}

fn examples_at(list: &ListArray, row: usize) -> Vec<PackedExample> {
    let items: &StructArray = list.values().as_struct();
    let small = |column: usize, index: usize| items.column(column).as_primitive::<UInt32Type>().value(index);
    let word = |column: usize, index: usize| text_at(strings(items.column(column)), index).unwrap_or_default();
    range(list, row)
        .map(|index| PackedExample {
            id: word(0, index),
            source_file: word(1, index),
            source_row: counts(items.column(2)).value(index),
            start: small(3, index),
            length: small(4, index),
            spans: spans_at(lists(items.column(5)), index),
        })
        .collect()
}

fn spans_at(list: &ListArray, row: usize) -> Vec<Span> {
    let items: &StructArray = list.values().as_struct();
    let value = |column: usize, index: usize| items.column(column).as_primitive::<UInt32Type>().value(index);
    range(list, row)
        .map(|index| Span { message: value(0, index), char_start: value(1, index), char_end: value(2, index) })
        .collect()
}
