//! Decoding through the cache: the same numbers as one pass over everything, whatever else is in the call.

use std::path::PathBuf;

use crate::support::{difference, ids, json, logits, open, reference};
use model::{Decoder, Trainable};

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
