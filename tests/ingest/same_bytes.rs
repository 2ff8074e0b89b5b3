//! The same rows are the same bytes, whatever the threads, the place and the packing.

use super::Bench;

fn rows() -> String {
    let words = |n: u64| {
        (0..30).map(|k| format!("{:x}", (n * 31 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44)).collect::<Vec<_>>()
    };
    // Some duplicates, some unfit; several chunks in all.
    (0..30_000u64)
        .map(|n| match n % 97 {
            3 => "{\"prompt\":\"same\",\"completion\":\"again\"}\n".to_owned(),
            5 => "{\"question\":\"?\"}\n".to_owned(),
            _ => format!("{{\"prompt\":\"{}\",\"completion\":\"{n}\",\"topic\":\"t{}\"}}\n", words(n).join(" "), n % 5),
        })
        .collect()
}

#[test]
fn for_any_number_of_threads() {
    let bench = Bench::new();
    bench.write("rows.jsonl", rows()).ingest(&["rows.jsonl", "--threads", "1", "--keep", "topic"]).succeeded();
    let one = bench.bytes();
    assert_eq!(one.len(), 4);
    for threads in ["2", "5"] {
        bench.ingest(&["rows.jsonl", "--threads", threads, "--keep", "topic", "--force"]).succeeded();
        assert!(bench.bytes() == one, "{threads} threads give other bytes than one");
    }
}

#[test]
fn for_any_place_and_way_of_naming() {
    let (here, there) = (Bench::new(), Bench::new());
    let (left, right) = ("{\"text\":\"a\"}\n{\"text\":\"b\"}\n", "{\"text\":\"c\"}\n{\"text\":\"a\"}\n");
    here.write("in/left.jsonl", left).write("in/right.jsonl", right).ingest(&["in"]).succeeded();
    there.write("far/below/left.jsonl", left).write("far/below/right.jsonl", right);
    let absolute = there.path("far/below/right.jsonl");
    there.ingest(&["far/../far/below/left.jsonl", absolute.to_str().unwrap()]).succeeded();
    assert_eq!(here.bytes(), there.bytes());
    there.ingest(&["far/*/*.jsonl", "--force"]).succeeded();
    assert_eq!(here.bytes(), there.bytes());
    assert_eq!(here.rejects()[0].detail, "the same as left.jsonl:1");
}

#[test]
fn compressed_or_not() {
    let bench = Bench::new();
    let rows = rows();
    bench.write("rows.jsonl", &rows).ingest(&["rows.jsonl"]).succeeded();
    let plain = bench.bytes();
    let zstd = zstd::encode_all(rows.as_bytes(), 1).unwrap();
    // The name is part of the provenance, so it stays the same.
    bench.write("rows.jsonl", zstd).ingest(&["rows.jsonl"]).succeeded();
    assert!(bench.bytes() == plain);
}
