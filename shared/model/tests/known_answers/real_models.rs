//! Trained models against known answers: greedy text through the cache, logits, loss of stories.

use crate::support::{argmax, floats, greedy, ids, json, logits, open, reference};
use model::Trainable;

fn check(folder: &str) {
    let Some(folder) = reference(folder) else { return };
    let golden = json(&folder.join("golden.json"));
    let decoder = open(&folder, Trainable::Nothing);
    for prompt in golden["prompts"].as_array().unwrap() {
        let prompt_ids = ids(&prompt["ids"]);
        let found = logits(&decoder, &prompt_ids).pop().unwrap();
        let best = &prompt["last_logits_top10"];
        for (id, expected) in ids(&best["ids"]).iter().zip(floats(&best["logits"])) {
            let distance = (found[*id as usize] - expected).abs();
            assert!(distance < 1e-4, "{}: logit of {id} differs by {distance}", folder.display());
        }
        assert_eq!(argmax(&found), ids(&best["ids"])[0]);
        let sum: f64 = found.iter().map(|logit| f64::from(*logit)).sum();
        let expected = prompt["last_logits_sum"].as_f64().unwrap();
        assert!((sum - expected).abs() < 1e-4 * found.len() as f64, "{sum} instead of {expected}");
        let expected = ids(&prompt["greedy_64_ids"]);
        assert_eq!(greedy(&decoder, &prompt_ids, expected.len()), expected, "{}", folder.display());
    }
}

#[test]
fn stories260k_answers_as_transformers_does() {
    check("models/stories260K");
}

#[test]
fn tinystories_chat_3m_answers_as_transformers_does() {
    check("models/tinystories-chat-3M");
}

#[test]
fn stories260k_tells_its_published_story() {
    let Some(folder) = reference("models/stories260K") else { return };
    let story = ids(&json(&folder.join("greedy_200.json"))["token_ids"]);
    let decoder = open(&folder, Trainable::Nothing);
    assert_eq!(greedy(&decoder, &story[..1], story.len() - 1), story[1..]);
}
