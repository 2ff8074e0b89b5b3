//! Every table comes back as it was written, and tables of other tools are read where they can be.

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Builder, LargeListBuilder, LargeStringArray, ListArray, RecordBatch, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use artifact::{
    Code, Example, ExampleReader, ExampleWriter, IGNORED, Kind, Message, MetricsRow, OutputFolder, PackedExample,
    PredictionColumn, Predictions, Reject, RejectWriter, Span, TokenReader, TokenRow, TokenWriter, read_metrics,
    read_rejects, write_metrics, write_predictions,
};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes one file through an output folder and returns where it lies.
fn written(
    folder: &Path,
    write: impl FnOnce(artifact::StagedFile) -> artifact::Result<artifact::FinishedFile>,
) -> PathBuf {
    let out = OutputFolder::open(folder).expect("a folder");
    let file = write(out.stage("table.parquet").expect("staged")).expect("written");
    let identity = artifact::Identity::new("test", "0", &serde_json::json!({}), Vec::new());
    let committed =
        artifact::Committed { outputs: vec![file], identity, seed: None, rows: None, summary: serde_json::Value::Null };
    out.commit(committed).expect("committed");
    folder.join("table.parquet")
}

fn message() -> impl Strategy<Value = Message> {
    let optional = || proptest::option::of(".{0,12}");
    (".{1,8}", optional(), optional(), optional(), optional(), proptest::option::of(0.0f32..2.0)).prop_map(
        |(role, content, name, tool_calls, tool_call_id, weight)| Message {
            role,
            content,
            name,
            tool_calls,
            tool_call_id,
            weight,
        },
    )
}

fn example() -> impl Strategy<Value = Example> {
    let messages = || proptest::collection::vec(message(), 0..4);
    let optional = || proptest::option::of(".{0,20}");
    let kind = prop_oneof![Just(Kind::Chat), Just(Kind::Completion), Just(Kind::Text), Just(Kind::Preference)];
    ("[0-9a-f]{8}", kind, messages(), optional(), optional(), messages(), messages(), 1u64..1000, optional()).prop_map(
        |(id, kind, messages, tools, text, chosen, rejected, source_row, extra)| Example {
            id,
            kind,
            messages,
            tools,
            text,
            chosen,
            rejected,
            source_file: "data.jsonl".into(),
            source_row,
            extra: vec![extra],
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn examples_come_back(examples in proptest::collection::vec(example(), 0..20)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path(), |file| {
            let mut writer = ExampleWriter::new(file, &["intent".into()])?;
            writer.write(&examples)?;
            writer.finish()
        });
        let mut reader = ExampleReader::open(&path).expect("opened");
        prop_assert_eq!(reader.extra(), ["intent".to_string()]);
        let mut read = Vec::new();
        while let Some(batch) = reader.next_batch().expect("read") {
            read.extend(batch);
        }
        prop_assert_eq!(read, examples);
    }
}

#[test]
fn tokens_come_back() {
    let span = Span { message: 1, char_start: 3, char_end: 9 };
    let packed = |start, length| PackedExample {
        id: format!("id{start}"),
        source_file: "a.csv".into(),
        source_row: 7,
        start,
        length,
        spans: vec![span.clone(), span.clone()],
    };
    let rows = vec![
        TokenRow {
            input_ids: vec![5, 6, 7],
            labels: vec![IGNORED, 6, 7],
            position_ids: vec![0, 1, 0],
            char_start: vec![0, 2, 0],
            char_end: vec![2, 3, 1],
            examples: vec![packed(0, 2), packed(2, 1)],
            chosen_length: None,
        },
        TokenRow::default(),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path(), |file| {
        let mut writer = TokenWriter::new(file)?;
        writer.write(&rows)?;
        writer.finish()
    });
    let reader = TokenReader::open(&path).expect("opened");
    assert!(!reader.holds_pairs());
    assert_eq!(reader.read_all().expect("read"), rows);

    let pairs: Vec<TokenRow> =
        rows.into_iter().zip([2, 0]).map(|(row, length)| TokenRow { chosen_length: Some(length), ..row }).collect();
    let path = written(folder.path(), |file| {
        let mut writer = TokenWriter::of_pairs(file)?;
        writer.write(&pairs)?;
        writer.finish()
    });
    let reader = TokenReader::open(&path).expect("opened");
    assert!(reader.holds_pairs());
    assert_eq!(reader.read_all().expect("read"), pairs);
}

#[test]
fn tokens_of_another_tool_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.parquet");
    let list = |rows: &[&[i64]]| -> ArrayRef {
        let mut builder = LargeListBuilder::new(Int64Builder::new());
        for row in rows {
            builder.values().append_slice(row);
            builder.append(true);
        }
        Arc::new(builder.finish())
    };
    let columns = [("input_ids", list(&[&[1, 2, 3]])), ("labels", list(&[&[-100, 2, 3]]))];
    write_batch(&path, &RecordBatch::try_from_iter(columns).expect("a batch"));
    let rows = TokenReader::open(&path).expect("opened").read_all().expect("read");
    assert_eq!((rows[0].labels.clone(), rows[0].position_ids.clone()), (vec![-100, 2, 3], vec![0, 1, 2]));
}

#[test]
fn tokens_that_cannot_be_right_are_refused_by_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = [
        TokenRow { input_ids: vec![1], labels: vec![1], position_ids: vec![0], ..TokenRow::default() },
        TokenRow { input_ids: vec![1, 2], labels: vec![1], position_ids: vec![0, 1], ..TokenRow::default() },
    ];
    let path = written(folder.path(), |file| {
        let mut writer = TokenWriter::new(file)?;
        writer.write(&rows)?;
        writer.finish()
    });
    let error = TokenReader::open(&path).expect("opened").read_all().expect_err("uneven").to_string();
    assert!(error.ends_with("row 2: expected as many labels as input_ids (2), found 1"), "{error}");
}

#[test]
fn a_missing_column_is_named_with_those_that_are_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.parquet");
    let text: ArrayRef = Arc::new(LargeStringArray::from(vec!["x"]));
    write_batch(&path, &RecordBatch::try_from_iter([("input_ids", text.clone()), ("note", text)]).expect("a batch"));
    let error = TokenReader::open(&path).err().expect("no labels");
    assert!(error.to_string().ends_with("expected the column labels, found the columns input_ids, note"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("retune-tokenize")));
}

/// Of TRL: prompt and completion as lists of turns, and contents in parts, which text would only paraphrase.
#[test]
fn lists_and_structs_are_not_taken_for_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns.parquet");
    let text: ArrayRef = Arc::new(LargeStringArray::from(vec!["x"]));
    let turn: ArrayRef =
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("content", DataType::LargeUtf8, true)), text.clone())]));
    let columns = [("prompt", turn.clone()), ("completion", text.clone()), ("note", turn.clone())];
    write_batch(&path, &RecordBatch::try_from_iter(columns).expect("a batch"));
    let mut reader = ExampleReader::open(&path).expect("opened");
    assert_eq!(reader.extra(), [""; 0]);
    let error = reader.next_batch().expect_err("no text");
    assert!(error.to_string().contains("expected the column prompt as Utf8, found Struct"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("retune-ingest")));

    let parts = StructArray::from(vec![
        (Arc::new(Field::new("role", DataType::LargeUtf8, true)), text),
        (Arc::new(Field::new("content", turn.data_type().clone(), true)), turn),
    ]);
    let item = Arc::new(Field::new("item", parts.data_type().clone(), true));
    let messages: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1]), Arc::new(parts), None));
    write_batch(&path, &RecordBatch::try_from_iter([("messages", messages)]).expect("a batch"));
    let error = ExampleReader::open(&path).expect("opened").next_batch().expect_err("no text").to_string();
    assert!(error.contains("found content as Struct"), "{error}");
}

#[test]
fn rejects_metrics_and_predictions_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let rejects = vec![Reject {
        record: "{\"a\": 1}".into(),
        source_file: "a.jsonl".into(),
        source_row: 3,
        code: Code::BadRecord.as_str().into(),
        detail: "no prompt".into(),
        cluster: Some("0123".into()),
    }];
    let path = written(folder.path(), |file| {
        let mut writer = RejectWriter::new(file)?;
        writer.write(&rejects)?;
        writer.finish()
    });
    assert_eq!(read_rejects(&path).expect("read"), rejects);

    let rows = vec![
        MetricsRow { step: 1, loss: Some(2.5), grad_norm: Some(0.5), learning_rate: 1e-3, ..MetricsRow::default() },
        MetricsRow { step: 2, validation_loss: Some(2.25), ..MetricsRow::default() },
    ];
    let path = written(folder.path(), |file| write_metrics(file, &rows));
    assert_eq!(read_metrics(&path).expect("read"), rows);

    let predictions = Predictions {
        id: vec!["1".into()],
        prompt: vec!["p".into()],
        reference: vec![vec!["r".into(), "or this".into()]],
        prediction: vec!["q".into()],
        baseline_prediction: Some(vec!["b".into()]),
    };
    let metric = PredictionColumn { name: "exact_match".into(), values: vec![Some(0.0)] };
    let path = written(folder.path(), |file| write_predictions(file, &predictions, &[metric]));
    let mut table = artifact::TableReader::open(&path).expect("opened");
    let batch = table.next_batch().expect("read").expect("one batch");
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "prompt", "reference", "prediction", "baseline_prediction", "exact_match"]);
    assert_eq!((batch.num_rows(), batch.column(2).as_list::<i32>().value_length(0)), (1, 2));
}

#[test]
fn a_file_that_is_not_parquet_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.parquet");
    let contents: [(&[u8], &str); 6] = [
        (b"PAR1, and then nonsense that is long enough", "not readable as Parquet"),
        (b"{\"prompt\": \"a\"}\n", "found JSON"),
        (b"prompt,completion\n1,2\n", "found text, such as CSV"),
        (b"ARROW1\0\0", "found an Arrow IPC file"),
        (&[0x1f, 0x8b, 8, 0], "found compressed data"),
        (b"", "found an empty file"),
    ];
    for (content, expected) in contents {
        std::fs::write(&path, content).expect("written");
        let error = ExampleReader::open(&path).err().expect("not Parquet");
        assert!(error.to_string().contains(expected), "{error}");
        let told = error.hint().is_some_and(|hint| hint.contains("retune-ingest"));
        assert!(told || content.starts_with(b"PAR1"), "{error}");
    }
}

fn write_batch(path: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).expect("created");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}
