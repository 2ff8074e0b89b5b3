//! Decoders of random weights: what starts how, what is trained, what is refused.

use serde_json::{Value, json};

use crate::{
    Batch, Bias, Decoder, InitialWeights, LoraConfig, MemorySource, Mode, ModelConfig, ModelError, Regularisation,
    Targets, Trainable,
};

fn config(json: &Value) -> ModelConfig {
    ModelConfig::from_json(json).unwrap()
}

fn gpt2() -> ModelConfig {
    config(&json!({"model_type": "gpt2", "vocab_size": 50, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 16,
        "initializer_range": 0.5}))
}

fn llama() -> ModelConfig {
    config(&json!({"model_type": "llama", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}))
}

fn values(decoder: &Decoder, name: &str) -> Vec<f32> {
    let parameters = decoder.parameters();
    let (_, tensor) = parameters.iter().find(|(found, _)| found == name).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn deviation(values: &[f32]) -> f64 {
    (values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn random_weights_begin_as_in_transformers() {
    let decoder = Decoder::random(&gpt2(), 3).unwrap();
    assert!(values(&decoder, "transformer.h.0.ln_1.weight").iter().all(|value| *value == 1.0));
    assert!(values(&decoder, "transformer.h.1.mlp.c_fc.bias").iter().all(|value| *value == 0.0));
    assert!((deviation(&values(&decoder, "transformer.h.0.attn.c_attn.weight")) - 0.5).abs() < 0.02);
    // Four additions to the stream: half the deviation.
    assert!((deviation(&values(&decoder, "transformer.h.0.attn.c_proj.weight")) - 0.25).abs() < 0.02);
    let again = Decoder::random(&gpt2(), 3).unwrap();
    assert_eq!(values(&decoder, "transformer.wte.weight"), values(&again, "transformer.wte.weight"));
    let other = Decoder::random(&gpt2(), 4).unwrap();
    assert_ne!(values(&decoder, "transformer.wte.weight"), values(&other, "transformer.wte.weight"));
}

#[test]
fn norms_and_biases_do_not_decay() {
    let decoder = Decoder::random(&gpt2(), 1).unwrap();
    let trainable = decoder.trainable();
    assert_eq!(trainable.len(), gpt2().description().parameters().len());
    for parameter in trainable {
        let exempt = parameter.name.rsplit('.').next() == Some("bias") || parameter.name.contains(".ln_");
        assert_eq!(parameter.decay, !exempt, "{}", parameter.name);
    }
}

#[test]
fn an_adapter_begins_as_in_peft_and_alone_is_trained() {
    let base = MemorySource::new(Decoder::random(&llama(), 1).unwrap().parameters());
    let mut decoder = Decoder::load(&llama(), &base, Trainable::Nothing).unwrap();
    assert!(decoder.trainable().is_empty());
    let lora = LoraConfig { r: 8, target_modules: Targets::AllLinear, ..LoraConfig::default() };
    decoder.add_lora(&lora, 5).unwrap();
    assert_eq!(decoder.trainable().len(), 2 * 7 * 2);
    for (name, tensor) in decoder.adapter_parameters() {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        if name.contains("lora_B") {
            assert!(values.iter().all(|value| *value == 0.0), "{name}");
            continue;
        }
        let bound = (tensor.dim(1).unwrap() as f64).powf(-0.5);
        assert!(values.iter().all(|value| f64::from(value.abs()) < bound), "{name}");
        assert!((deviation(&values) - bound / 3.0_f64.sqrt()).abs() < 0.2 * bound, "{name}");
    }
    assert!(matches!(decoder.add_lora(&lora, 5), Err(ModelError::SecondAdapter)));
    // One layer's numbers do not depend on which others are adapted.
    let mut narrow = Decoder::load(&llama(), &base, Trainable::Nothing).unwrap();
    let targets = Targets::Named(vec!["v_proj".to_owned()]);
    narrow.add_lora(&LoraConfig { r: 8, target_modules: targets, ..LoraConfig::default() }, 5).unwrap();
    let (name, expected) = &narrow.adapter_parameters()[0];
    let all = decoder.adapter_parameters();
    let (_, found) = all.iter().find(|(found, _)| found == name).unwrap();
    assert_eq!(found.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
}

#[test]
fn dropout_acts_in_training_only_and_repeats_with_its_seed() {
    let mut decoder = Decoder::random(&llama(), 1).unwrap();
    decoder.add_lora(&LoraConfig { r: 4, dropout: 0.5, ..LoraConfig::default() }, 5).unwrap();
    for parameter in decoder.trainable().iter().filter(|parameter| parameter.name.contains("lora_B")) {
        parameter.var.set(&parameter.var.as_tensor().ones_like().unwrap()).unwrap();
    }
    let batch = Batch::from_sequences(&[[1_u32, 2, 3], [4, 5, 6]]).unwrap();
    let run = |mode| -> Vec<Vec<f32>> { decoder.hidden_states(&batch, mode).unwrap().to_vec2().unwrap() };
    assert_eq!(run(Mode::Train { dropout_seed: 1 }), run(Mode::Train { dropout_seed: 1 }));
    assert_ne!(run(Mode::Train { dropout_seed: 1 }), run(Mode::Train { dropout_seed: 2 }));
    assert_ne!(run(Mode::Train { dropout_seed: 1 }), run(Mode::Evaluate));
}

#[test]
fn layers_one_by_one_are_the_whole() {
    let decoder = Decoder::random(&llama(), 1).unwrap();
    let batch = Batch::from_sequences(&[vec![1_u32, 2, 3], vec![7, 8]]).unwrap();
    let pass = decoder.begin(&batch, Mode::Evaluate).unwrap();
    let mut x = decoder.embed(&batch).unwrap();
    for index in 0..decoder.layer_count() {
        x = decoder.layer(index, &x, &pass).unwrap();
    }
    let whole = decoder.hidden_states(&batch, Mode::Evaluate).unwrap();
    assert_eq!(decoder.finish(&x).unwrap().to_vec2::<f32>().unwrap(), whole.to_vec2::<f32>().unwrap());
}

#[test]
fn checkpoints_of_the_bare_model_and_old_buffers_are_read() {
    let decoder = Decoder::random(&gpt2(), 1).unwrap();
    let mut tensors: Vec<_> = decoder
        .parameters()
        .into_iter()
        .map(|(name, tensor)| (name.strip_prefix("transformer.").unwrap().to_owned(), tensor))
        .collect();
    let mask = tensors[0].1.clone();
    tensors.push(("h.0.attn.bias".to_owned(), mask.clone()));
    let read = Decoder::load(&gpt2(), &MemorySource::new(tensors.clone()), Trainable::Nothing).unwrap();
    assert_eq!(values(&read, "transformer.wte.weight"), values(&decoder, "transformer.wte.weight"));
    tensors.push(("h.0.attn.novelty".to_owned(), mask));
    let error = Decoder::load(&gpt2(), &MemorySource::new(tensors), Trainable::Nothing).unwrap_err();
    assert!(error.to_string().contains("`h.0.attn.novelty`"), "{error}");
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let decoder = Decoder::random(&gpt2(), 1).unwrap();
    let refusal = |batch: &Batch| decoder.hidden_states(batch, Mode::Evaluate).unwrap_err().to_string();
    assert!(refusal(&Batch::from_sequences(&[[3_u32, 50]]).unwrap()).contains("token id 50 at position 1"));
    assert!(refusal(&Batch::from_sequences(&[vec![1_u32; 17]]).unwrap()).contains("position 16 is beyond the 16"));
    let mut batch = Batch::from_sequences(&[[1_u32, 2]]).unwrap();
    batch.position_ids.pop();
    assert!(refusal(&batch).contains("do not fit"));
    assert!(Batch::from_sequences(&[Vec::<u32>::new()]).is_err());
}

#[test]
fn noise_on_the_embedding_acts_in_training_only_and_shrinks_with_the_example() {
    let decoder = Decoder::random(&llama(), 1).unwrap();
    let noisy = decoder.regularised(Regularisation { neftune_alpha: 5.0, label_smoothing: 0.0 });
    let batch = Batch::from_sequences(&[vec![1_u32; 2], vec![1; 8]]).unwrap();
    let plain = decoder.embed(&batch).unwrap();
    let noise = |seed| {
        let embedded = noisy.embed_in(&batch, Mode::Train { dropout_seed: seed }).unwrap();
        (embedded - &plain).unwrap().to_vec2::<f32>().unwrap()
    };
    let found = noise(3);
    for (rows, tokens) in [(&found[..2], 2.0_f32), (&found[2..], 8.0)] {
        let bound = 5.0 / (tokens * 32.0).sqrt();
        let largest = rows.iter().flatten().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest <= bound * 1.0001 && largest > bound * 0.8, "{largest} of {bound}");
    }
    assert_eq!(found, noise(3));
    assert_ne!(found, noise(4));
    let same = noisy.embed_in(&batch, Mode::Evaluate).unwrap();
    assert_eq!(same.to_vec2::<f32>().unwrap(), plain.to_vec2::<f32>().unwrap());
}

#[test]
fn adapters_of_every_kind_decode_as_they_evaluate() {
    let kinds = [
        LoraConfig { init_lora_weights: InitialWeights::Random, lora_bias: true, ..LoraConfig::default() },
        LoraConfig {
            init_lora_weights: InitialWeights::Random,
            use_dora: true,
            bias: Bias::All,
            ..LoraConfig::default()
        },
        LoraConfig {
            init_lora_weights: InitialWeights::Random,
            modules_to_save: vec!["wte".to_owned(), "ln_f".to_owned()],
            ..LoraConfig::default()
        },
    ];
    for kind in kinds {
        let base = MemorySource::new(Decoder::random(&gpt2(), 1).unwrap().parameters());
        let mut decoder = Decoder::load(&gpt2(), &base, Trainable::Nothing).unwrap();
        decoder.add_lora(&LoraConfig { r: 4, ..kind }, 5).unwrap();
        for parameter in decoder.trainable() {
            let moved = (parameter.var.as_tensor() * 1.1).unwrap();
            parameter.var.set(&(moved + 0.01).unwrap()).unwrap();
        }
        let tokens = [3_u32, 1, 4, 1, 5, 9];
        let mut cache = decoder.new_cache(1);
        decoder.decode(&[&tokens[..3]], &mut cache).unwrap();
        decoder.decode(&[&tokens[3..5]], &mut cache).unwrap();
        let decoded = decoder.decode(&[&tokens[5..]], &mut cache).unwrap().to_vec2::<f32>().unwrap();
        let hidden = decoder.hidden_states(&Batch::from_sequences(&[tokens]).unwrap(), Mode::Evaluate).unwrap();
        let logits = decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap();
        let largest = decoded[0].iter().zip(&logits[5]).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
        assert!(largest < 1e-4, "{largest}");
    }
}
