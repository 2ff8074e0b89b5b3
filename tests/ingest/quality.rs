//! Rules of quality, cleaning, personal data and languages, as a user meets them.

use super::Bench;

fn codes(bench: &Bench) -> Vec<(u64, String)> {
    bench.rejects().into_iter().map(|reject| (reject.source_row, reject.code)).collect()
}

#[test]
fn rules_count_or_reject_with_examples() {
    let rows = "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"user\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"a\"}]}\n\
        {\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"e\u{301}\"}]}\n\
        {\"messages\":[{\"role\":\"user\",\"content\":\"fine\"},{\"role\":\"assistant\",\"content\":\"yes\"}]}\n";
    let bench = Bench::new();
    let run = bench.write("rows.jsonl", rows).ingest(&["rows.jsonl", "--as", "train", "--json"]).succeeded();
    assert!(
        run.stderr.contains("found role_order: 1, such as rows.jsonl:1: turn 2: two turns of user"),
        "{}",
        run.stderr
    );
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(summary["findings"]["not_nfc"]["rows"], 1);
    assert_eq!(summary["written"], 3);
    let arguments = ["rows.jsonl", "--as", "train", "--reject", "role_order", "--clean", "nfc"];
    let run = bench.ingest(&arguments).succeeded();
    assert_eq!(codes(&bench), [(1, "role_order".to_owned())]);
    assert!(!run.stderr.contains("not_nfc"), "{}", run.stderr);
    assert_eq!(bench.examples("train")[0].messages[1].content.as_deref(), Some("é"));
    let run = bench.ingest(&["rows.jsonl", "--reject", "gofer"]);
    assert!(run.code == 2 && run.stderr.contains("did you mean gopher?"), "{}", run.stderr);
}

#[test]
fn personal_data_is_flagged_masked_or_set_aside() {
    let bench = Bench::new();
    let rows = "{\"text\":\"Write to jane@mail.example.org or call +49 30 1234567.\"}\n{\"text\":\"Nothing here, 2024-11-25.\"}\n";
    let run = bench.write("rows.jsonl", rows).ingest(&["rows.jsonl", "--as", "train", "--pii", "flag"]).succeeded();
    assert!(run.stderr.contains("found pii_email: 1") && run.stderr.contains("found pii_phone: 1"), "{}", run.stderr);
    assert!(!run.stderr.contains("jane@"), "the report must not repeat what it found: {}", run.stderr);
    assert!(bench.examples("train")[0].text.as_deref().unwrap().contains("jane@"));
    bench.ingest(&["rows.jsonl", "--as", "train", "--pii", "mask"]).succeeded();
    assert_eq!(bench.examples("train")[0].text.as_deref(), Some("Write to [EMAIL] or call [PHONE]."));
    bench.ingest(&["rows.jsonl", "--as", "train", "--pii", "reject"]).succeeded();
    assert_eq!(codes(&bench), [(1, "pii_email".to_owned())]);
}

#[test]
fn other_languages_are_set_aside() {
    let rows = "{\"text\":\"Wie weit ist es von hier bis zum nächsten Bahnhof, wenn ich zu Fuß gehe?\"}\n\
        {\"text\":\"How far is it from here to the next station if I walk all the way?\"}\n{\"text\":\"42\"}\n";
    let bench = Bench::new();
    bench.write("rows.jsonl", rows).ingest(&["rows.jsonl", "--as", "train", "--language", "en"]).succeeded();
    assert_eq!(codes(&bench), [(1, "language".to_owned())]);
    assert!(bench.rejects()[0].detail.starts_with("de (German)"), "{:?}", bench.rejects()[0]);
    assert_eq!(bench.ingest(&["rows.jsonl", "--language", "klingon"]).code, 2);
}

#[test]
fn duplicates_name_their_cluster() {
    let words = |n: u64| (0..60).map(|k| format!("w{}", n * 100 + k)).collect::<Vec<_>>().join(" ");
    let (one, other) = (words(1), words(2));
    let rows: String = [&one, &other, &one.replace("w130", "new"), &one]
        .iter()
        .map(|text| format!("{{\"text\":\"{text}\"}}\n"))
        .collect();
    let bench = Bench::new();
    let near = ["rows.jsonl", "--as", "train", "--dedup", "near", "--near-similarity", "0.7"];
    let run = bench.write("rows.jsonl", rows).ingest(&near).succeeded();
    assert!(
        run.stderr.contains("near duplicates: runs of 5 words, similarity 0.7, 16 bands of 8 hashes"),
        "{}",
        run.stderr
    );
    let kept = bench.examples("train")[0].id.clone();
    let clusters: Vec<_> = bench.rejects().into_iter().map(|reject| (reject.code, reject.cluster)).collect();
    assert_eq!(clusters, [("near_duplicate".into(), Some(kept.clone())), ("duplicate".into(), Some(kept))]);
    assert_eq!(bench.ingest(&["rows.jsonl", "--dedup", "near", "--near-similarity", "0"]).code, 2);
}

#[test]
fn labels_of_kto_are_kept_unasked() {
    let rows = "{\"prompt\":\"p\",\"completion\":\"c\",\"label\":true}\n{\"prompt\":\"p\",\"completion\":\"d\",\"label\":false}\n";
    let bench = Bench::new();
    let run = bench.write("rows.jsonl", rows).ingest(&["rows.jsonl", "--as", "train"]).succeeded();
    assert!(run.stderr.contains("learn the bad answers too"), "{}", run.stderr);
    let labels: Vec<_> = bench.examples("train").into_iter().map(|example| example.extra).collect();
    assert_eq!(labels, [[Some("true".to_owned())], [Some("false".to_owned())]]);
    // Standard input can be read once: there it must be said.
    bench.ingest_with(&["-", "--as", "train"], rows).failed_with(&["`label` is true or false", "--keep label"]);
    bench.ingest_with(&["-", "--as", "train", "--keep", "label"], rows).succeeded();
}

#[test]
fn the_page_shows_sources_reasons_lengths_and_rows() {
    let bench = Bench::new();
    let rows = "{\"text\":\"one <b>\"}\n{\"text\":\"one <b>\"}\n{\"text\":\"two\u{7}\"}\n{\"text\":\"three\"}\n";
    let rows = format!("{rows}{{\"{}\":1}}\n", "x".repeat(300));
    bench
        .write("rows.jsonl", rows.replace('\u{7}', "\\u0007"))
        .ingest(&["rows.jsonl", "--as", "train", "--report"])
        .succeeded();
    let page = std::fs::read_to_string(bench.path("data/report.html")).unwrap();
    for part in [
        "rows.jsonl",
        "duplicate",
        "control_characters",
        "Lengths",
        "The worst rows",
        "one &lt;b&gt;",
        "--clean control",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("one <b>"), "text is escaped");
    assert!(page.contains("xxx…"), "a long example is cut and says so");
    bench.ingest(&["rows.jsonl", "--as", "train"]).succeeded();
    assert!(!bench.path("data/report.html").exists(), "what the manifest no longer lists is removed");
}
