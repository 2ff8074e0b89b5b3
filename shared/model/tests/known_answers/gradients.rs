//! The first step of the golden training runs: loss and gradient norm of adapters and of all parameters.

use candle_core::{Tensor, Var};
use model::{Batch, CrossEntropy, Decoder, LoraConfig, Mode, ModelError, Trainable};

use crate::architectures::folders;
use crate::support::{ids, json, open, shifted, tensors};

fn loss_of(decoder: &Decoder, golden: &serde_json::Value) -> CrossEntropy {
    let rows = golden["rows"].as_array().unwrap();
    let sequences: Vec<Vec<u32>> = rows.iter().map(|row| ids(&row["input_ids"])).collect();
    let targets: Vec<i32> = rows.iter().flat_map(|row| shifted(&row["labels"])).collect();
    let batch = Batch::from_sequences(&sequences).unwrap();
    decoder.loss(&batch, &targets, Mode::Train { dropout_seed: 1 }).unwrap()
}

/// Loss per trained token and the norm of all gradients, both rows in one batch.
fn first_step(decoder: &Decoder, golden: &serde_json::Value) -> (f64, f64) {
    let loss = loss_of(decoder, golden);
    let mean = (loss.loss_sum / loss.losses.len() as f64).unwrap();
    let gradients = mean.backward().unwrap();
    let square = |var: &Var| -> f64 {
        let gradient = gradients.get(var).unwrap();
        f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
    };
    let norm = decoder.trainable().iter().map(|parameter| square(&parameter.var)).sum::<f64>().sqrt();
    (f64::from(mean.to_scalar::<f32>().unwrap()), norm)
}

fn check(name: &str, (loss, norm): (f64, f64), expected: &serde_json::Value) {
    let (golden_loss, golden_norm) = (expected["loss"].as_f64().unwrap(), expected["grad_norm"].as_f64().unwrap());
    eprintln!(
        "{name}: loss differs by {:.1e}, gradient norm by {:.1e} (relative)",
        (loss / golden_loss - 1.0).abs(),
        (norm / golden_norm - 1.0).abs()
    );
    assert!((loss / golden_loss - 1.0).abs() < 1e-5, "{name}: loss {loss} instead of {golden_loss}");
    assert!((norm / golden_norm - 1.0).abs() < 1e-4, "{name}: gradient norm {norm} instead of {golden_norm}");
}

#[test]
fn gradients_are_those_of_transformers_and_peft() {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy();
        let golden = json(&folder.join("golden.json"));
        let full = open(&folder, Trainable::All);
        check(&format!("{name} full"), first_step(&full, &golden), &golden["full"]["trace"][0]);

        let mut adapted = open(&folder, Trainable::Nothing);
        let config = LoraConfig::from_json(&json(&folder.join("lora_init/adapter_config.json"))).unwrap();
        adapted.load_lora(&config, &tensors(&folder.join("lora_init/adapter_model.safetensors"))).unwrap();
        assert!(adapted.trainable().iter().all(|parameter| parameter.name.contains(".lora_")));
        check(&format!("{name} LoRA"), first_step(&adapted, &golden), &golden["lora"]["trace"][0]);
    }
}

/// Nothing between the loss and the variables escapes the tape, which would be right and slow.
#[test]
fn every_operation_is_on_the_tape() {
    for folder in folders() {
        let golden = json(&folder.join("golden.json"));
        let config = json(&folder.join("lora_init/adapter_config.json"));
        let adapted = |use_dora| {
            let config = LoraConfig { use_dora, dropout: 0.25, ..LoraConfig::from_json(&config).unwrap() };
            let mut decoder = open(&folder, Trainable::Nothing);
            decoder.add_lora(&config, 1).unwrap();
            decoder
        };
        for (name, decoder) in
            [("LoRA", adapted(false)), ("DoRA", adapted(true)), ("full", open(&folder, Trainable::All))]
        {
            let (loss, tape) = kernels::record(|| loss_of(&decoder, &golden));
            assert!(tape.knows_all(&loss.loss_sum), "{} {name}", folder.display());
        }
    }
}

/// The bits of every gradient, in the order of the trainable tensors: of the whole graph at once, or layer by layer.
fn bits(decoder: &Decoder, golden: &serde_json::Value, checkpointed: Option<usize>) -> Vec<Vec<u32>> {
    let rows = golden["rows"].as_array().unwrap();
    let sequences: Vec<Vec<u32>> = rows.iter().map(|row| ids(&row["input_ids"])).collect();
    let targets: Vec<i32> = rows.iter().flat_map(|row| shifted(&row["labels"])).collect();
    let batch = Batch::from_sequences(&sequences).unwrap();
    let mode = Mode::Train { dropout_seed: 5 };
    let parameters = decoder.trainable();
    let mut found: Vec<Option<Tensor>> = vec![None; parameters.len()];
    let mut take = |store: &mut candle_core::backprop::GradStore| -> Result<(), ModelError> {
        for (sum, parameter) in found.iter_mut().zip(&parameters) {
            if let Some(gradient) = store.remove(&parameter.var) {
                *sum = Some(match sum.take() {
                    None => gradient,
                    Some(before) => (before + gradient)?,
                });
            }
        }
        Ok(())
    };
    match checkpointed {
        None => {
            let loss = decoder.loss(&batch, &targets, mode).unwrap();
            take(&mut loss.loss_sum.backward().unwrap()).unwrap();
        }
        Some(layers) => {
            let head = |hidden: &Tensor| Ok((decoder.loss_of(hidden, &targets, mode)?.loss_sum, ()));
            decoder.gradients(&batch, mode, layers, head, &mut take).unwrap();
        }
    }
    let values = |tensor: &Option<Tensor>| tensor.as_ref().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    found.iter().map(|tensor| values(tensor).into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn gradients_layer_by_layer_and_checkpointed_are_those_of_the_whole_graph_to_the_bit() {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy();
        let golden = json(&folder.join("golden.json"));
        let full = open(&folder, Trainable::All);
        let mut adapted = open(&folder, Trainable::Nothing);
        let mut config = LoraConfig::from_json(&json(&folder.join("lora_init/adapter_config.json"))).unwrap();
        config.dropout = 0.3;
        adapted.load_lora(&config, &tensors(&folder.join("lora_init/adapter_model.safetensors"))).unwrap();
        let mut upper = open(&folder, Trainable::Nothing);
        let layers = full.layer_count();
        upper
            .add_lora(&LoraConfig { layers_to_transform: vec![layers - 1], dropout: 0.3, ..config.clone() }, 1)
            .unwrap();
        for (method, decoder) in [("full", full), ("LoRA", adapted), ("LoRA of the last layer", upper)] {
            let whole = bits(&decoder, &golden, None);
            for checkpointed in [0, 1, layers] {
                let found = bits(&decoder, &golden, Some(checkpointed));
                assert!(found == whole, "{name}, {method}, {checkpointed} layers checkpointed");
            }
        }
    }
}
