//! Everything that an adapter trains, by name: the factors of each adapted layer, and the base model's own tensors that are
//! trained and stored with it, biases and whole modules.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{Bias, LoraConfig};
use super::targets::{Rules, Shape};
use crate::ModelError;
use crate::decoder::Decoder;

/// What PEFT puts before every name of the wrapped model.
const PREFIX: &str = "base_model.model.";

/// What an adapter consists of.
pub(super) struct Plan {
    /// Index into the decoder's linear layers, and the shape of its adapter.
    pub(super) linears: Vec<(usize, Shape)>,
    /// Base tensors that are trained: their name, and the name they are stored under.
    pub(super) extras: BTreeMap<String, String>,
    /// What becomes of a tied output.
    pub(super) output: Output,
}

/// A tied output under an adapter that trains the embedding or the output as a whole, as in PEFT.
pub(super) enum Output {
    /// Stays as it is: tied, or a tensor of its own that `extras` may name.
    Unchanged,
    /// Becomes a tensor of its own and is trained, stored under this name.
    Trained(String),
    /// Becomes a tensor of its own, a copy of the base model's embedding, while that is trained.
    Kept,
    /// Stays tied to an embedding that is trained; stored a second time under this name.
    Tied(String),
}

impl Plan {
    /// Lists what `config` asks for. `strict` refuses names that match nothing.
    pub(super) fn new(decoder: &Decoder, config: &LoraConfig, strict: bool) -> Result<Self, ModelError> {
        config.check()?;
        let rules = Rules::new(config)?;
        let linears = decoder.linears();
        let names: Vec<&str> = linears.iter().map(|linear| linear.name.as_str()).collect();
        let adapted: Vec<(usize, Shape)> =
            names.iter().enumerate().filter_map(|(index, name)| Some((index, rules.shape(name)?))).collect();
        // PEFT writes and reads adapters of which some names match nothing, as long as one does.
        if strict || adapted.is_empty() {
            rules.check(&names)?;
        }
        if adapted.is_empty() {
            let found = config.target_modules.to_string();
            return Err(ModelError::NothingTargeted { found });
        }
        let with_adapter: BTreeSet<&str> = adapted.iter().map(|(index, _)| names[*index]).collect();
        let mut extras = BTreeMap::new();
        for name in decoder.parameter_names() {
            if let Some(key) = extra_key(config, name, &with_adapter) {
                extras.insert(name.to_owned(), key);
            }
        }
        let output = output(decoder, config, &mut extras);
        if strict {
            check_modules(decoder, config)?;
        }
        Ok(Self { linears: adapted, extras, output })
    }

    /// Every name that the adapter is stored under.
    pub(super) fn stored(&self, decoder: &Decoder, config: &LoraConfig) -> BTreeSet<String> {
        let linears = decoder.linears();
        let factors = self.linears.iter().flat_map(|(index, _)| {
            let name = &linears[*index].name;
            let mut keys = vec![a_key(name), b_key(name)];
            keys.extend(config.lora_bias.then(|| lora_bias_key(name)));
            keys.extend(config.use_dora.then(|| magnitude_key(name)));
            keys
        });
        let output = match &self.output {
            Output::Trained(key) | Output::Tied(key) => Some(key.clone()),
            Output::Unchanged | Output::Kept => None,
        };
        factors.chain(self.extras.values().cloned()).chain(output).collect()
    }
}

pub(super) fn a_key(linear: &str) -> String {
    format!("{PREFIX}{linear}.lora_A.weight")
}

pub(super) fn b_key(linear: &str) -> String {
    format!("{PREFIX}{linear}.lora_B.weight")
}

pub(super) fn lora_bias_key(linear: &str) -> String {
    format!("{PREFIX}{linear}.lora_B.bias")
}

pub(super) fn magnitude_key(linear: &str) -> String {
    format!("{PREFIX}{linear}.lora_magnitude_vector")
}

/// The name a base tensor is stored under where it trains with the adapter.
fn extra_key(config: &LoraConfig, name: &str, with_adapter: &BTreeSet<&str>) -> Option<String> {
    let (module, part) = name.rsplit_once('.')?;
    if config.modules_to_save.iter().any(|saved| belongs(module, saved)) {
        return Some(format!("{PREFIX}{}.{part}", module_name(module)));
    }
    let adapted = with_adapter.contains(module);
    let trains = match config.bias {
        Bias::None => false,
        Bias::All => part == "bias",
        Bias::LoraOnly => part == "bias" && adapted,
    };
    // PEFT wraps an adapted layer, so that its bias lies one level deeper.
    trains.then(|| if adapted { format!("{PREFIX}{module}.base_layer.bias") } else { format!("{PREFIX}{name}") })
}

/// Whether a module, or one that it is part of, has a name that ends in `saved`: PEFT asks for no dot before it.
fn belongs(module: &str, saved: &str) -> bool {
    let ends = module.match_indices('.').map(|(end, _)| end).chain([module.len()]);
    ends.into_iter().any(|end| module[..end].ends_with(saved)) || module_name(module).ends_with(saved)
}

/// The name of a module in transformers, where that is not the one in the checkpoint: GPT-NeoX's output.
fn module_name(module: &str) -> &str {
    if module == "embed_out" { "lm_head" } else { module }
}

/// Decides about a tied output; an embedding that is trained along with it is added to `extras`.
fn output(decoder: &Decoder, config: &LoraConfig, extras: &mut BTreeMap<String, String>) -> Output {
    let description = decoder.description();
    if !description.output.tied {
        return Output::Unchanged;
    }
    let (table, head) = (&description.embedding.name, description.output.name.as_str());
    let head_key = format!("{PREFIX}{}.weight", module_name(head));
    let head_trains = config.modules_to_save.iter().any(|saved| belongs(head, saved));
    match (head_trains, extras.contains_key(table)) {
        (false, false) => Output::Unchanged,
        _ if config.ensure_weight_tying => {
            extras.entry(table.clone()).or_insert_with(|| format!("{PREFIX}{table}"));
            Output::Tied(head_key)
        }
        (true, _) => Output::Trained(head_key),
        (false, true) => Output::Kept,
    }
}

/// Refuses a module to save that does not exist.
fn check_modules(decoder: &Decoder, config: &LoraConfig) -> Result<(), ModelError> {
    let head = decoder.description().output.name.as_str();
    let modules: BTreeSet<&str> =
        decoder.parameter_names().filter_map(|name| Some(name.rsplit_once('.')?.0)).chain([head]).collect();
    for saved in &config.modules_to_save {
        if saved.is_empty() || !modules.iter().any(|module| belongs(module, saved)) {
            let ending = |module: &str| module_name(module).rsplit('.').next().unwrap_or(module).to_owned();
            let known: BTreeSet<String> = modules.iter().map(|module| ending(module)).collect();
            return Err(ModelError::UnknownModule { found: saved.clone(), modules: known.into_iter().collect() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_saved_by_the_end_of_its_name_or_of_one_around_it() {
        assert!(belongs("model.layers.0.input_layernorm", "norm"));
        assert!(belongs("model.layers.0.mlp.up_proj", "mlp"));
        assert!(belongs("model.layers.0.mlp.up_proj", "layers.0"));
        assert!(belongs("embed_out", "lm_head") && belongs("embed_out", "embed_out"));
        assert!(!belongs("model.layers.0.mlp.up_proj", "gate_proj"));
    }

    #[test]
    fn biases_are_stored_where_peft_keeps_them() {
        let with_adapter = BTreeSet::from(["a.c_attn"]);
        let key = |bias, name| extra_key(&LoraConfig { bias, ..LoraConfig::default() }, name, &with_adapter);
        assert_eq!(key(Bias::None, "a.c_attn.bias"), None);
        assert_eq!(key(Bias::LoraOnly, "a.c_attn.bias").unwrap(), "base_model.model.a.c_attn.base_layer.bias");
        assert_eq!(key(Bias::LoraOnly, "a.ln.bias"), None);
        assert_eq!(key(Bias::All, "a.ln.bias").unwrap(), "base_model.model.a.ln.bias");
        assert_eq!(key(Bias::All, "a.ln.weight"), None);
    }
}
