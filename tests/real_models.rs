//! Trained models with their own tokenizers: the loss of real stories, and the published story as text.

use encoding::{Specials, Tokenizer};
use model::{Batch, Mode, Trainable};
use serde_json::Value;

use crate::support::reference;

fn golden(folder: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap()
}

/// The loss of each story within 1e-5 of what transformers computes.
fn scores_stories(model: &str) {
    let (Some(folder), Some(text)) = (reference(model), reference("datasets/text/tinystories_sample.txt")) else {
        return;
    };
    let text = std::fs::read_to_string(text).unwrap();
    let stories: Vec<&str> = text.split("<|endoftext|>").map(str::trim).collect();
    let golden = golden(&folder);
    let context = golden["context"].as_u64().unwrap() as usize;
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let model = pretrained::open_model(&folder, Trainable::Nothing).unwrap();
    for expected in golden["nll"].as_array().unwrap() {
        let start = expected["text_start"].as_str().unwrap();
        let story = stories.iter().find(|story| story.starts_with(start)).unwrap();
        let mut ids = tokenizer.encode(story, Specials::Added).unwrap().ids;
        ids.truncate(context);
        let targets: Vec<i32> = ids[1..].iter().map(|id| *id as i32).chain([-100]).collect();
        let loss = model.decoder.loss(&Batch::from_sequences(&[ids]).unwrap(), &targets, Mode::Evaluate).unwrap();
        assert_eq!(loss.losses.len() as u64, expected["tokens_scored"].as_u64().unwrap(), "{start:?}");
        let found: f64 = loss.losses.iter().map(|loss| f64::from(*loss)).sum();
        let distance = (found / expected["nll_sum"].as_f64().unwrap() - 1.0).abs();
        assert!(distance < 1e-5, "{}: {start:?} differs by {distance}", folder.display());
    }
}

#[test]
fn stories260k_scores_stories_as_transformers_does() {
    scores_stories("models/stories260K");
}

#[test]
fn tinystories_chat_3m_scores_stories_as_transformers_does() {
    scores_stories("models/tinystories-chat-3M");
}
