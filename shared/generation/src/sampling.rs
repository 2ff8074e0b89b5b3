//! Choosing the next token from logits: greedy, or sampled after temperature, top-k, top-p and min-p.
//!
//! The order is that of transformers: repetition penalty (Keskar et al. 2019), temperature, top-k, top-p (Holtzman et
//! al. 2020), min-p (Nguyen et al. 2024).

use serde::{Deserialize, Serialize};

use crate::GenerationError;
use crate::random::uniform;

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most likely token; otherwise logits are divided by it.
    pub temperature: f32,
    /// Only so many of the most likely tokens.
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Only tokens at least this share as likely as the most likely one.
    pub min_p: Option<f32>,
    /// Above 1 makes tokens less likely that the prompt or the text so far has; 1 changes nothing.
    pub repetition_penalty: f32,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, min_p: None, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Checks that each option is in its range.
    ///
    /// # Errors
    /// [`GenerationError::Option`] for the first that is not.
    pub fn check(&self) -> Result<(), GenerationError> {
        let check = |option, value: f32, held: bool, expected| {
            if held { Ok(()) } else { Err(GenerationError::Option { option, found: value.to_string(), expected }) }
        };
        let share = |value: Option<f32>| value.is_none_or(|value| value > 0.0 && value <= 1.0);
        let temperature = self.temperature;
        check("temperature", temperature, temperature >= 0.0 && temperature.is_finite(), "0 (greedy) or more")?;
        check("top-k", 0.0, self.top_k != Some(0), "1 or more")?;
        check("top-p", self.top_p.unwrap_or(1.0), share(self.top_p), "more than 0 and at most 1")?;
        check("min-p", self.min_p.unwrap_or(0.0), share(self.min_p.filter(|&p| p != 0.0)), "between 0 and 1")?;
        let penalty = self.repetition_penalty;
        check("repetition-penalty", penalty, penalty > 0.0 && penalty.is_finite(), "more than 0; 1 for none")
    }
}

/// A token that may be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    /// Not normalised: relative to the most likely token.
    weight: f64,
}

/// The next token of prompt number `prompt` whose text so far has `generated` new tokens; `seen` are all its tokens,
/// prompt included. None where a logit is not a number.
pub fn choose(logits: &[f32], seen: &[u32], sampling: &Sampling, prompt: usize, generated: usize) -> Option<u32> {
    if sampling.repetition_penalty != 1.0 {
        let mut logits = logits.to_vec();
        penalise(&mut logits, seen, sampling.repetition_penalty);
        return choose_from(&logits, sampling, prompt, generated);
    }
    choose_from(logits, sampling, prompt, generated)
}

fn choose_from(logits: &[f32], sampling: &Sampling, prompt: usize, generated: usize) -> Option<u32> {
    let best = most_likely(logits)?;
    if sampling.temperature == 0.0 {
        return Some(best);
    }
    let candidates = candidates(logits, best, sampling);
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut left = uniform(sampling.seed, prompt as u64, generated as u64) * total;
    for candidate in &candidates {
        left -= candidate.weight;
        if left < 0.0 {
            return Some(candidate.token);
        }
    }
    // Rounding may leave a crumb after the last one.
    candidates.last().map(|candidate| candidate.token)
}

/// Divides positive logits of tokens already seen, multiplies negative ones; each token once.
fn penalise(logits: &mut [f32], seen: &[u32], penalty: f32) {
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// The first of the largest logits; none where one is not a number.
fn most_likely(logits: &[f32]) -> Option<u32> {
    let mut best = (f32::NEG_INFINITY, None);
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return None;
        }
        if logit > best.0 || best.1.is_none() {
            best = (logit, Some(token as u32));
        }
    }
    best.1
}

/// The tokens that remain after the filters, most likely first; of equals the higher id first.
fn candidates(logits: &[f32], best: u32, sampling: &Sampling) -> Vec<Candidate> {
    let top = f64::from(logits[best as usize]);
    let temperature = f64::from(sampling.temperature);
    let mut all: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .map(|(token, &logit)| Candidate {
            token: token as u32,
            weight: ((f64::from(logit) - top) / temperature).exp(),
        })
        .collect();
    all.sort_unstable_by(|a, b| b.weight.total_cmp(&a.weight).then(b.token.cmp(&a.token)));
    if let Some(last) = sampling.top_k.and_then(|top_k| all.get(top_k - 1)).map(|candidate| candidate.weight) {
        // As in transformers, what is as likely as the last of them stays too.
        let kept = all.iter().take_while(|candidate| candidate.weight >= last).count();
        all.truncate(kept);
    }
    if let Some(top_p) = sampling.top_p.filter(|&top_p| top_p < 1.0) {
        all.truncate(nucleus(&all, f64::from(top_p)));
    }
    if let Some(min_p) = sampling.min_p {
        let kept = all.iter().take_while(|candidate| candidate.weight >= f64::from(min_p)).count();
        all.truncate(kept.max(1));
    }
    all
}

/// How many of the candidates it takes to reach the probability `top_p`.
fn nucleus(candidates: &[Candidate], top_p: f64) -> usize {
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut reached = 0.0;
    let needed = candidates.iter().position(|candidate| {
        reached += candidate.weight / total;
        reached >= top_p
    });
    needed.map_or(candidates.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(options: &Sampling) -> Vec<u32> {
        let logits = [2.0, 1.0, 0.0, -1.0];
        let mut tokens: Vec<u32> =
            (0..500).map(|token| choose(&logits, &[], options, 0, token).expect("numbers")).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(choose(&[0.0, 3.0, 3.0], &[], &Sampling::default(), 0, 0), Some(1));
        assert_eq!(choose(&[0.0, f32::NAN], &[], &Sampling::default(), 0, 0), None);
    }

    #[test]
    fn filters_leave_what_they_should() {
        let hot = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(sampled(&hot), [0, 1, 2, 3]);
        assert_eq!(sampled(&Sampling { top_k: Some(2), ..hot.clone() }), [0, 1]);
        // Probabilities 0.644, 0.237, 0.087, 0.032.
        assert_eq!(sampled(&Sampling { top_p: Some(0.8), ..hot.clone() }), [0, 1]);
        assert_eq!(sampled(&Sampling { min_p: Some(0.1), ..hot }), [0, 1, 2]);
    }

    #[test]
    fn what_is_left_to_draw_from_is_what_transformers_leaves() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../tests/data/warpers.json")).expect("known answers are JSON");
        for case in cases.as_array().expect("a list") {
            let number = |name: &str| case[name].as_f64().map(|value| value as f32);
            let numbers =
                |name: &str| case[name].as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number"));
            let options = Sampling {
                temperature: number("temperature").expect("a number"),
                top_k: case["top_k"].as_u64().map(|value| value as usize),
                top_p: number("top_p"),
                min_p: number("min_p"),
                repetition_penalty: number("repetition_penalty").expect("a number"),
                seed: 0,
            };
            let mut logits: Vec<f32> = numbers("logits").map(|value| value as f32).collect();
            let seen: Vec<u32> = numbers("seen").map(|value| value as u32).collect();
            penalise(&mut logits, &seen, options.repetition_penalty);
            let left = candidates(&logits, most_likely(&logits).expect("numbers"), &options);
            let total: f64 = left.iter().map(|candidate| candidate.weight).sum();
            let mut found = vec![0.0; logits.len()];
            left.iter().for_each(|candidate| found[candidate.token as usize] = candidate.weight / total);
            // Which of equal logits a filter cuts off, torch's sort leaves open: how many is what counts.
            let by_logit = |probabilities: Vec<f64>| {
                let mut pairs: Vec<(f32, f64)> = logits.iter().copied().zip(probabilities).collect();
                pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
                pairs
            };
            for (ours, theirs) in by_logit(found).into_iter().zip(by_logit(numbers("probabilities").collect())) {
                assert!((ours.1 - theirs.1).abs() < 1e-6, "{ours:?} against {theirs:?} in {case}");
            }
        }
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let options = Sampling { temperature: 0.5, seed: 11, ..Sampling::default() };
        let (logits, draws) = ([0.0f32, 0.5, 1.0], 20_000);
        let mut counts = [0usize; 3];
        for token in 0..draws {
            counts[choose(&logits, &[], &options, 5, token).expect("numbers") as usize] += 1;
        }
        let total: f64 = logits.iter().map(|&logit| f64::from(logit / 0.5).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let expected = f64::from(logit / 0.5).exp() / total;
            assert!((*count as f64 / draws as f64 - expected).abs() < 0.01);
        }
    }

    #[test]
    fn a_penalty_makes_the_repeated_token_lose() {
        let options = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(choose(&[1.0, 0.9, -3.0], &[0, 0], &options, 0, 0), Some(1));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(Sampling::default().check().is_ok());
        for wrong in [
            Sampling { temperature: -1.0, ..Sampling::default() },
            Sampling { top_k: Some(0), ..Sampling::default() },
            Sampling { top_p: Some(1.5), ..Sampling::default() },
            Sampling { min_p: Some(-0.1), ..Sampling::default() },
            Sampling { repetition_penalty: 0.0, ..Sampling::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
