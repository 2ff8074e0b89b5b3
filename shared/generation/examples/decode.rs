//! Speed of reading a prompt and of decoding, on random models of real shapes: part of `make bench`.
//!
//! Each line runs in a process of its own; results are appended as JSON lines to the file named on the command line.
//! `… --example decode -- [FILE [NAME]]`

#![expect(clippy::print_stdout, reason = "the example's output is its table")]

use std::error::Error;
use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use candle_core::{Device, Tensor};
use model::{BlockFormat, Decoder, ModelConfig, ModelError, StoredMatrix, TensorSource, Trainable};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

/// One line of the table.
struct Work {
    name: &'static str,
    shape: fn() -> Value,
    format: BlockFormat,
    prompt: usize,
}

const TABLE: [Work; 5] = [
    Work { name: "135M-decode-f32", shape: smollm_135m, format: BlockFormat::F32, prompt: 128 },
    Work { name: "135M-decode-bf16", shape: smollm_135m, format: BlockFormat::BF16, prompt: 128 },
    Work { name: "135M-decode-f16", shape: smollm_135m, format: BlockFormat::F16, prompt: 128 },
    Work { name: "135M-decode-q8_0", shape: smollm_135m, format: BlockFormat::Q8_0, prompt: 128 },
    Work { name: "3.4M-decode-f32", shape: gpt2_3m, format: BlockFormat::F32, prompt: 64 },
];

fn smollm_135m() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": true
    })
}

fn gpt2_3m() -> Value {
    json!({
        "model_type": "gpt2", "vocab_size": 14019, "n_positions": 256, "n_embd": 128, "n_layer": 8, "n_head": 16,
        "n_inner": 512, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true
    })
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--measure"
    {
        let work = TABLE.iter().find(|work| work.name == name).ok_or("no line of this name")?;
        println!("{}", measure(work)?);
        return Ok(());
    }
    let only = arguments.get(1).map_or("", String::as_str);
    let [a, b, c, d, e] = ["work", "one", "sixteen", "prompt", "prompts"];
    println!("{a:26} {b:>9} {c:>9} {d:>9} {e:>9}   tokens/s");
    for work in TABLE.iter().filter(|work| work.name.contains(only)) {
        let line = in_own_process(work)?;
        let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:26} {:9.1} {:9.1} {:9.0} {:9.0}",
            work.name,
            number("decode_1_tokens_per_second"),
            number("decode_16_tokens_per_second"),
            number("prefill_1_tokens_per_second"),
            number("prefill_16_tokens_per_second")
        );
        if let Some(file) = arguments.first() {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
            writeln!(file, "{line}")?;
        }
    }
    Ok(())
}

fn in_own_process(work: &Work) -> Result<Value, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    // As the programs do: memory is kept, and candle's own threads stay out of the way.
    command.args(["--measure", work.name]).env("MIMALLOC_PURGE_DELAY", "-1").env("CANDLE_NUM_THREADS", "1");
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", work.name, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// New tokens of a run.
const NEW: usize = 64;

/// Medians of three runs.
fn measure(work: &Work) -> Result<Value, Failure> {
    let config = ModelConfig::from_json(&(work.shape)())?;
    let decoder = Decoder::load(&config, &Random { config: &config, format: work.format }, Trainable::Nothing)?;
    let vocabulary = config.vocabulary() as u32;
    let prompt = |seed: usize| -> Vec<u32> {
        (0..work.prompt).map(|at| ((seed * 7919 + at * 104_729) as u32) % vocabulary).collect()
    };
    let (mut prefill, mut decode) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..3 {
        for ((sequences, times), prefill) in [1, 16].into_iter().zip(&mut decode).zip(&mut prefill) {
            let prompts: Vec<Vec<u32>> = (0..sequences).map(prompt).collect();
            let mut cache = decoder.new_cache(sequences);
            let began = Instant::now();
            let tokens: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            let mut next = best(&decoder.decode(&tokens, &mut cache)?)?;
            prefill.push((sequences * work.prompt) as f64 / began.elapsed().as_secs_f64());
            let began = Instant::now();
            for _ in 0..NEW {
                let tokens: Vec<&[u32]> = next.iter().map(std::slice::from_ref).collect();
                next = best(&decoder.decode(&tokens, &mut cache)?)?;
            }
            times.push((sequences * NEW) as f64 / began.elapsed().as_secs_f64());
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ([one, sixteen], [one_prompt, sixteen_prompts]) = (decode, prefill);
    Ok(json!({
        "work": work.name,
        "threads": rayon::current_num_threads(),
        "prompt_tokens": work.prompt,
        "new_tokens": NEW,
        "decode_1_tokens_per_second": median(one),
        "decode_16_tokens_per_second": median(sixteen),
        "prefill_1_tokens_per_second": median(one_prompt),
        "prefill_16_tokens_per_second": median(sixteen_prompts),
    }))
}

/// The most likely token of each sequence.
fn best(logits: &Tensor) -> Result<Vec<u32>, Failure> {
    let rows = logits.to_vec2::<f32>()?;
    let largest = |row: &Vec<f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32;
    Ok(rows.iter().map(largest).collect())
}

/// Weights of the sizes that initialisation gives, made where they are asked for.
struct Random<'a> {
    config: &'a ModelConfig,
    format: BlockFormat,
}

impl TensorSource for Random<'_> {
    fn names(&self) -> Vec<String> {
        self.config.description().parameters().into_iter().map(|parameter| parameter.name).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let parameters = self.config.description().parameters();
        parameters.into_iter().find(|parameter| parameter.name == name).map(|parameter| parameter.shape)
    }

    fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let shape = self.shape(name).unwrap_or_default();
        let mut state = name.bytes().fold(1, |state: u64, byte| state.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let one = shape.len() == 1;
        let value = |_| {
            // A linear congruential generator (Knuth's constants): these numbers need speed, not quality.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if one { 1.0 } else { 0.07 * ((state >> 32) as f32 / u32::MAX as f32 - 0.5) }
        };
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(value).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    fn matrix(&self, name: &str) -> Result<Option<StoredMatrix>, ModelError> {
        let Some(&[rows, columns]) = self.shape(name).as_deref() else { return Ok(None) };
        if self.format == BlockFormat::F32 {
            return Ok(None);
        }
        let values = self.tensor(name)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Some(StoredMatrix::encode(self.format, (rows, columns), &values)?))
    }
}
