//! Examples: what ingest makes of any data set and tokenize reads.

use crate::columns::{counts, element, list_of, lists, number, optional_number, optional_text, strings, text, text_at};
use crate::{ArtifactError, FinishedFile, Result, StagedFile, TableReader, TableWriter};
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Builder, ListBuilder, StringBuilder, StructArray, StructBuilder, UInt64Builder,
};
use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Schema};
use std::path::Path;
use std::sync::Arc;

/// What an example is, which decides how it becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Turns of a conversation, rendered by a chat template.
    Chat,
    /// A prompt (`messages[0]`, role user) and its completion (`messages[1]`, role assistant), joined as they are.
    Completion,
    /// Running text, all of it trained on.
    Text,
    /// A prompt in `messages` with a chosen and a rejected continuation.
    Preference,
}

impl Kind {
    /// The word in the `kind` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completion",
            Self::Text => "text",
            Self::Preference => "preference",
        }
    }

    /// Reads the word in the `kind` column.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Chat, Self::Completion, Self::Text, Self::Preference].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One turn.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said; absent where the turn is nothing but tool calls.
    pub content: Option<String>,
    /// The speaker's or tool's name.
    pub name: Option<String>,
    /// The calls an assistant turn makes: a JSON array as in the chat completions convention.
    pub tool_calls: Option<String>,
    /// Which call a tool turn answers.
    pub tool_call_id: Option<String>,
    /// How much the turn counts in the loss; absent means one for assistant turns.
    pub weight: Option<f32>,
}

impl Message {
    /// A turn of nothing but text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }
}

/// One example with its origin.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// Hash of the content, in hexadecimal: equal content has an equal id wherever it comes from.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The turns; for completion and preference see [`Kind`].
    pub messages: Vec<Message>,
    /// The tools an assistant may call: a JSON array.
    pub tools: Option<String>,
    /// Running text, for [`Kind::Text`].
    pub text: Option<String>,
    /// The better continuation, for [`Kind::Preference`].
    pub chosen: Vec<Message>,
    /// The worse continuation, for [`Kind::Preference`].
    pub rejected: Vec<Message>,
    /// The file it came from, relative to what all inputs have in common.
    pub source_file: String,
    /// Where in the file: the line for JSONL and text lines, the record elsewhere, counted from one.
    pub source_row: u64,
    /// Kept columns, in the order of the writer's or reader's `extra` names.
    pub extra: Vec<Option<String>>,
}

fn message_fields() -> Fields {
    vec![
        text("role"),
        optional_text("content"),
        optional_text("name"),
        optional_text("tool_calls"),
        optional_text("tool_call_id"),
        optional_number("weight", DataType::Float32),
    ]
    .into()
}

fn messages_type() -> DataType {
    list_of(DataType::Struct(message_fields()))
}

/// The columns every example table has; kept extra columns follow them.
pub const EXAMPLE_COLUMNS: [&str; 9] =
    ["id", "kind", "messages", "tools", "text", "chosen", "rejected", "source_file", "source_row"];

/// Refuses kept columns that would hide one of ours.
pub(crate) fn check_extra(extra: &[String], path: &Path) -> Result<()> {
    let Some(clash) = extra.iter().find(|name| EXAMPLE_COLUMNS.contains(&name.as_str())) else { return Ok(()) };
    Err(ArtifactError::Unexpected {
        path: path.into(),
        expected: "kept columns with names of their own".into(),
        found: format!("{clash}, a column of every example table"),
        hint: format!("rename the column {clash} in the source, or keep it under another name"),
    })
}

pub(crate) fn schema(extra: &[String]) -> Schema {
    let mut fields = vec![
        text("id"),
        text("kind"),
        number("messages", messages_type()),
        optional_text("tools"),
        optional_text("text"),
        number("chosen", messages_type()),
        number("rejected", messages_type()),
        text("source_file"),
        number("source_row", DataType::UInt64),
    ];
    fields.extend(extra.iter().map(|name| optional_text(name)));
    Schema::new(fields)
}

/// Writes examples to a table.
pub struct ExampleWriter {
    table: TableWriter,
    extra: usize,
}

impl ExampleWriter {
    /// Begins a table with these extra columns.
    ///
    /// # Errors
    /// [`ArtifactError::Parquet`], or [`ArtifactError::Unexpected`] where an extra column would hide one of ours.
    pub fn new(file: StagedFile, extra: &[String]) -> Result<Self> {
        check_extra(extra, file.path())?;
        Ok(Self { table: TableWriter::new(file, Arc::new(schema(extra)))?, extra: extra.len() })
    }

    /// Appends examples. Each must carry one value per extra column.
    ///
    /// # Errors
    /// As [`TableWriter::write`].
    pub fn write(&mut self, examples: &[Example]) -> Result<()> {
        self.table.write(columns(examples, self.extra))
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

/// The columns of [`schema`] for these examples, each with `extra` kept values.
pub(crate) fn columns(examples: &[Example], extra: usize) -> Vec<ArrayRef> {
    let text_column = |value: &dyn Fn(&Example) -> Option<&str>| -> ArrayRef {
        let bytes = examples.iter().filter_map(value).map(str::len).sum();
        let mut builder = StringBuilder::with_capacity(examples.len(), bytes);
        examples.iter().for_each(|example| builder.append_option(value(example)));
        Arc::new(builder.finish())
    };
    let mut rows = UInt64Builder::new();
    examples.iter().for_each(|example| rows.append_value(example.source_row));
    let mut columns: Vec<ArrayRef> = vec![
        text_column(&|example| Some(&example.id)),
        text_column(&|example| Some(example.kind.as_str())),
        messages_column(examples.iter().map(|example| example.messages.as_slice())),
        text_column(&|example| example.tools.as_deref()),
        text_column(&|example| example.text.as_deref()),
        messages_column(examples.iter().map(|example| example.chosen.as_slice())),
        messages_column(examples.iter().map(|example| example.rejected.as_slice())),
        text_column(&|example| Some(&example.source_file)),
        Arc::new(rows.finish()),
    ];
    for index in 0..extra {
        columns.push(text_column(&|example| example.extra.get(index)?.as_deref()));
    }
    columns
}

fn messages_column<'a>(rows: impl Iterator<Item = &'a [Message]>) -> ArrayRef {
    let item = StructBuilder::from_fields(message_fields(), 0);
    let mut list = ListBuilder::new(item).with_field(element(DataType::Struct(message_fields())));
    for messages in rows {
        for message in messages {
            let item = list.values();
            let texts = [
                Some(message.role.as_str()),
                message.content.as_deref(),
                message.name.as_deref(),
                message.tool_calls.as_deref(),
                message.tool_call_id.as_deref(),
            ];
            for (index, value) in texts.into_iter().enumerate() {
                let builder = item.field_builder::<StringBuilder>(index).expect("a text field of the schema");
                builder.append_option(value);
            }
            let weight = item.field_builder::<Float32Builder>(5).expect("the weight field of the schema");
            weight.append_option(message.weight);
            item.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

const INGEST_FIRST: &str = "run retune-ingest on the file first: it makes examples of any data set";

/// Reads examples from a table, whoever wrote it: only the columns that its kind needs must be there.
pub struct ExampleReader {
    table: TableReader,
    extra: Vec<String>,
    row: u64,
}

impl ExampleReader {
    /// Opens a table that has `messages`, `text`, or `prompt` and `completion`.
    ///
    /// # Errors
    /// As [`TableReader::open`], and [`ArtifactError::Unexpected`] where no column holds an example.
    pub fn open(path: &Path) -> Result<Self> {
        let table = TableReader::open(path)?;
        let prompted = table.has("prompt") && table.has("completion");
        if !prompted && !table.has("messages") && !table.has("text") {
            table.require(&["messages"], INGEST_FIRST)?;
        }
        let kept = |field: &&Arc<Field>| {
            let ours = EXAMPLE_COLUMNS.contains(&field.name().as_str())
                || ["prompt", "completion"].contains(&field.name().as_str());
            !ours && !field.data_type().is_nested() && can_cast_types(field.data_type(), &DataType::Utf8)
        };
        let extra = table.schema().fields().iter().filter(kept).map(|field| field.name().clone()).collect();
        Ok(Self { table, extra, row: 0 })
    }

    /// Names of the extra columns: those of the file that read as text.
    pub fn extra(&self) -> &[String] {
        &self.extra
    }

    /// Rows in the whole table.
    pub fn rows(&self) -> u64 {
        self.table.rows()
    }

    /// The next few thousand examples, `None` at the end.
    ///
    /// # Errors
    /// [`ArtifactError::Unexpected`] for a column of the wrong type, [`ArtifactError::Row`] for a bad value.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Example>>> {
        let Some(batch) = self.table.next_batch()? else { return Ok(None) };
        let texts = |name: &str| -> Result<Option<ArrayRef>> {
            if !self.table.has(name) {
                return Ok(None);
            }
            let column = self.table.column(&batch, name, &DataType::Utf8);
            column.map(Some).map_err(|error| match error {
                ArtifactError::Unexpected { path, expected, found, .. } => {
                    ArtifactError::Unexpected { path, expected, found, hint: INGEST_FIRST.into() }
                }
                other => other,
            })
        };
        let turns = |name: &str| -> Result<Option<MessageColumn>> {
            if !self.table.has(name) {
                return Ok(None);
            }
            // A column without any value has no type of its own where pandas made it.
            let typeless = batch.column_by_name(name).is_some_and(|column| column.data_type() == &DataType::Null);
            if typeless { Ok(None) } else { MessageColumn::new(&self.table, &batch, name).map(Some) }
        };
        let (ids, kinds, tools, text) = (texts("id")?, texts("kind")?, texts("tools")?, texts("text")?);
        let (prompts, completions, files) = (texts("prompt")?, texts("completion")?, texts("source_file")?);
        let (messages, chosen, rejected) = (turns("messages")?, turns("chosen")?, turns("rejected")?);
        let extra: Vec<ArrayRef> =
            self.extra.iter().map(|name| self.table.column(&batch, name, &DataType::Utf8)).collect::<Result<_>>()?;
        let source_rows = match self.table.has("source_row") {
            true => Some(self.table.column(&batch, "source_row", &DataType::UInt64)?),
            false => None,
        };
        let at = |column: &Option<ArrayRef>, row: usize| column.as_ref().and_then(|c| text_at(strings(c), row));
        let turns_at = |column: &Option<MessageColumn>, row: usize| match column {
            Some(column) => column.at(row),
            None => Vec::new(),
        };
        let own_name = self.table.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut examples = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            self.row += 1;
            let mut example = Example {
                id: at(&ids, row).unwrap_or_else(|| format!("row-{}", self.row)),
                kind: Kind::Chat,
                messages: turns_at(&messages, row),
                tools: at(&tools, row),
                text: at(&text, row),
                chosen: turns_at(&chosen, row),
                rejected: turns_at(&rejected, row),
                source_file: at(&files, row).unwrap_or_else(|| own_name.clone()),
                source_row: source_rows.as_ref().map_or(self.row, |column| counts(column).value(row)),
                extra: extra.iter().map(|column| text_at(strings(column), row)).collect(),
            };
            if let (Some(prompt), Some(completion)) = (at(&prompts, row), at(&completions, row)) {
                example.messages = vec![Message::new("user", prompt), Message::new("assistant", completion)];
                example.kind = Kind::Completion;
            } else if example.messages.is_empty() {
                example.kind = Kind::Text;
            }
            if let Some(word) = at(&kinds, row) {
                example.kind = Kind::parse(&word).ok_or_else(|| ArtifactError::Row {
                    path: self.table.path().into(),
                    row: self.row,
                    expected: "kind chat, completion, text or preference".into(),
                    found: word,
                })?;
            }
            examples.push(example);
        }
        Ok(Some(examples))
    }
}

/// A list of turns whose struct may lack the optional fields, hold them in another order, or hold more.
struct MessageColumn {
    list: ArrayRef,
    fields: [Option<ArrayRef>; 5],
    weight: Option<ArrayRef>,
}

impl MessageColumn {
    fn new(table: &TableReader, batch: &arrow::array::RecordBatch, name: &str) -> Result<Self> {
        let unexpected = |found: String| ArtifactError::Unexpected {
            path: table.path().into(),
            expected: format!("the column {name} as a list of structs with role and content"),
            found,
            hint: INGEST_FIRST.into(),
        };
        let column = batch.column_by_name(name).ok_or_else(|| unexpected("no such column".into()))?;
        let inner = match column.data_type() {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => field.clone(),
            other => return Err(unexpected(other.to_string())),
        };
        let list = match column.data_type() {
            DataType::List(_) => column.clone(),
            _ => arrow::compute::cast(column, &DataType::List(inner)).map_err(|e| unexpected(e.to_string()))?,
        };
        let values = lists(&list).values().clone();
        // Lists that are all empty have no type of their own either.
        if values.data_type() == &DataType::Null && values.is_empty() {
            return Ok(Self { list, fields: [const { None }; 5], weight: None });
        }
        let structs: &StructArray = values.as_struct_opt().ok_or_else(|| unexpected(column.data_type().to_string()))?;
        let field = |name: &str, kind: &DataType| -> Result<Option<ArrayRef>> {
            let Some(array) = structs.column_by_name(name) else { return Ok(None) };
            if array.data_type().is_nested() {
                return Err(unexpected(format!("{name} as {}", array.data_type())));
            }
            arrow::compute::cast(array, kind).map(Some).map_err(|e| unexpected(e.to_string()))
        };
        if structs.column_by_name("role").is_none() {
            return Err(unexpected(column.data_type().to_string()));
        }
        let mut fields = [const { None }; 5];
        for (slot, name) in fields.iter_mut().zip(["role", "content", "name", "tool_calls", "tool_call_id"]) {
            *slot = field(name, &DataType::Utf8)?;
        }
        let weight = field("weight", &DataType::Float32)?;
        Ok(Self { list, fields, weight })
    }

    fn at(&self, row: usize) -> Vec<Message> {
        let list = lists(&self.list);
        if list.is_null(row) {
            return Vec::new();
        }
        let range = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
        let text = |field: usize, index: usize| self.fields[field].as_ref().and_then(|c| text_at(strings(c), index));
        let weight = |index: usize| {
            let column = self.weight.as_ref()?.as_primitive::<Float32Type>();
            column.is_valid(index).then(|| column.value(index))
        };
        range
            .map(|index| Message {
                role: text(0, index).unwrap_or_default(),
                content: text(1, index),
                name: text(2, index),
                tool_calls: text(3, index),
                tool_call_id: text(4, index),
                weight: weight(index),
            })
            .collect()
    }
}
