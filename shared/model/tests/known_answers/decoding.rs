//! Decoding through the cache: the same numbers as one pass over everything, whatever else is in the call.

use std::path::PathBuf;

use crate::support::{difference, ids, json, logits, open, reference};
use model::{Decoder, ModelConfig, Trainable};

fn folders() -> Vec<PathBuf> {
    let Some(root) = reference("architectures") else { return Vec::new() };
    ["llama", "gpt2", "gemma2", "gpt-neox", "mistral", "phi3"].iter().map(|name| root.join(name)).collect()
}

/// Feeds each prompt in the given pieces, all sequences in the same calls; returns the bits of all logits.
fn bits(decoder: &Decoder, prompts: &[&[u32]], steps: &[u32]) -> Vec<Vec<u32>> {
    let mut cache = decoder.new_cache(prompts.len());
    let mut all = vec![Vec::new(); prompts.len()];
    let mut keep = |logits: candle_core::Tensor| {
        for (bits, row) in all.iter_mut().zip(logits.to_vec2::<f32>().unwrap()) {
            bits.extend(row.iter().map(|value| value.to_bits()));
        }
    };
    keep(decoder.decode(prompts, &mut cache).unwrap());
    for step in steps {
        keep(decoder.decode(&vec![std::slice::from_ref(step); prompts.len()], &mut cache).unwrap());
    }
    all
}

#[test]
fn a_sequence_does_not_depend_on_its_batch() {
    for folder in folders() {
        let row = ids(&json(&folder.join("golden.json"))["rows"][0]["input_ids"]);
        let decoder = open(&folder, Trainable::Nothing);
        let prompts: [&[u32]; 4] = [&row[..9], &row[3..5], &row[..20], &row[1..2]];
        let together = bits(&decoder, &prompts, &row[20..]);
        for (prompt, expected) in prompts.iter().zip(&together) {
            assert_eq!(&bits(&decoder, &[prompt], &row[20..])[0], expected, "{}", folder.display());
        }
    }
}

#[test]
fn steps_agree_with_one_pass() {
    for folder in folders() {
        let row = ids(&json(&folder.join("golden.json"))["rows"][0]["input_ids"]);
        let decoder = open(&folder, Trainable::Nothing);
        let whole = logits(&decoder, &row);
        let mut cache = decoder.new_cache(1);
        let mut seen = 0;
        for piece in [6, 1, 3, 1, 9] {
            let found = decoder.decode(&[&row[seen..seen + piece]], &mut cache).unwrap().to_vec2::<f32>().unwrap();
            seen += piece;
            let distance = difference(&found[0], &whole[seen - 1]);
            assert!(distance < 1e-5, "{} at {seen}: {distance}", folder.display());
        }
        assert_eq!(cache.lengths(), [seen]);
    }
}

/// A decoder with room for prompts of several runs; beyond 64 tokens its frequencies depend on the length.
fn stretched() -> Decoder {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "initializer_range": 0.3, "hidden_act": "silu",
        "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}
    });
    Decoder::random(&ModelConfig::from_json(&config).unwrap(), 3).unwrap()
}

#[test]
fn prompts_of_several_runs_agree_with_one_pass() {
    let decoder = stretched();
    assert_eq!(decoder.settled_context(), 64);
    let prompt =
        |seed: u32, length: u32| -> Vec<u32> { (0..length).map(|at| (at * at * 7 + at * seed) % 61).collect() };
    let prompts: Vec<Vec<u32>> = [(1, 700), (2, 3), (3, 256), (4, 300), (5, 1)].map(|(s, l)| prompt(s, l)).to_vec();
    let slices: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let together = bits(&decoder, &slices, &[7, 8]);
    for (prompt, together) in prompts.iter().zip(&together) {
        let whole = logits(&decoder, prompt);
        let found: Vec<f32> = together[..61].iter().map(|bits| f32::from_bits(*bits)).collect();
        let distance = difference(&found, whole.last().unwrap());
        assert!(distance < 1e-5, "{} tokens: {distance}", prompt.len());
        assert_eq!(&bits(&decoder, &[prompt], &[7, 8])[0], together);
    }
}

#[test]
fn a_token_does_not_depend_on_how_many_come_with_it() {
    for folder in folders() {
        let row = ids(&json(&folder.join("golden.json"))["rows"][0]["input_ids"]);
        let decoder = open(&folder, Trainable::Nothing);
        let last = |pieces: &[usize]| {
            let (mut cache, mut seen, mut logits) = (decoder.new_cache(1), 0, None);
            for piece in pieces {
                logits = Some(decoder.decode(&[&row[seen..seen + piece]], &mut cache).unwrap());
                seen += piece;
            }
            logits.unwrap().to_vec2::<f32>().unwrap()
        };
        let whole = last(&[20]);
        for pieces in [&[1; 20][..], &[7, 13], &[19, 1], &[2, 9, 9]] {
            assert_eq!(last(pieces), whole, "{} in {pieces:?}", folder.display());
        }
    }
}

#[test]
fn a_shared_prefix_is_computed_once() {
    let Some(folder) = folders().into_iter().next() else { return };
    let row = ids(&json(&folder.join("golden.json"))["rows"][0]["input_ids"]);
    let decoder = open(&folder, Trainable::Nothing);
    let mut shared = decoder.new_cache(1);
    decoder.decode(&[&row[..8]], &mut shared).unwrap();
    shared.select(&[0, 0]).unwrap();
    let found = decoder.decode(&[&row[8..9], &row[9..10]], &mut shared).unwrap().to_vec2::<f32>().unwrap();
    for (place, token) in [(0, 8), (1, 9)] {
        let mut alone = decoder.new_cache(1);
        decoder.decode(&[&row[..8]], &mut alone).unwrap();
        let expected = decoder.decode(&[&row[token..=token]], &mut alone).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found[place], expected[0]);
    }
}

#[test]
fn what_cannot_be_decoded_is_refused_and_leaves_the_cache_alone() {
    let Some(folder) = folders().into_iter().nth(1) else { return };
    let decoder = open(&folder, Trainable::Nothing);
    let mut cache = decoder.new_cache(1);
    for (tokens, expected) in [(vec![512], "512"), (vec![], "at least one token"), (vec![1; 257], "256")] {
        let error = decoder.decode(&[&tokens], &mut cache).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(decoder.decode(&[&[1], &[2]], &mut cache).is_err());
    assert_eq!(cache.lengths(), [0]);
}

/// `cargo test --release -p retune-model -- --ignored --nocapture speed`: wall time and processor time, which differ
/// where the machine is shared.
#[test]
#[ignore = "prints tokens per second"]
fn speed() {
    for name in ["models/stories260K", "models/tinystories-chat-3M"] {
        let Some(folder) = reference(name) else { return };
        let decoder = open(&folder, Trainable::Nothing);
        for sequences in [1, 16] {
            let prompt: Vec<u32> = (0..64).map(|index| 3 + index % 200).collect();
            let mut cache = decoder.new_cache(sequences);
            let prefill = Clocks::start();
            decoder.decode(&vec![prompt.as_slice(); sequences], &mut cache).unwrap();
            let prefill = prefill.rates(64 * sequences);
            let decode = Clocks::start();
            for _ in 0..128 {
                decoder.decode(&vec![&prompt[..1]; sequences], &mut cache).unwrap();
            }
            eprintln!("{name} × {sequences}: prefill {prefill}, decode {}", decode.rates(128 * sequences));
        }
    }
}

struct Clocks {
    wall: std::time::Instant,
    processor: f64,
}

impl Clocks {
    fn start() -> Self {
        Self { wall: std::time::Instant::now(), processor: processor_seconds() }
    }

    fn rates(&self, tokens: usize) -> String {
        let tokens = tokens as f64;
        let (wall, processor) = (self.wall.elapsed().as_secs_f64(), processor_seconds() - self.processor);
        format!("{:.0} tokens/s by the clock, {:.0} by processor time", tokens / wall, tokens / processor)
    }
}

/// User and system time of this process so far; 100 ticks a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
