//! Configurations as older and newer releases of transformers wrote them, and what is refused.

use serde_json::{Value, json};

use crate::description::{Projections, QueryKeyNorm, Residual, RopeScaling};
use crate::{ModelConfig, ModelError, SUPPORTED_MODEL_TYPES};

/// The keys that each family but GPT-2 needs, and others.
fn config(model_type: &str, others: Value) -> Value {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "head_dim": 8
    });
    if model_type == "gpt2" {
        config = json!({"model_type": "gpt2", "vocab_size": 100, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64});
    }
    if model_type == "gpt_neox" {
        config["num_key_value_heads"] = Value::Null;
    }
    let (Some(config_keys), Value::Object(others)) = (config.as_object_mut(), others) else { unreachable!() };
    config_keys.extend(others);
    config
}

fn read(model_type: &str, others: Value) -> ModelConfig {
    ModelConfig::from_json(&config(model_type, others)).unwrap()
}

fn refusal(model_type: &str, others: Value) -> String {
    ModelConfig::from_json(&config(model_type, others)).unwrap_err().to_string()
}

fn windows(config: &ModelConfig) -> Vec<Option<usize>> {
    config.description().layers.iter().map(|layer| layer.attention.window).collect()
}

#[test]
fn every_supported_type_is_described_and_lists_its_parameters() {
    for model_type in SUPPORTED_MODEL_TYPES {
        let config = read(model_type, json!({}));
        let parameters = config.description().parameters();
        let count: usize = parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        assert_eq!(config.parameter_count(), count, "{model_type}");
        let mut names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), parameters.len(), "{model_type} lists a parameter twice");
        assert!(config.description().linears().iter().all(|linear| !linear.name.contains("lm_head")));
    }
}

#[test]
fn old_and_new_rotary_keys_mean_the_same() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32});
    let mut new_keys = scaling.clone();
    new_keys["rope_theta"] = json!(5e5);
    let old = read("llama", json!({"rope_theta": 5e5, "rope_scaling": scaling}));
    let new = read("llama", json!({"rope_parameters": new_keys}));
    for config in [old, new] {
        let rotary = &config.description().rotary[0];
        assert_eq!((rotary.theta, rotary.dimensions), (5e5, 8));
        assert_eq!(rotary.scaling, RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 32.0 });
    }
    let oldest = read("llama", json!({"rope_scaling": {"type": "linear", "factor": 2.0}}));
    assert_eq!(oldest.description().rotary[0].scaling, RopeScaling::Linear { factor: 2.0 });
    assert_eq!(read("llama", json!({"rope_scaling": null})).description().rotary[0].scaling, RopeScaling::Unscaled);
}

#[test]
fn windows_follow_the_layers() {
    let absent = windows(&read("mistral", json!({})));
    assert_eq!(absent, [Some(4096); 4]);
    assert_eq!(windows(&read("mistral", json!({"sliding_window": null}))), [None; 4]);
    assert_eq!(windows(&read("qwen2", json!({"sliding_window": 8}))), [None; 4]);
    let upper = json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 3});
    assert_eq!(windows(&read("qwen2", upper)), [None, None, None, Some(8)]);
    assert_eq!(windows(&read("gemma2", json!({"sliding_window": 8}))), [Some(8), None, Some(8), None]);
    let listed = json!({"sliding_window": 8,
        "layer_types": ["full_attention", "sliding_attention", "full_attention", "full_attention"]});
    assert_eq!(windows(&read("gemma3_text", listed)), [None, Some(8), None, None]);
    assert_eq!(windows(&read("smollm3", json!({"sliding_window": 8}))), [None; 4]);
}

#[test]
fn gemma3_turns_its_windowed_layers_faster() {
    let old = read("gemma3_text", json!({"sliding_window_pattern": 2, "rope_local_base_freq": 500.0}));
    let tables: Vec<_> = old.description().layers.iter().map(|layer| layer.attention.rotary).collect();
    assert_eq!(tables, [Some(1), Some(0), Some(1), Some(0)]);
    let thetas: Vec<_> = old.description().rotary.iter().map(|rotary| rotary.theta).collect();
    assert_eq!(thetas, [1e6, 500.0]);
}

#[test]
fn smollm3_leaves_positions_out_of_every_fourth_layer() {
    let rotary = |others| -> Vec<bool> {
        read("smollm3", others).description().layers.iter().map(|layer| layer.attention.rotary.is_some()).collect()
    };
    assert_eq!(rotary(json!({})), [true, true, true, false]);
    assert_eq!(rotary(json!({"no_rope_layers": [0, 1, 1, 0]})), [false, true, true, false]);
}

#[test]
fn families_differ_in_their_parts() {
    let layer = |config: &ModelConfig| config.description().layers[1].clone();
    let neox = layer(&read("gpt_neox", json!({"rotary_pct": 0.5})));
    assert_eq!(neox.residual, Residual::Parallel);
    assert!(matches!(neox.attention.projections, Projections::FusedByHead(_)));
    let olmo = layer(&read("olmo2", json!({})));
    assert!(olmo.attention_input.is_none() && olmo.attention_output.is_some());
    assert!(matches!(olmo.attention.query_key_norm, Some(QueryKeyNorm::AllHeads { .. })));
    let granite = read("granite", json!({"attention_multiplier": 0.5, "logits_scaling": 4.0}));
    assert_eq!((layer(&granite).attention.scale, granite.description().output.scale), (0.5, 0.25));
    let gpt2 = layer(&read("gpt2", json!({"scale_attn_by_inverse_layer_idx": true, "scale_attn_weights": false})));
    assert_eq!(gpt2.attention.scale, 0.5);
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    for (model_type, others, named) in [
        ("llama", json!({"rope_scaling": {"rope_type": "axial", "factor": 4.0}}), "`rope_type` = \"axial\""),
        ("phi3", json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "`rope_type` = \"yarn\""),
        ("llama", json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}}), "short_factor"),
        ("llama", json!({"rope_scaling": {"rope_type": "linear"}}), "`rope_parameters.factor`"),
        ("llama", json!({"partial_rotary_factor": 0.5}), "`partial_rotary_factor`"),
        ("llama", json!({"hidden_act": "mish"}), "`hidden_act` = \"mish\""),
        ("llama", json!({"quantization_config": {"bits": 4}}), "`quantization_config`"),
        ("phi3", json!({"rope_scaling": {"type": "longrope", "long_factor": [1.0]}}), "rope_parameters.short_factor"),
        (
            "qwen2",
            json!({"layer_types": ["sliding_attention", "full_attention", "full_attention", "full_attention"]}),
            "`layer_types`",
        ),
        (
            "qwen3",
            json!({"layer_types": ["chunked_attention", "full_attention", "full_attention", "full_attention"]}),
            "\"chunked_attention\"",
        ),
        ("gemma3_text", json!({"use_bidirectional_attention": true}), "`use_bidirectional_attention`"),
        ("gpt2", json!({"add_cross_attention": true}), "`add_cross_attention`"),
        ("gemma2", json!({"attn_logit_softcapping": 0.0}), "`attn_logit_softcapping`"),
        ("llama", json!({"num_key_value_heads": 3}), "`num_key_value_heads`"),
        ("llama", json!({"hidden_size": null}), "`hidden_size` is missing"),
        ("llama", json!({"hidden_size": -3}), "`hidden_size` is -3"),
    ] {
        let message = refusal(model_type, others);
        assert!(message.contains(named), "{named} is not in: {message}");
    }
    let unknown = ModelConfig::from_json(&json!({"model_type": "rwkv"})).unwrap_err();
    assert!(matches!(unknown, ModelError::UnsupportedArchitecture { .. }));
    assert!(unknown.to_string().contains("gemma2, gemma3_text, gpt2"), "{unknown}");
    assert!(ModelConfig::from_json(&json!([])).unwrap_err().to_string().contains("a list"));
    assert!(ModelConfig::from_json(&json!({})).unwrap_err().to_string().contains("model_type"));
}

#[test]
fn what_has_no_effect_is_ignored_and_dropout_is_noted() {
    let config = read(
        "gpt2",
        json!({"attn_pdrop": 0.1, "summary_type": "cls_index", "task_specific_params": {}, "unheard_of": [1, 2],
            "eos_token_id": [5, 7], "bos_token_id": 1}),
    );
    assert_eq!(config.notes().len(), 1);
    assert!(config.notes()[0].contains("attn_pdrop = 0.1"));
    assert_eq!((config.end_of_sequence(), config.begin_of_sequence()), ([5, 7].as_slice(), Some(1)));
}

#[test]
fn absurd_numbers_of_layers_are_refused_before_they_take_memory() {
    for (model_type, key) in [("llama", "num_hidden_layers"), ("gpt2", "n_layer"), ("gpt_neox", "num_hidden_layers")] {
        let message = refusal(model_type, json!({ key: 1_000_000_000_000_u64 }));
        assert!(message.contains(key) && message.contains("at most 10000 layers"), "{model_type}: {message}");
    }
}
