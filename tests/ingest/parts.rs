//! Splits, mixing, shards and streams: the same rows in other arrangements.

use std::collections::BTreeMap;

use assert_cmd::Command;

use super::{Bench, Run};

fn rows(count: usize) -> String {
    let row = |n: usize| match n % 10 {
        7 => "{\"text\":\"said before\",\"topic\":\"a\"}\n".to_owned(),
        8 => "{\"nothing\":1,\"topic\":\"b\"}\n".to_owned(),
        _ => format!("{{\"text\":\"row {n}\",\"topic\":\"t{}\"}}\n", n % 3),
    };
    (0..count).map(row).collect()
}

/// All rows of all tables, as text, sorted.
fn all(bench: &Bench) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for split in ["train", "validation", "test"] {
        all.extend(bench.examples(split).iter().map(|example| format!("{split} {example:?}")));
    }
    all.extend(bench.rejects().iter().map(|reject| format!("{reject:?}")));
    all.sort();
    all
}

#[test]
fn shards_together_are_one_run() {
    let bench = Bench::new();
    bench.write("rows.jsonl", rows(500)).ingest(&["rows.jsonl", "--keep", "topic"]).succeeded();
    let whole = all(&bench);
    let mut parts = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let run = bench.ingest(&["rows.jsonl", "--keep", "topic", "--shard", shard]).succeeded();
        assert!(!run.stderr.contains("up to date"));
        parts.extend(all(&bench));
    }
    parts.sort();
    assert_eq!(whole, parts);
    let run = bench.ingest(&["rows.jsonl", "--shard", "1/3", "--dedup", "near"]);
    assert!(run.code == 2 && run.stderr.contains("--dedup near compares rows of different content"), "{}", run.stderr);
}

#[test]
fn strata_and_what_else_says_the_split_are_refused_together() {
    let bench = Bench::new();
    bench.write("train.jsonl", rows(100));
    for other in [&["--split-by", "topic"][..], &["--split-by", "prompt"], &["--as", "test"], &["--split", "files"]] {
        let run = bench.ingest(&[&["train.jsonl", "--stratify", "topic"], other].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains("--stratify") && run.stderr.contains(other[0]), "{}", run.stderr);
    }
}

#[test]
fn strata_get_their_shares_and_files_say_their_splits() {
    let bench = Bench::new();
    let arguments = ["rows.jsonl", "--stratify", "topic", "--split", "train=0.5,test=0.5", "--keep", "topic"];
    bench.write("rows.jsonl", rows(300)).ingest(&arguments).succeeded();
    let mut counts: BTreeMap<(String, &str), i64> = BTreeMap::new();
    for split in ["train", "test"] {
        for example in bench.examples(split) {
            *counts.entry((example.extra[0].clone().unwrap(), split)).or_default() += 1;
        }
    }
    for topic in ["t0", "t1", "t2"] {
        let of = |split| counts[&(topic.to_owned(), split)];
        assert!((of("train") - of("test")).abs() <= 1, "{counts:?}");
    }
    bench.write("in/train-0.jsonl", rows(5)).write("in/dev.jsonl", "{\"text\":\"other\"}\n");
    bench.ingest(&["in", "--split", "files"]).succeeded();
    assert_eq!((bench.examples("train").len(), bench.examples("validation").len()), (5, 1));
    assert!(!bench.path("data/test.parquet").exists());
    let run = bench.write("in/more.jsonl", rows(5)).ingest(&["in", "--split", "files"]);
    assert!(run.code == 2 && run.stderr.contains("in the name of each file, found more.jsonl"), "{}", run.stderr);
}

#[test]
fn what_an_earlier_ingest_made_goes_in_as_it_is_shared_out() {
    let bench = Bench::new();
    bench.write("rows.jsonl", rows(200)).ingest(&["rows.jsonl", "--split", "train=0.5,test=0.5"]).succeeded();
    let splits = |bench: &Bench| {
        ["train", "test"].map(|split| bench.examples(split).into_iter().map(|e| e.id).collect::<Vec<_>>())
    };
    let before = splits(&bench);
    std::fs::rename(bench.path("data"), bench.path("earlier")).unwrap();
    let run = bench.ingest(&["earlier", "--dry-run"]).succeeded();
    assert!(run.stderr.contains("passed over: earlier/rejects.parquet"), "{}", run.stderr);
    bench.ingest(&["earlier"]).succeeded();
    assert_eq!(splits(&bench), before);
    let asked = bench.ingest(&["earlier", "--split", "train=1"]).succeeded();
    assert!(asked.stderr.contains("written to data: train"), "{}", asked.stderr);
    assert_eq!(bench.examples("train").len(), before.concat().len());
    // The same a level up; what other stages made is no data set.
    let manifest = std::fs::read_to_string(bench.path("earlier/manifest.json")).unwrap();
    bench.write("up/more.jsonl", rows(5)).write("up/.old.jsonl", "{").write("up/_old/x.jsonl", "{");
    std::fs::rename(bench.path("earlier"), bench.path("up/earlier")).unwrap();
    bench.write("up/tokens/manifest.json", manifest.replace("retune-ingest", "retune-tokenize"));
    bench.write("up/tokens/train.parquet", "no examples").write("up/tokens/.hidden", "");
    let run = bench.ingest(&["up", "--dedup", "off"]).succeeded();
    for passed_over in
        ["up/.old.jsonl (hidden", "up/_old (hidden", "up/earlier/rejects.parquet", "up/tokens (a folder of"]
    {
        assert!(run.stderr.contains(&format!("passed over: {passed_over}")), "{}", run.stderr);
    }
    assert!(run.stderr.contains(&format!("{} rows in", before.concat().len() + 5)), "{}", run.stderr);
    bench.ingest(&["up/tokens"]).failed_with(&["up/tokens: expected a data set, found what retune-tokenize made"]);
}

#[test]
fn ids_to_exclude_that_no_row_has_are_told() {
    let bench = Bench::new();
    bench.write("rows.jsonl", rows(20)).ingest(&["rows.jsonl"]).succeeded();
    let id = bench.examples("train")[0].id.clone();
    bench.write("ids.csv", format!("id\n{id}\nnobody\nnothing\n"));
    let run = bench.ingest(&["rows.jsonl", "--exclude", "ids.csv", "--json", "--report"]).succeeded();
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(summary["excluded"], serde_json::json!({"ids": 3, "found": 1}));
    let told = "of the 3 ids of --exclude, 2 are of no row of the data";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert!(std::fs::read_to_string(bench.path("data/report.html")).unwrap().contains(told));
    bench.write("ids.csv", "id\n");
    let run = bench.ingest(&["rows.jsonl", "--exclude", "ids.csv"]).succeeded();
    assert!(run.stderr.contains("warning: --exclude names no id"), "{}", run.stderr);
    bench.write("ids.csv", format!("id\n{id}\n"));
    let run = bench.ingest(&["rows.jsonl", "--exclude", "ids.csv"]).succeeded();
    assert!(!run.stderr.contains("--exclude"), "{}", run.stderr);
    bench.write("ids.jsonl", "{\"id\":null}\n");
    bench
        .ingest(&["rows.jsonl", "--exclude", "ids.jsonl"])
        .failed_with(&["expected the id of an example", "found null"]);
}

#[test]
fn sources_count_by_their_weight() {
    let bench = Bench::new();
    let text = |name: &str, n: usize| (0..n).map(|row| format!("{{\"text\":\"{name} {row}\"}}\n")).collect::<String>();
    bench.write("web.jsonl", text("web", 400)).write("chats.jsonl", text("chat", 100));
    let arguments = ["web.jsonl", "chats.jsonl", "--as", "train", "--mix", "web*=0.25,chats*=2", "--json"];
    let run = bench.ingest(&arguments).succeeded();
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let of = |name: &str| bench.examples("train").iter().filter(|example| example.source_file == name).count();
    let (web, chats) = (of("web.jsonl"), of("chats.jsonl"));
    assert!(web.abs_diff(100) < 30 && chats == 200, "{web} {chats}");
    assert_eq!(summary["repeated"], 100);
    assert_eq!(summary["rejects"]["sampled_out"]["rows"], 400 - web);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("data/manifest.json")).unwrap()).unwrap();
    let count = |key: &str| manifest["rows"][key].as_u64().unwrap();
    assert_eq!(count("in") + count("repeated"), count("out") + count("rejected"));
    assert_eq!(manifest["options"]["mix"], "web*=0.25,chats*=2");
    let run = bench.ingest(&["web.jsonl", "--mix", "wbe*=2"]);
    assert!(run.code == 2 && run.stderr.contains("`wbe*` fits no file; found: web.jsonl"), "{}", run.stderr);
}

/// The program with standard output as bytes.
fn piped(bench: &Bench, arguments: &[&str], stdin: Vec<u8>) -> (Vec<u8>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retune-ingest"));
    let output = command.current_dir(bench.folder.path()).args(arguments).write_stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_stream_holds_the_rows_of_the_tables() {
    let bench = Bench::new();
    bench.write("rows.jsonl", rows(200));
    let (stream, stderr) = piped(&bench, &["rows.jsonl", "--out", "-"], Vec::new());
    assert!(stderr.contains("the rejected rows were not kept: --rejects"), "{stderr}");
    let reader = arrow::ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names.last().map(String::as_str), Some("split"));
    let count: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    let (_, stderr) = piped(&bench, &["rows.jsonl", "--out", "-", "--rejects", "rejects.parquet"], Vec::new());
    assert!(!stderr.contains("were not kept"), "{stderr}");
    let rejects = artifact::read_rejects(&bench.path("rejects.parquet")).unwrap();
    assert_eq!(count + rejects.len(), 200);
    // And in again, as the next stage of a pipe would.
    let (again, _) = piped(&bench, &["-", "--out", "-"], stream);
    let reader = arrow::ipc::reader::StreamReader::try_new(again.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), count);
    for (more, expected) in [(&["--json"][..], "--json"), (&["--keep", "split=topic"], "has a column `split` already")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retune-ingest"));
        command.current_dir(bench.folder.path()).args(["rows.jsonl", "--out", "-"]).args(more);
        let run = Run::of(command.output().unwrap());
        assert!(run.code == 2 && run.stderr.contains(expected), "{}", run.stderr);
    }
}

#[test]
fn rows_that_splits_share_are_told() {
    let bench = Bench::new();
    let sentence = "A train leaves the station at nine in the morning and travels north for two hours without a stop.";
    let text: String = (0..60).map(|n| format!("{{\"text\":\"Number {n}. {sentence} Then {n}.\"}}\n")).collect();
    let run = bench.write("rows.jsonl", text).ingest(&["rows.jsonl", "--split", "train=0.5,test=0.5"]).succeeded();
    assert!(run.stderr.contains("held-out rows share a run of words with the training split"), "{}", run.stderr);
}
