//! Our metrics beside sacreBLEU 2.6 and rouge-score on texts made to be odd: no words, many scripts, marks, several
//! references. `data/make_fuzzed.py` makes the file; `RETUNE_FUZZED` names another one that it made.

use metrics::{Pair, score, select};
use serde_json::Value;

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn odd_texts_score_as_in_the_reference_packages() {
    let path = std::env::var("RETUNE_FUZZED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzzed.json").to_owned());
    let known: Value = serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("it is JSON");
    let predictions = texts(&known["predictions"]);
    let references: Vec<Vec<&str>> = known["references"].as_array().expect("rows").iter().map(texts).collect();
    let mut wrong = Vec::new();
    for case in known["scores"].as_array().expect("scores") {
        let name = case["name"].as_str().expect("a name");
        let count = case["references"].as_u64().expect("a number") as usize;
        let pairs: Vec<Pair> = predictions
            .iter()
            .zip(&references)
            .map(|(prediction, row)| Pair { prediction, references: row[..count].to_vec() })
            .collect();
        let metric = select(&[name]).expect("a known name").remove(0);
        let ours = score(&*metric, &pairs);
        let expected = case["corpus"].as_f64().expect("a number");
        if (ours.corpus - expected).abs() > 1e-6 {
            wrong.push(format!("{name}, {count} references: {} against {expected}", ours.corpus));
        }
        if let Some(signature) = case["signature"].as_str() {
            assert_eq!(ours.signature, signature, "{name}");
        }
        for (row, expected) in case["rows"].as_array().expect("rows").iter().enumerate() {
            let expected = expected.as_f64().expect("a number");
            if (ours.rows[row] - expected).abs() > 1e-6 {
                let (prediction, references) = (predictions[row], &references[row][..count]);
                wrong.push(format!(
                    "{name} row {row}: {} against {expected}: {prediction:?} {references:?}",
                    ours.rows[row]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
}
