//! Bad input: one clear message, exit code 1, nothing half-written.

use std::io::Write;

use super::{Bench, Run};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn refused(bench: &Bench, arguments: &[&str], parts: &[&str]) {
    let run = bench.ingest(arguments).failed_with(parts);
    assert!(bench.nothing_written(), "files were left behind after: {}", run.stderr);
    let errors = run.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{}", run.stderr);
}

#[test]
fn missing_and_empty_files() {
    let bench = Bench::new();
    bench.write("train.jsonl", "{\"text\":\"a\"}\n").write("empty.jsonl", "").write("blank.jsonl", "\n\n");
    bench.write("header.csv", "a,b\n").write("none.json", "[]");
    refused(&bench, &["trian.jsonl"], &["no such file", "did you mean train.jsonl?"]);
    refused(&bench, &["*.parquet"], &["*.parquet holds no data file"]);
    refused(&bench, &["empty.jsonl"], &["empty.jsonl: no record in it", "0 bytes"]);
    refused(&bench, &["blank.jsonl"], &["blank.jsonl: no record in it"]);
    refused(&bench, &["header.csv"], &["header.csv: no record in it", "a, b"]);
    refused(&bench, &["none.json"], &["none.json: no record in it"]);
    refused(&bench, &["train.jsonl", "empty.jsonl"], &["empty.jsonl: no record in it"]);
}

#[test]
fn a_truncated_gzip_file_names_offset_and_rows() {
    let rows: String = (0..60_000u64)
        .map(|n| format!("{{\"text\":\"row {n} {}\"}}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let whole = gzip(&rows);
    let bench = Bench::new();
    bench.write("rows.jsonl.gz", &whole[..whole.len() / 2]);
    let offset = format!("byte {}", whole.len() / 2);
    refused(
        &bench,
        &["rows.jsonl.gz"],
        &["rows.jsonl.gz: the gzip data is cut short", &offset, "rows were read before"],
    );
}

/// Deflate knows nothing of wrong bytes until the checksum at the end: records that make no sense come first.
#[test]
fn damaged_compressed_data_is_told_as_such() {
    let rows: String = (0..60_000u64)
        .map(|n| format!("{{\"text\":\"row {n} {}\"}}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let damaged = |mut whole: Vec<u8>| {
        let middle = whole.len() / 2;
        whole[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 0x5a);
        whole
    };
    // As the program zstd does it; without a checksum zstd itself cannot tell all damage.
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(rows.as_bytes()).unwrap();
    let bench = Bench::new();
    bench.write("rows.jsonl.gz", damaged(gzip(&rows))).write("rows.jsonl.zst", damaged(zstd.finish().unwrap()));
    for (name, kind) in [("rows.jsonl.gz", "gzip"), ("rows.jsonl.zst", "zstd")] {
        let told = format!("{name}: the {kind} data is damaged, at or before byte ");
        refused(&bench, &[name], &[&told, "rows were read before", "hint: download or copy"]);
        // Neither is damage a matter of some bad records.
        refused(&bench, &[name, "--on-bad-record", "reject"], &[&told]);
    }
    // A broken record in a whole file is told as before.
    bench.write("broken.jsonl.gz", gzip("{\"text\":\"a\"}\n{\"text\":\n"));
    refused(&bench, &["broken.jsonl.gz"], &["broken.jsonl.gz:2: expected one JSON object"]);
}

#[test]
fn a_broken_line_is_named_and_can_be_set_aside() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\n{\"text\":\"c\"}\n");
    let parts = ["rows.jsonl:2: expected one JSON object in the line, found", "hint:", "--on-bad-record reject"];
    refused(&bench, &["rows.jsonl"], &parts);
    bench.ingest(&["rows.jsonl", "--on-bad-record", "reject", "--as", "train"]).succeeded();
    assert_eq!(bench.examples("train").len(), 2);
    assert_eq!((bench.rejects()[0].source_row, bench.rejects()[0].code.as_str()), (2, "bad_record"));
}

#[test]
fn broken_documents_are_named_by_line() {
    let bench = Bench::new();
    bench
        .write("cut.json", "[{\"text\":\"a\"},\n{\"text\":\"b")
        .write("comma.json", "[{\"text\":\"a\"}\n\n{\"text\":\"b\"}]");
    refused(&bench, &["cut.json"], &["cut.json:2: the file ends inside the value"]);
    refused(&bench, &["comma.json"], &["comma.json:3: expected `,` or `]`", "found `{`"]);
}

#[test]
fn tables_with_missing_columns_and_fields() {
    let bench = Bench::new();
    bench.write("rows.csv", "question,answer\nq,a\n").write("ragged.csv", "prompt,completion\nq,a\nq2\n");
    refused(
        &bench,
        &["rows.csv", "--map", "prompt=qestion,completion=answer"],
        &["--map names `qestion`", "found: question, answer", "did you mean `question`?"],
    );
    refused(
        &bench,
        &["rows.csv"],
        &["rows.csv: none of its 1 rows can be used", "--map prompt=question,completion=answer"],
    );
    refused(&bench, &["ragged.csv"], &["ragged.csv:3: expected 2 fields (prompt, completion), found 1"]);
    refused(
        &bench,
        &["rows.csv", "--map", "prompt=question,completion=answer", "--keep", "topic"],
        &["--keep names `topic`"],
    );
}

#[test]
fn a_field_without_a_value_is_no_other_shape() {
    let bench = Bench::new();
    bench.write("a.jsonl", "{\"prompt\":\"c\",\"completion\":null,\"label\":\"x\"}\n");
    refused(
        &bench,
        &["a.jsonl"],
        &["hint: the fields are those of prompt-completion, with `completion` null: fill it in"],
    );
    bench.write("b.jsonl", "{\"conversations\":[],\"source\":\"web\"}\n");
    refused(&bench, &["b.jsonl"], &["hint: the fields are those of sharegpt, with `conversations` an empty list"]);
    // Row by row in a file of which other rows fit, about the record as it was.
    let rows = "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"c\",\"completion\":null}\n";
    let run = Bench::new().write("d.jsonl", rows).ingest(&["d.jsonl", "--dry-run"]).succeeded();
    assert!(run.stderr.contains("with `completion` null") && !run.stderr.contains("`prompt` null"), "{}", run.stderr);
    bench.write("c.jsonl", "{\"instruction\":\"a\",\"output\":null,\"response\":\"b\"}\n");
    refused(&bench, &["c.jsonl"], &["--map prompt=instruction,completion=response"]);
}

#[test]
fn a_mapped_field_that_no_record_has() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"q\":\"a\",\"meta\":{\"level\":1}}\n{\"q\":\"b\"}\n");
    refused(&bench, &["rows.jsonl", "--map", "prompt=q,completion=anser"], &["--map names `anser`", "found: q, meta"]);
    refused(&bench, &["rows.jsonl", "--map", "text=q", "--keep", "meta.leval"], &["--keep names `meta.leval`"]);
    refused(&bench, &["rows.jsonl", "--map", "text={q} {x}"], &["--map names `x`"]);
}

#[test]
fn wrong_options_are_told_with_the_right_ones() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"text\":\"a\"}\n");
    refused(&bench, &["rows.jsonl", "--split-by", "customer"], &["expected the column `customer` of --split-by"]);
    let wrong: [(&[&str], &str); 19] = [
        (&["--near-rows", "4"], "--near-rows: it has no say without --dedup near\nhint: add --dedup near"),
        (&["--dedup", "off", "--near-similarity", "0.9"], "--near-similarity: it has no say"),
        (&["--text-split", "line"], "--text-split: it splits running text, and no input is text, as rows.jsonl\nhint:"),
        (&["--text-split", "line", "--input-format", "csv"], "--text-split: it splits running text"),
        (&["--text-split", "line", "--aligned", "rows.jsonl"], "--text-split: it cannot be used with --aligned"),
        (&["--min-chars", "9", "--max-chars", "8"], "--min-chars: 9 is more than --max-chars 8"),
        (&["--max-chars", "0"], "--max-chars: expected at least 1, found 0"),
        (&["--keep", "id"], "--keep: every example has a column `id` already\nhint: NAME=COLUMN keeps"),
        (&["--keep", "text2=text,text2=text"], "--keep: `text2` is named twice"),
        (&["--shard", "0/2"], "--shard: expected I/N with I from 1 to N, such as 2/8, found `0/2`"),
        (&["--shard", "3/2"], "found `3/2`"),
        (
            &["--dedup", "near", "--near-similarity", "2"],
            "--near-similarity: expected a share above 0 and up to 1, found 2\n",
        ),
        (&["--as", "train", "--split-by", "prompt"], "--split-by: it cannot be used with --as"),
        (&["--as", "train", "--split-by", "customer"], "--split-by: it cannot be used with --as"),
        (&["--split", "files", "--split-by", "text"], "--split-by: it cannot be used with --split files"),
        (&["--map", "promt=text"], "did you mean `prompt`?"),
        (&["--split", "train=0.5"], "--split: expected shares that sum to 1"),
        (&["--records", "a[0]"], "--records: expected `[]` after a name"),
        (&["--dedupe", "off"], "--dedup"),
    ];
    for (arguments, expected) in wrong {
        let run = bench.ingest(&[&["rows.jsonl"], arguments].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(expected) && bench.nothing_written(), "{}", run.stderr);
        assert!(!run.stderr.contains("hint: \n"), "{}", run.stderr);
    }
}

#[test]
fn all_rows_rejected_is_an_error() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"text\":\"\"}\n{\"text\":\" \"}\n");
    refused(
        &bench,
        &["rows.jsonl"],
        &["no row is left: all 2 were rejected (2 empty), such as rows.jsonl:1: `text` is empty"],
    );
}

#[test]
fn invalid_utf8_is_set_aside_with_its_place() {
    let bench = Bench::new();
    bench.write("rows.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"caf\xe9\"}\n");
    bench.ingest(&["rows.jsonl", "--as", "train"]).succeeded();
    let reject = &bench.rejects()[0];
    assert_eq!((reject.code.as_str(), reject.source_row), ("bad_encoding", 2));
    assert!(reject.detail.contains("0xe9 at byte 12") && reject.record.contains("caf\u{fffd}"), "{reject:?}");
}

#[test]
fn what_python_and_spreadsheets_write() {
    let bench = Bench::new();
    let rows = b"{\"text\":\"a\",\"x\":NaN}\n{\"text\":\"\\ud800\"}\n{\"text\":\"b\",\"text\":\"c\"}\n";
    refused(bench.write("rows.jsonl", rows), &["rows.jsonl"], &["rows.jsonl:3: expected", "the key `text` twice"]);
    bench.ingest(&["rows.jsonl", "--as", "train", "--on-bad-record", "reject"]).succeeded();
    let codes: Vec<String> = bench.rejects().into_iter().map(|reject| reject.code).collect();
    assert_eq!(codes, ["bad_encoding", "bad_record"]);
    let table = |bytes: &[u8], note: &str| {
        let run = bench.write("rows.csv", bytes).ingest(&["rows.csv", "--as", "train", "--map", "text=t"]).succeeded();
        assert!(run.stderr.contains(note), "{}", run.stderr);
        assert_eq!(bench.examples("train")[0].text.as_deref(), Some("café"));
    };
    table(b"t\ncaf\xe9\n", "encoding found: Latin-1");
    let utf16: Vec<u8> = "t,u\ncaf\u{e9},x\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    table(&utf16, "UTF-16, little endian, without byte order mark");
    // The first character beyond ASCII lies far behind what is looked at first.
    let far = [b"t\n".to_vec(), b"plain\n".repeat(200_000), b"na\xefve\n".to_vec()].concat();
    let run = bench.write("far.csv", far).ingest(&["far.csv", "--as", "train", "--map", "text=t"]).succeeded();
    assert!(run.stderr.contains("encoding found: Latin-1"), "{}", run.stderr);
    assert_eq!(bench.examples("train")[1].text.as_deref(), Some("naïve"));
}

#[test]
fn what_follows_compressed_data() {
    let bench = Bench::new();
    let one = gzip("{\"text\":\"a\"}\n");
    bench
        .write("padded.jsonl.gz", [&one[..], &[0; 512]].concat())
        .ingest(&["padded.jsonl.gz", "--as", "train"])
        .succeeded();
    bench.write("two.jsonl.gz", [&one[..], &gzip("{\"text\":\"b\"}\n")].concat());
    bench.ingest(&["two.jsonl.gz", "--as", "train"]).succeeded();
    assert_eq!(bench.examples("train").len(), 2);
    let other = Bench::new();
    other.write("more.jsonl.gz", [&one[..], b"rubbish"].concat());
    refused(
        &other,
        &["more.jsonl.gz"],
        &["more.jsonl.gz: the gzip data is damaged", "what follows the gzip data is no gzip data"],
    );
}

#[test]
fn a_damaged_arrow_stream_is_told_as_that() {
    let text: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::StringArray::from(vec!["x".repeat(37)]));
    let table = arrow::record_batch::RecordBatch::try_from_iter([("text", text)]).unwrap();
    let mut stream = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut stream, &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    // The length of the texts, in the directory of the batch.
    let length = stream.windows(8).position(|bytes| bytes == 37u64.to_le_bytes()).unwrap();
    stream[length + 2] = 1;
    let bench = Bench::new();
    refused(bench.write("rows.arrow", stream), &["rows.arrow"], &["rows.arrow: cannot read on", "which is damaged"]);
}

#[test]
fn files_of_no_known_kind() {
    let bench = Bench::new();
    bench.write("rows.bin", b"\x00\x01\x02\x03").write("rows.parquet", b"PAR1 and nothing more");
    refused(&bench, &["rows.bin"], &["rows.bin: expected JSONL, JSON, CSV", "--input-format"]);
    refused(&bench, &["rows.parquet"], &["rows.parquet: the table cannot be opened"]);
}

/// A file size limit stands in for a full disk: both make a write fail half-way.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let bench = Bench::new();
    let row = |n: u64| {
        format!(
            "{{\"text\":\"{}\"}}\n",
            (0..40).map(|k| (n * 40 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string()).collect::<String>()
        )
    };
    bench.write("small.jsonl", row(1)).ingest(&["small.jsonl", "--as", "train"]).succeeded();
    let before = bench.bytes();
    bench.write("large.jsonl", (0..5000).map(row).collect::<String>());
    let script = format!(
        "trap '' XFSZ; ulimit -f 200; exec '{}' large.jsonl --as train --out data",
        env!("CARGO_BIN_EXE_retune-ingest")
    );
    let output =
        assert_cmd::Command::new("sh").arg("-c").arg(script).current_dir(bench.folder.path()).output().unwrap();
    Run::of(output).failed_with(&["cannot write", "hint: free space"]);
    assert_eq!(bench.bytes(), before);
    let left: Vec<_> = std::fs::read_dir(bench.path("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), before.len() + 1, "{left:?}");
}
