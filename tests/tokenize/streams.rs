//! Standard input and output as Arrow IPC streams, and runs that share the work.

use super::{chats, data_folder, example, retune, rows, text};
use crate::support::reference;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use artifact::{Kind, Split, TokenRow, read_rejects};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use predicates::str::contains;
use std::path::Path;
use std::sync::Arc;

/// A table as a stream whose column `split` holds the word that `split_of` gives for each row.
fn stream(table: &Path, split_of: impl Fn(usize) -> &'static str) -> Vec<u8> {
    let file = std::fs::File::open(table).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(7).build().unwrap();
    let mut bytes = Vec::new();
    let mut writer: Option<StreamWriter<&mut Vec<u8>>> = None;
    let mut row = 0;
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    for batch in batches {
        let mut fields = batch.schema().fields().to_vec();
        fields.push(Arc::new(Field::new("split", DataType::Utf8, false)));
        let words: Vec<&str> = (row..row + batch.num_rows()).map(&split_of).collect();
        row += batch.num_rows();
        let schema = Arc::new(Schema::new(fields));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(StringArray::from(words)) as ArrayRef);
        let whole = RecordBatch::try_new(schema.clone(), columns).unwrap();
        if writer.is_none() {
            writer = Some(StreamWriter::try_new(&mut bytes, &schema).unwrap());
        }
        writer.as_mut().unwrap().write(&whole).unwrap();
    }
    writer.unwrap().finish().unwrap();
    bytes
}

/// Split and ids of each row of a stream of tokens.
fn tokens(stream: &[u8]) -> Vec<(String, Vec<i32>)> {
    let mut found = Vec::new();
    for batch in StreamReader::try_new(stream, None).unwrap() {
        let batch = batch.unwrap();
        let splits = batch.column_by_name("split").unwrap().as_string::<i32>().clone();
        let ids = batch.column_by_name("input_ids").unwrap().as_list::<i32>().clone();
        for row in 0..batch.num_rows() {
            let ids = ids.value(row).as_primitive::<Int32Type>().values().to_vec();
            found.push((splits.value(row).to_owned(), ids));
        }
    }
    found
}

#[test]
fn a_stream_gives_the_rows_of_a_folder() {
    let Some(model) = reference("models/tinystories-chat-3M") else { return };
    let home = tempfile::tempdir().unwrap();
    let all = chats(60);
    let validation = |row: usize| row % 5 == 4;
    let part =
        |wanted: bool| all.iter().enumerate().filter(move |(i, _)| validation(*i) == wanted).map(|(_, e)| e.clone());
    let data = data_folder(
        &home.path().join("data"),
        &[(Split::Train, part(false).collect()), (Split::Validation, part(true).collect())],
    );
    let whole = data_folder(&home.path().join("whole"), &[(Split::Train, all.clone())]);
    let piped = stream(&whole.join("train.parquet"), |row| if validation(row) { "validation" } else { "train" });
    let out = home.path().join("tokens");
    retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).assert().success();
    let mut expected = Vec::new();
    for split in ["train", "validation"] {
        let table = rows(&out.join(format!("{split}.parquet")));
        expected.extend(table.into_iter().map(|row| (split.to_owned(), row.input_ids)));
    }
    let run = retune().arg("-").arg("--model").arg(&model).args(["--out", "-"]).write_stdin(piped.clone()).assert();
    assert_eq!(tokens(&run.success().get_output().stdout), expected);
    // The stream into a folder: the same tables.
    let folder = home.path().join("from-stream");
    retune()
        .arg("-")
        .arg("--model")
        .arg(&model)
        .arg("--out")
        .arg(&folder)
        .write_stdin(piped.clone())
        .assert()
        .success();
    for file in ["train.parquet", "validation.parquet", "rejects.parquet"] {
        assert!(std::fs::read(folder.join(file)).unwrap() == std::fs::read(out.join(file)).unwrap(), "{file}");
    }
    assert!(!folder.join("test.parquet").exists());
    // A stream that breaks off is no end of the data.
    let cut = home.path().join("cut");
    let mut broken = retune();
    broken.arg("-").arg("--model").arg(&model).arg("--out").arg(&cut).write_stdin(&piped[..piped.len() - 8]);
    let run = broken.assert().code(1);
    run.stderr(contains("expected a whole Arrow IPC stream")).stderr(contains("ended early"));
    assert!(!cut.join("manifest.json").exists());
    retune().arg("-").arg("--model").arg(&model).args(["--out", "-", "--json"]).write_stdin(piped).assert().code(2);
    let command = retune().arg("-").arg("--model").arg(&model).args(["--out", "-"]).write_stdin("text").assert();
    command.code(1).stderr(contains("expected an Arrow IPC stream on standard input"));
}

#[test]
fn a_stream_needs_a_place_for_what_it_leaves_out() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut examples = chats(3);
    examples[1].messages.truncate(1);
    let data = data_folder(&home.path().join("data"), &[(Split::Train, examples)]);
    let mut command = retune();
    command.arg(&data).arg("--model").arg(&model).args(["--out", "-"]);
    command.assert().code(1).stderr(contains("chats.jsonl:2")).stderr(contains("--rejects DIR"));
    let rejects = home.path().join("rejects");
    let run = command.arg("--rejects").arg(&rejects).assert().success();
    assert_eq!(tokens(&run.get_output().stdout).len(), 1);
    assert_eq!(read_rejects(&rejects.join("rejects.parquet")).unwrap().len(), 1);
    let balance = artifact::Manifest::read(&rejects).unwrap().unwrap().rows.unwrap();
    assert_eq!((balance.read, balance.written, balance.rejected), (3, 2, 1));
}

#[test]
fn the_rows_of_all_shards_are_those_of_one_run() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut examples = chats(200);
    examples.extend((201..=300).map(|row| text(row, &"word ".repeat((row % 40) as usize + 1))));
    examples.push(example(Kind::Completion, 301, &[("user", "a"), ("assistant", " b")]));
    let data = data_folder(&home.path().join("data"), &[(Split::Train, examples)]);
    let sorted = |mut rows: Vec<TokenRow>| {
        rows.sort_by_key(|row| (row.input_ids.clone(), row.examples[0].source_row));
        rows
    };
    for pack in ["best-fit", "off"] {
        let run = |shard: &str| {
            let out = home.path().join(format!("{pack}-{}", shard.replace('/', "-")));
            // Rows so long that a window is 64 examples.
            let options = ["--max-length", "200000", "--pack", pack, "--shard", shard];
            retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).args(options).assert().success();
            rows(&out.join("train.parquet"))
        };
        let parts: Vec<Vec<TokenRow>> = ["1/3", "2/3", "3/3"].map(run).into();
        assert!(parts.iter().all(|part| !part.is_empty()));
        assert_eq!(sorted(parts.concat()), sorted(run("1/1")), "{pack}");
    }
    // Of few examples one shard has all, which is said.
    let out = home.path().join("small");
    let mut command = retune();
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).args(["--max-length", "64", "--shard", "2/3"]);
    command.assert().success().stderr(contains("train: 1 window for 3 shards"));
    assert!(rows(&out.join("train.parquet")).is_empty());
    let mut command = retune();
    command.arg(&data).arg("--model").arg(&model).arg("--out").arg(home.path().join("no"));
    command.args(["--shard", "4/3"]).assert().code(2).stderr(contains("expected I/N"));
}

#[test]
fn unpacked_rows_stand_by_length() {
    let Some(model) = reference("tokenizers/gpt2") else { return };
    let home = tempfile::tempdir().unwrap();
    let examples: Vec<_> = (1..=50).map(|row| text(row, &"word ".repeat((row * 37 % 50) as usize + 1))).collect();
    let data = data_folder(&home.path().join("data"), &[(Split::Train, examples)]);
    let out = home.path().join("tokens");
    retune().arg(&data).arg("--model").arg(&model).arg("--out").arg(&out).args(["--pack", "off"]).assert().success();
    let lengths: Vec<usize> = rows(&out.join("train.parquet")).iter().map(|row| row.input_ids.len()).collect();
    assert!(lengths.len() == 50 && lengths.is_sorted(), "{lengths:?}");
}
