//! What is generated for a prompt depends on the prompt alone: not on the batch, not on threads.

use generation::{Detokenizer, Finish, Generated, Generator, Observer, Sampling, Silent, Stopping};
use model::{Decoder, ModelConfig};

/// Spells each token as a word.
struct Words;
impl Detokenizer for Words {
    fn text(&self, tokens: &[u32]) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let words: Vec<String> = tokens.iter().map(|token| format!("w{token} ")).collect();
        Ok(words.concat())
    }
}

fn decoder() -> Decoder {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "initializer_range": 0.3, "hidden_act": "silu"
    });
    Decoder::random(&ModelConfig::from_json(&config).expect("a configuration"), 3).expect("a decoder")
}

fn prompts() -> Vec<Vec<u32>> {
    (0..9u32).map(|prompt| (0..=(prompt * 5) % 17).map(|token| (7 * token + prompt) % 61).collect()).collect()
}

fn stopping() -> Stopping {
    Stopping { tokens: vec![5], strings: vec!["w9 w".to_owned()], max_new_tokens: 30, context: 40 }
}

fn run(decoder: &Decoder, sampling: &Sampling, batch_size: usize, threads: usize) -> Vec<Generated> {
    let generator =
        Generator { decoder, detokenizer: &Words, sampling: sampling.clone(), stopping: stopping(), batch_size };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(|| generator.run(&prompts(), &mut Silent)).expect("generation")
}

#[test]
fn batch_size_and_threads_change_nothing() {
    let decoder = decoder();
    let hot = Sampling { temperature: 1.3, top_p: Some(0.9), repetition_penalty: 1.2, seed: 4, ..Sampling::default() };
    for sampling in [Sampling::default(), hot] {
        let alone = run(&decoder, &sampling, 1, 1);
        for (batch_size, threads) in [(2, 1), (4, 2), (16, 3)] {
            assert_eq!(run(&decoder, &sampling, batch_size, threads), alone, "{batch_size} at a time");
        }
    }
}

#[test]
fn sequences_end_for_the_reason_they_give() {
    let decoder = decoder();
    let hot = Sampling { temperature: 2.0, seed: 1, ..Sampling::default() };
    for generated in run(&decoder, &hot, 3, 2) {
        match generated.finish {
            Finish::Length => assert_eq!(generated.tokens.len(), 30),
            Finish::StopString => assert!(!generated.text.contains("w9 w")),
            Finish::Context => assert!(generated.tokens.len() < 30),
            Finish::StopToken => assert!(generated.tokens.len() < 30),
            other => panic!("{other:?}"),
        }
        assert!(!generated.tokens.contains(&5));
    }
}

#[test]
fn a_prompt_that_does_not_fit_is_reported_and_not_cut() {
    let decoder = decoder();
    let stopping = Stopping { tokens: Vec::new(), strings: Vec::new(), max_new_tokens: 9, context: 12 };
    let generator =
        Generator { decoder: &decoder, detokenizer: &Words, sampling: Sampling::default(), stopping, batch_size: 2 };
    let results = generator.run(&[vec![1; 12], vec![1; 8], vec![1; 3]], &mut Silent).expect("generation");
    let ends: Vec<_> = results.iter().map(|result| (result.finish, result.tokens.len())).collect();
    assert_eq!(ends, [(Finish::PromptTooLong, 0), (Finish::Context, 4), (Finish::Length, 9)]);
    assert!(generator.run(&[vec![]], &mut Silent).is_err());
}

struct StopsAfter(usize, Vec<String>);
impl Observer for StopsAfter {
    fn text(&mut self, prompt: usize, text: &str) {
        self.1[prompt].push_str(text);
        self.0 = self.0.saturating_sub(1);
    }
    fn finished(&mut self, _: usize, _: usize) {}
    fn should_stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn what_is_streamed_is_what_is_returned_also_when_interrupted() {
    let decoder = decoder();
    let stopping = Stopping { tokens: Vec::new(), strings: Vec::new(), max_new_tokens: 20, context: 64 };
    let generator =
        Generator { decoder: &decoder, detokenizer: &Words, sampling: Sampling::default(), stopping, batch_size: 2 };
    let mut observer = StopsAfter(12, vec![String::new(); 9]);
    let results = generator.run(&prompts(), &mut observer).expect("generation");
    let texts: Vec<_> = results.iter().map(|result| result.text.clone()).collect();
    assert_eq!(texts, observer.1);
    assert_eq!(results[8].finish, Finish::Interrupted);
}

/// As [`decoder`], with room for long prompts: trained for them, or for 64 tokens and stretched by their length.
fn long_decoder(stretched: bool) -> Decoder {
    let mut config = serde_json::json!({
        "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "initializer_range": 0.3, "hidden_act": "silu"
    });
    if stretched {
        config["max_position_embeddings"] = 64.into();
        config["rope_scaling"] = serde_json::json!({"rope_type": "dynamic", "factor": 8.0});
    }
    Decoder::random(&ModelConfig::from_json(&config).expect("a configuration"), 3).expect("a decoder")
}

#[test]
fn prompts_that_begin_alike_are_answered_as_if_alone() {
    answered_as_if_alone(&long_decoder(false));
    answered_as_if_alone(&long_decoder(true));
}

fn answered_as_if_alone(decoder: &Decoder) {
    let token = |seed: u32| move |place: u32| (place * place * 7 + place * seed + seed) % 61;
    let begin: Vec<u32> = (0..300).map(token(1)).collect();
    let with = |length: usize, end: u32| -> Vec<u32> {
        begin[..length].iter().copied().chain((0..9).map(token(end))).collect()
    };
    let mut prompts: Vec<Vec<u32>> = (2..8).map(|end| with(300, end)).collect();
    prompts.extend([with(140, 3), begin[..128].to_vec(), begin[..129].to_vec(), begin[..256].to_vec(), vec![4, 5]]);
    prompts.push((0..300).map(token(9)).collect());
    let stopping = Stopping { tokens: Vec::new(), strings: Vec::new(), max_new_tokens: 12, context: 512 };
    let run = |prompts: &[Vec<u32>], batch_size: usize, threads: usize| {
        let sampling = Sampling { temperature: 1.1, seed: 3, ..Sampling::default() };
        let stopping = stopping.clone();
        let generator = Generator { decoder, detokenizer: &Words, sampling, stopping, batch_size };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| generator.run(prompts, &mut Silent)).expect("generation")
    };
    let together = run(&prompts, 4, 2);
    for (batch_size, threads) in [(1, 1), (3, 3), (16, 1)] {
        assert_eq!(run(&prompts, batch_size, threads), together, "{batch_size} at a time");
    }
    // Greedy, so that the place in the list does not enter: each prompt alone, with nobody to share with.
    let greedy = |prompts: &[Vec<u32>]| {
        let generator = Generator {
            decoder,
            detokenizer: &Words,
            sampling: Sampling::default(),
            stopping: stopping.clone(),
            batch_size: 8,
        };
        generator.run(prompts, &mut Silent).expect("generation")
    };
    for (prompt, shared) in prompts.iter().zip(greedy(&prompts)) {
        assert_eq!(greedy(std::slice::from_ref(prompt))[0], shared);
    }
}
