//! Our metrics beside the numbers that sacreBLEU 2.6 and rouge-score gave for the same texts.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::PathBuf;

use metrics::{Metric, Pair, score, select};
use serde_json::Value;

/// A file of known answers, or nothing where the reference material is absent and no CI run demands it.
fn known_answers(name: &str) -> Option<Value> {
    let root = std::env::var_os("RETUNE_REFERENCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference")),
        PathBuf::from,
    );
    let path = root.join("known_answers").join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is absent", path.display());
        eprintln!("skipped: {} is absent", path.display());
        return None;
    };
    Some(serde_json::from_slice(&bytes).expect("known answers are JSON"))
}

fn metric(name: &str) -> Box<dyn Metric> {
    select(&[name]).expect("a known name").remove(0)
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn corpus_scores_equal_the_reference_packages() {
    let Some(known) = known_answers("text_metrics.json") else { return };
    let references = texts(&known["references"]);
    let pairs: Vec<Pair> =
        texts(&known["hypotheses"]).into_iter().zip(references).map(|(h, r)| Pair::new(h, r)).collect();
    for name in ["bleu", "bleu_lc", "bleu_intl", "bleu_char", "chrf", "chrf++", "ter"] {
        let ours = score(&*metric(name), &pairs);
        let expected = &known["corpus"][name];
        assert!((ours.corpus - number(&expected["score"])).abs() < 1e-6, "{name}: {} against {expected}", ours.corpus);
        assert_eq!(ours.signature, expected["signature"].as_str().expect("a signature"), "{name}");
    }
    for kind in ["rouge1", "rouge2", "rougeL", "rougeLsum"] {
        for (group, suffix) in [("rouge", ""), ("rouge_stemmed", "_stemmed")] {
            let ours = score(&*metric(&format!("{kind}{suffix}")), &pairs).corpus;
            let expected = number(&known["corpus"][group][kind]);
            assert!((ours - expected).abs() < 1e-6, "{kind}{suffix}: {ours} against {expected}");
        }
    }
    let (bleu, chrf) = (score(&*metric("bleu"), &pairs), score(&*metric("chrf"), &pairs));
    for (row, expected) in known["sentence"].as_array().expect("a list").iter().enumerate() {
        assert!((bleu.rows[row] - number(&expected["bleu_effective_order"])).abs() < 1e-6, "row {row}: BLEU");
        assert!((chrf.rows[row] - number(&expected["chrf"])).abs() < 1e-6, "row {row}: chrF");
    }
}

#[test]
fn rouge_literals() {
    let Some(known) = known_answers("rouge.json") else { return };
    for case in known.as_array().expect("a list") {
        let suffix = if case["use_stemmer"] == true { "_stemmed" } else { "" };
        let name = format!("{}{suffix}", case["rouge_type"].as_str().expect("a name"));
        let prediction = case["prediction"].as_str().expect("a text");
        let ours = score(&*metric(&name), &[Pair::new(prediction, case["target"].as_str().expect("a text"))]).corpus;
        assert!((ours - number(&case["fmeasure"])).abs() < number(&case["abs_tol"]), "{ours} against {case}");
    }
}

#[test]
fn sacrebleu_literals() {
    let Some(known) = known_answers("sacrebleu.json") else { return };
    for case in known["corpus_bleu"].as_array().expect("a list") {
        let options = case["kwargs"].as_object().expect("options");
        let option = |(key, value): (&String, &Value)| format!(":{key}={}", value.as_str().expect("a word"));
        let name = format!("bleu{}", options.iter().map(option).collect::<String>());
        let references: Vec<Vec<&str>> = case["refs"].as_array().expect("lists").iter().map(texts).collect();
        let pairs: Vec<Pair> = texts(&case["hyps"])
            .into_iter()
            .enumerate()
            .map(|(row, prediction)| Pair { prediction, references: references.iter().map(|list| list[row]).collect() })
            .collect();
        let ours = score(&*metric(&name), &pairs).corpus;
        assert!((ours - number(&case["score"])).abs() < 1e-6, "{name}: {ours} against {case}");
    }
    let chrf = metric("chrf");
    for case in known["chrf"]["test_sentence_level_chrf"].as_array().expect("a list") {
        let pair = Pair { prediction: case[0].as_str().expect("a text"), references: texts(&case[1]) };
        let ours = score(&*chrf, &[pair]).rows[0];
        // The literals are from an older chrF script; sacreBLEU's own test allows this much.
        assert!((ours - number(&case[2])).abs() < 1e-3, "{ours} against {case}");
    }
    for case in known["chrf"]["test_cases_effective_order"].as_array().expect("a list") {
        let pairs: Vec<Pair> = texts(&case[0]).into_iter().zip(texts(&case[1])).map(|(h, r)| Pair::new(h, r)).collect();
        let ours = score(&*chrf, &pairs).corpus;
        assert!((ours - number(&case[2])).abs() < 1e-3, "{ours} against {case}");
    }
}
