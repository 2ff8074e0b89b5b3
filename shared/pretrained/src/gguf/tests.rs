//! Names there and back, rows there and back, and rules that are found again.

use super::architecture::{ARCHITECTURES, Change, interleaved_row};
use super::rope::{factors, rule};
use model::RopeScaling;

#[test]
fn names_go_there_and_back() {
    for architecture in &ARCHITECTURES {
        for (own, _) in architecture.whole {
            let name = format!("{own}.weight");
            assert_eq!(architecture.hugging_face_name(&architecture.gguf_name(&name).unwrap()), name);
        }
        for (own, _) in architecture.layer {
            let name = format!("{}17.{own}.bias", architecture.layer_prefix);
            assert_eq!(architecture.hugging_face_name(&architecture.gguf_name(&name).unwrap()), name);
        }
        assert_eq!(architecture.gguf_name("model.layers.0.novelty.weight"), None);
        assert_eq!(architecture.hugging_face_name("blk.0.novelty.weight"), "blk.0.novelty.weight");
    }
}

#[test]
fn changes_are_those_of_the_architecture() {
    let of = |name: &str| ARCHITECTURES.iter().find(|architecture| architecture.name == name).unwrap();
    let heads = (8, 4);
    assert_eq!(of("llama").change("blk.3.attn_q.weight", heads), Change::Interleaved(8));
    assert_eq!(of("llama").change("blk.3.attn_k.bias", heads), Change::Interleaved(4));
    assert_eq!(of("qwen2").change("blk.3.attn_k.weight", heads), Change::Same);
    assert_eq!(of("gemma2").change("output_norm.weight", heads), Change::PlusOne);
    assert_eq!(of("gemma3").change("blk.0.attn_q_norm.weight", heads), Change::PlusOne);
    assert_eq!(of("gpt2").change("blk.0.attn_qkv.weight", heads), Change::Transposed);
    assert_eq!(of("gpt2").change("blk.0.attn_qkv.bias", heads), Change::Same);
}

#[test]
fn rows_are_reordered_within_each_head() {
    // Two heads of four rows: 0 1 | 2 3 becomes 0 2 1 3 in each.
    let order: Vec<usize> = (0..8).map(|row| interleaved_row(row, 8, 2)).collect();
    assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
}

#[test]
fn llama_3_rules_are_found_again() {
    for (factor, original_context) in [(8.0, 8192.0), (32.0, 8192.0), (4.0, 64.0)] {
        let scaling = RopeScaling::Llama3 { factor, low: 1.0, high: 4.0, original_context };
        let found = factors(&scaling, 10_000.0, 16).unwrap();
        let again = rule(&found, 10_000.0).unwrap();
        assert_eq!(factors(&again, 10_000.0, 16).unwrap(), found);
    }
    assert!(rule(&[1.0, 2.5, 7.0], 10_000.0).is_none());
}
