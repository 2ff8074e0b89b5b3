//! Each way in which records lie in files, and each shape they have.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampSecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use artifact::Kind;

use super::{Bench, said};

const TWO: [(&str, &str); 2] = [("user", "q"), ("assistant", "a")];

/// One file, one example of one question and answer.
fn gives(name: &str, content: &[u8], more: &[&str]) -> Kind {
    let bench = Bench::new();
    let arguments: Vec<&str> = [name, "--as", "train"].into_iter().chain(more.iter().copied()).collect();
    bench.write(name, content).ingest(&arguments).succeeded();
    let examples = bench.examples("train");
    assert_eq!(examples.len(), 1, "{name}");
    assert_eq!(said(&examples[0]), TWO, "{name}");
    examples[0].kind
}

#[test]
fn the_same_example_in_every_container() {
    let map = ["--map", "prompt=x,completion=y"];
    assert_eq!(gives("a.jsonl", b"{\"x\":\"q\",\"y\":\"a\"}", &map), Kind::Completion);
    gives("a.json", b"[{\"x\":\"q\",\"y\":\"a\"}]", &map);
    gives("a.json", b"{\"x\":\"q\",\n\"y\":\"a\"}", &map);
    gives("a.json", b"{\"17\":{\"x\":\"q\",\"y\":\"a\"}}", &map);
    gives(
        "a.json",
        b"{\"all\":[{\"x\":\"q\",\"in\":[{\"y\":\"a\"}]}]}",
        &[&map[..], &["--records", "all[].in[]"]].concat(),
    );
    gives("a.csv", b"x,y\r\nq,a\r\n", &map);
    gives("a.csv", b"\xef\xbb\xbfx;y\n\"q\";a\n", &map);
    gives("a.tsv", b"x\ty\nq\ta\n", &map);
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("x,y\nq,a\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    gives("a.csv", &utf16, &map);
    gives("records", b"{\"x\":\"q\",\"y\":\"a\"}\n", &[&map[..], &["--input-format", "jsonl"]].concat());
}

#[test]
fn the_same_example_in_every_shape() {
    let chat = |text: &str| assert_eq!(gives("a.json", text.as_bytes(), &[]), Kind::Chat);
    chat(r#"[{"instruction":"q","input":"","output":"a"}]"#);
    chat(r#"[{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}]"#);
    chat(r#"[{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}]"#);
    assert_eq!(gives("a.json", br#"[{"prompt":"q","completion":"a"}]"#, &[]), Kind::Completion);
    let custom = br#"[{"talk":[{"who":"human","what":"q"},{"who":"bot","what":"a"}]}]"#;
    gives("a.json", custom, &["--map", "messages=talk,role=who,content=what"]);
}

#[test]
fn what_no_example_takes_is_told_and_counted() {
    let row = |n: usize| {
        format!(r#"{{"messages":[{{"role":"human","content":"q{n}"}},{{"role":"assistant","content":"a"}}]}}"#)
    };
    let mut rows: Vec<String> = (0..100).map(row).collect();
    rows.push(
        r#"{"messages":[{"role":"human","content":"q"},{"role":"assistant","content":"a","mood":"glad"}],"late":1}"#
            .into(),
    );
    let bench = Bench::new();
    let run = bench.write("a.jsonl", rows.join("\n")).ingest(&["a.jsonl", "--as", "train"]).succeeded();
    for part in [
        "columns not used: late",
        "keys of turns not used: mood (1 turn)",
        "messages[].mood",
        "human → user (101 turns)",
    ] {
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
    // The advice works.
    bench.ingest(&["a.jsonl", "--as", "train", "--force", "--keep", "mood=messages[].mood"]).succeeded();
    assert_eq!(bench.examples("train")[100].extra, [Some("glad".to_owned())]);
}

#[test]
fn classification_table_by_template() {
    let bench = Bench::new();
    bench.write("a.csv", "text,label\n\"Hi, there\",greeting\n");
    let map = "prompt=Classify, briefly: {text}\\nTopic:,completion=label";
    bench.ingest(&["a.csv", "--as", "test", "--map", map, "--keep", "label,origin=text"]).succeeded();
    let example = &bench.examples("test")[0];
    assert_eq!(said(example)[0].1, "Classify, briefly: Hi, there\nTopic:");
    assert_eq!(example.extra, [Some("greeting".into()), Some("Hi, there".into())]);
}

#[test]
fn a_kept_null_stays_one() {
    let bench = Bench::new();
    let row = |n: usize, kept: &str| format!("{{\"text\":\"{n}\"{kept}}}\n");
    bench.write("a.jsonl", [row(1, ",\"k\":null"), row(2, ",\"k\":\"\""), row(3, "")].concat());
    bench.ingest(&["a.jsonl", "--as", "train", "--keep", "k"]).succeeded();
    let kept: Vec<Option<String>> =
        bench.examples("train").into_iter().map(|mut example| example.extra.remove(0)).collect();
    assert_eq!(kept, [None, Some(String::new()), None]);
}

#[test]
fn standard_input_folders_and_mixed_kinds() {
    let bench = Bench::new();
    bench.ingest_with(&["-", "--as", "train"], "{\"text\":\"a\"}\n").succeeded();
    assert_eq!(bench.examples("train")[0].source_file, "-");
    bench.write("in/a.jsonl", "{\"text\":\"one\"}\n").write("in/sub/b.csv", "prompt,completion\nq,a\n");
    bench.write("in/LICENSE", "free").write("in/notes.txt", "text beside records");
    let run = bench.ingest(&["in", "--as", "train"]).succeeded();
    let files: Vec<String> = bench.examples("train").into_iter().map(|example| example.source_file).collect();
    assert_eq!(files, ["a.jsonl", "sub/b.csv"]);
    assert!(run.stderr.contains("notes.txt (text beside files of records)"), "{}", run.stderr);
}

#[test]
fn text_by_document_line_and_separator() {
    let bench = Bench::new();
    bench.write("a.txt", "one\n<end>two\n<end>");
    let texts = |how: &str| {
        bench.ingest(&["a.txt", "--as", "train", "--text-split", how]).succeeded();
        bench.examples("train").into_iter().filter_map(|example| example.text).collect::<Vec<_>>()
    };
    assert_eq!(texts("document"), ["one\n<end>two\n<end>"]);
    assert_eq!(texts("line"), ["one", "<end>two", "<end>"]);
    assert_eq!(texts("<end>"), ["one", "two"]);
}

#[test]
fn aligned_lines() {
    let bench = Bench::new();
    bench.write("a.en", "good\nday\n").write("a.de", "guten\nTag\n");
    bench.ingest(&["a.en", "--aligned", "a.de", "--as", "train"]).succeeded();
    let examples = bench.examples("train");
    assert_eq!(said(&examples[1]), [("user", "day"), ("assistant", "Tag")]);
    bench
        .ingest(&[
            "a.en",
            "--aligned",
            "a.de",
            "--as",
            "train",
            "--map",
            "prompt=German for {source}:,completion=target",
        ])
        .succeeded();
    assert_eq!(said(&bench.examples("train")[0])[0].1, "German for good:");
    bench.write("a.de", "guten\n").ingest(&["a.en", "--aligned", "a.de"]).failed_with(&["expected as many lines as"]);
}

/// A table as other tools write it: numbers, lists of structs, large texts.
fn table() -> RecordBatch {
    let roles: ArrayRef = Arc::new(StringArray::from(vec!["user", "assistant"]));
    let contents: ArrayRef = Arc::new(StringArray::from(vec!["q", "a"]));
    let field = |name| Arc::new(Field::new(name, DataType::Utf8, true));
    let turns = StructArray::from(vec![(field("role"), roles), (field("content"), contents)]);
    let element = Arc::new(Field::new("item", turns.data_type().clone(), true));
    let messages: ArrayRef = Arc::new(ListArray::new(element, OffsetBuffer::from_lengths([2]), Arc::new(turns), None));
    let level: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let when: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1_700_000_000]).with_timezone("Europe/Berlin"));
    let picture: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\xff\xd8"[..]]));
    let columns = [("messages", messages), ("level", level), ("when", when), ("picture", picture)];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn parquet_and_arrow() {
    let table = table();
    let mut parquet = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut parquet, table.schema(), None).unwrap();
    writer.write(&table).unwrap();
    writer.close().unwrap();
    let mut file = Vec::new();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut file, &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let mut stream = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut stream, &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    drop(writer);
    for (name, bytes) in [("a.parquet", parquet), ("a.arrow", file), ("b.arrow", stream)] {
        let bench = Bench::new();
        bench.write(name, bytes).ingest(&[name, "--as", "train", "--keep", "level,when"]).succeeded();
        let example = &bench.examples("train")[0];
        let extra: Vec<_> = example.extra.iter().map(Option::as_deref).collect();
        assert_eq!((said(example), extra), (TWO.to_vec(), vec![Some("3"), Some("2023-11-14T22:13:20Z")]), "{name}");
        // What is no text is refused where it is to be one.
        let refused = ["`text`: expected text, found an object"];
        bench.ingest(&[name, "--as", "train", "--map", "text=picture"]).failed_with(&refused);
    }
}

#[test]
fn what_ingest_wrote_goes_in_again() {
    let bench = Bench::new();
    let rows = "{\"prompt\":\"q\",\"completion\":\"a\"}\n{\"prompt\":\"r\",\"completion\":\"b\"}\n";
    bench.write("a.jsonl", rows).ingest(&["a.jsonl", "--as", "train"]).succeeded();
    std::fs::copy(bench.path("data/train.parquet"), bench.path("again.parquet")).unwrap();
    bench.ingest(&["again.parquet", "--as", "train"]).succeeded();
    assert_eq!(bench.examples("train").len(), 2);
    assert_eq!(said(&bench.examples("train")[0]), TWO);
}
