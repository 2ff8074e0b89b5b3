//! Which architectures are read and written, and how llama.cpp names and arranges their tensors
//! (`gguf-py/gguf/tensor_mapping.py` and `convert_hf_to_gguf.py` there).

use artifact::gguf::Gguf;

use super::Refusal;

/// How one architecture looks in a GGUF file.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// `general.architecture`.
    pub(crate) name: &'static str,
    /// `model_type` of Hugging Face; of several the first is what a file is read as.
    pub(crate) model_types: &'static [&'static str],
    /// Class in transformers.
    pub(crate) class: &'static str,
    /// What stands before and after the layer's number in Hugging Face names.
    pub(crate) layer_prefix: &'static str,
    /// Tensors of the whole model: Hugging Face's name and GGUF's, without `.weight`.
    pub(crate) whole: &'static [(&'static str, &'static str)],
    /// Tensors of each layer, likewise.
    pub(crate) layer: &'static [(&'static str, &'static str)],
    /// Whether the rows of queries and keys are reordered so that the dimensions that turn together lie side by side.
    pub(crate) interleaved: bool,
    /// Whether norms are stored with one added.
    pub(crate) norms_plus_one: bool,
    /// Layer tensors that are stored the other way round than in Hugging Face's file.
    pub(crate) transposed: &'static [&'static str],
}

const WHOLE: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

const LLAMA: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const GEMMA: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const PHI3: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const GPT2: &[(&str, &str)] = &[
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

const STANDARD: Architecture = Architecture {
    name: "llama",
    model_types: &["llama", "mistral"],
    class: "LlamaForCausalLM",
    layer_prefix: "model.layers.",
    whole: WHOLE,
    layer: LLAMA,
    interleaved: true,
    norms_plus_one: false,
    transposed: &[],
};

pub(crate) const ARCHITECTURES: [Architecture; 7] = [
    STANDARD,
    Architecture { name: "qwen2", model_types: &["qwen2"], class: "Qwen2ForCausalLM", interleaved: false, ..STANDARD },
    Architecture { name: "qwen3", model_types: &["qwen3"], class: "Qwen3ForCausalLM", interleaved: false, ..STANDARD },
    Architecture {
        name: "gemma2",
        model_types: &["gemma2"],
        class: "Gemma2ForCausalLM",
        layer: GEMMA,
        interleaved: false,
        norms_plus_one: true,
        ..STANDARD
    },
    Architecture {
        name: "gemma3",
        model_types: &["gemma3_text"],
        class: "Gemma3ForCausalLM",
        layer: GEMMA,
        interleaved: false,
        norms_plus_one: true,
        ..STANDARD
    },
    Architecture {
        name: "phi3",
        model_types: &["phi3"],
        class: "Phi3ForCausalLM",
        layer: PHI3,
        interleaved: false,
        ..STANDARD
    },
    Architecture {
        name: "gpt2",
        model_types: &["gpt2"],
        class: "GPT2LMHeadModel",
        layer_prefix: "transformer.h.",
        whole: &[
            ("transformer.wte", "token_embd"),
            ("transformer.wpe", "position_embd"),
            ("transformer.ln_f", "output_norm"),
            ("lm_head", "output"),
        ],
        layer: GPT2,
        interleaved: false,
        transposed: &["attn_qkv", "attn_output", "ffn_up", "ffn_down"],
        ..STANDARD
    },
];

/// The architecture of a file, or what is expected and found.
pub(super) fn of_file(gguf: &Gguf) -> Result<&'static Architecture, Refusal> {
    let found = gguf.metadata().get("general.architecture").and_then(|value| value.as_str()).unwrap_or("none");
    ARCHITECTURES.iter().find(|architecture| architecture.name == found).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
        (format!("general.architecture to be one of {}", known.join(", ")), found.to_owned())
    })
}

/// What happens to a tensor between the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Same,
    /// The rows of each of so many heads are reordered.
    Interleaved(usize),
    /// One is added in the GGUF file.
    PlusOne,
    /// Rows and columns change places.
    Transposed,
}

impl Architecture {
    /// The name in a Hugging Face file; the name itself where it is no name of this architecture.
    pub(crate) fn hugging_face_name(&self, name: &str) -> String {
        let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        let found = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) => self
                .layer
                .iter()
                .find(|(_, gguf)| *gguf == part)
                .map(|(own, _)| format!("{}{layer}.{own}.{kind}", self.layer_prefix)),
            None => self.whole.iter().find(|(_, gguf)| *gguf == stem).map(|(own, _)| format!("{own}.{kind}")),
        };
        found.unwrap_or_else(|| name.to_owned())
    }

    /// The name in a GGUF file, where there is one.
    pub(crate) fn gguf_name(&self, name: &str) -> Option<String> {
        let (stem, kind) = name.rsplit_once('.')?;
        match stem.strip_prefix(self.layer_prefix).and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) => {
                let (_, gguf) = self.layer.iter().find(|(own, _)| *own == part)?;
                Some(format!("blk.{layer}.{gguf}.{kind}"))
            }
            None => {
                let (_, gguf) = self.whole.iter().find(|(own, _)| *own == stem)?;
                Some(format!("{gguf}.{kind}"))
            }
        }
    }

    /// What happens to the tensor of a GGUF name in a model with so many heads for queries, and for keys and values.
    pub(crate) fn change(&self, gguf_name: &str, (heads, key_value_heads): (usize, usize)) -> Change {
        let (stem, kind) = gguf_name.rsplit_once('.').unwrap_or((gguf_name, ""));
        let part = stem.rsplit_once('.').map_or(stem, |(_, part)| part);
        match part {
            "attn_q" if self.interleaved => Change::Interleaved(heads),
            "attn_k" if self.interleaved => Change::Interleaved(key_value_heads),
            _ if self.norms_plus_one && stem.ends_with("norm") => Change::PlusOne,
            _ if kind == "weight" && self.transposed.contains(&part) => Change::Transposed,
            _ => Change::Same,
        }
    }
}

/// For each row of the Hugging Face order, which row of the GGUF order it is. A head's first half and second half there are
/// its even and odd rows here.
pub(crate) fn interleaved_row(row: usize, rows: usize, heads: usize) -> usize {
    let width = rows / heads;
    let (head, within) = (row / width, row % width);
    let (half, index) = (within / (width / 2), within % (width / 2));
    head * width + 2 * index + half
}
