//! Speed and memory of training steps on random models of real shapes: `make bench`.
//!
//! Each line of the table runs in a process of its own, so that its peak memory is its own. Results are appended as JSON
//! lines to the file named on the command line. `… --example bench -- [FILE [NAME]]`

#![expect(clippy::print_stdout, reason = "the example's output is its table")]

use std::error::Error;
use std::io::Write as _;
use std::process::Command;

use candle_core::{Device, Tensor};
use model::{Decoder, Hold, LoraConfig, ModelConfig, ModelError, TensorSource, Trainable};
use serde_json::{Value, json};
use training::{Duration, Options, Row, Trainer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

/// One line of the table.
struct Work {
    name: &'static str,
    shape: fn() -> Value,
    full: bool,
    rows: usize,
    tokens: usize,
    threads: usize,
    /// Whether every layer keeps its input alone.
    checkpointed: bool,
    hold: Hold,
}

const fn work(name: &'static str, shape: fn() -> Value, full: bool, (rows, tokens): (usize, usize)) -> Work {
    Work { name, shape, full, rows, tokens, threads: 0, checkpointed: false, hold: Hold::InFull }
}

const TABLE: [Work; 12] = [
    work("135M-lora-4x512", smollm_135m, false, (4, 512)),
    Work { threads: 1, ..work("135M-lora-4x512-1-thread", smollm_135m, false, (4, 512)) },
    Work { checkpointed: true, ..work("135M-lora-4x512-checkpointed", smollm_135m, false, (4, 512)) },
    Work { hold: Hold::Int8, ..work("135M-int8-4x512", smollm_135m, false, (4, 512)) },
    work("135M-lora-16x128", smollm_135m, false, (16, 128)),
    work("135M-lora-1x2048", smollm_135m, false, (1, 2048)),
    work("135M-full-4x512", smollm_135m, true, (4, 512)),
    work("0.5B-lora-2x512", qwen_half_billion, false, (2, 512)),
    work("3.4M-full-16x256", gpt2_3m, true, (16, 256)),
    work("3.4M-lora-16x256", gpt2_3m, false, (16, 256)),
    Work { threads: 1, ..work("3.4M-full-16x256-1-thread", gpt2_3m, true, (16, 256)) },
    work("3.4M-full-64x64", gpt2_3m, true, (64, 64)),
];

fn smollm_135m() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": true
    })
}

fn qwen_half_billion() -> Value {
    json!({
        "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 2048,
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
    let header = ["work", "tokens/s", "ms/step", "GFLOP/s", "peak", "of peak", "memory"];
    let [a, b, c, d, e, f, g] = header;
    println!("{a:28} {b:>9} {c:>9} {d:>8} {e:>8} {f:>8} {g:>10}   longest operations");
    for work in TABLE.iter().filter(|work| work.name.contains(only)) {
        let line = in_own_process(work)?;
        print_line(&line);
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
    if work.threads > 0 {
        command.env("RAYON_NUM_THREADS", work.threads.to_string());
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", work.name, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn print_line(line: &Value) {
    let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
    let operations: Vec<String> = line["operations"].as_array().map_or_else(Vec::new, |list| {
        let share = |operation: &Value| {
            let share = 100.0 * operation["share"].as_f64().unwrap_or(0.0);
            format!("{} {share:.0} %", operation["name"].as_str().unwrap_or_default())
        };
        list.iter().take(5).map(share).collect()
    });
    println!(
        "{:28} {:9.0} {:9.1} {:8.0} {:8.0} {:7.0}% {:6.2} GiB   {}",
        line["work"].as_str().unwrap_or_default(),
        number("tokens_per_second"),
        1e3 * number("step_seconds"),
        number("gflop_per_second"),
        number("peak_gflop_per_second"),
        100.0 * number("gflop_per_second") / number("peak_gflop_per_second"),
        number("peak_memory_bytes") / (1u64 << 30) as f64,
        operations.join(", ")
    );
}

/// A warm-up step, five timed ones, and one that is looked at operation by operation.
fn measure(work: &Work) -> Result<Value, Failure> {
    const TIMED: usize = 5;
    let config = ModelConfig::from_json(&(work.shape)())?;
    let mut decoder = if work.full {
        Decoder::load(&config, &Random(&config), Trainable::All)?
    } else {
        Decoder::load_frozen(&config, &Random(&config), work.hold, &mut |_, _| ())?
    };
    if !work.full {
        decoder.add_lora(&LoraConfig::default(), 1)?;
    }
    let mut state = 1u64;
    let rows = (0..(TIMED + 3) * work.rows).map(|_| {
        let ids: Vec<u32> = (0..work.tokens).map(|_| next(&mut state) % config.vocabulary() as u32).collect();
        let labels = ids.iter().map(|&id| id as i32).collect();
        Row::new(ids, labels, (0..work.tokens as u32).collect())
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let options = Options { duration: Duration::Epochs(1.0), batch_size: work.rows, ..Options::default() };
    let mut trainer = Trainer::new(&decoder, &rows, &[], &options)?;
    if work.checkpointed {
        trainer.checkpoint_activations(usize::MAX);
    }
    trainer.step()?;
    let mut seconds = Vec::new();
    for _ in 0..TIMED {
        let began = std::time::Instant::now();
        trainer.step()?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let step = seconds[TIMED / 2];
    let profile = trainer.profile_step()?;
    let flops: u64 = profile.operations.iter().map(|operation| operation.flops).sum();
    let mut listed: Vec<Value> = profile
        .operations
        .iter()
        .map(|time| {
            let name = format!("{}{}", time.name, if time.backward { " backward" } else { "" });
            json!({ "name": name, "share": time.seconds / profile.seconds, "seconds": time.seconds,
                    "gflop_per_second": time.flops as f64 / time.seconds / 1e9 })
        })
        .collect();
    let rest = profile.seconds - profile.operations.iter().map(|time| time.seconds).sum::<f64>();
    listed.push(json!({ "name": "rest", "share": rest / profile.seconds, "seconds": rest }));
    Ok(json!({
        "work": work.name,
        "date": unix_time(),
        "version": env!("CARGO_PKG_VERSION"),
        "processor": processor(),
        "threads": rayon::current_num_threads(),
        "tokens_per_second": (work.rows * work.tokens) as f64 / step,
        "step_seconds": step,
        "gflop_per_second": flops as f64 / step / 1e9,
        "peak_gflop_per_second": profile.peak / 1e9,
        "peak_memory_bytes": peak_memory(),
        "operations": listed,
    }))
}

/// Weights of the sizes that initialisation gives, made where they are asked for.
struct Random<'a>(&'a ModelConfig);

impl TensorSource for Random<'_> {
    fn names(&self) -> Vec<String> {
        self.0.description().parameters().into_iter().map(|parameter| parameter.name).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let parameters = self.0.description().parameters();
        parameters.into_iter().find(|parameter| parameter.name == name).map(|parameter| parameter.shape)
    }

    fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let shape = self.shape(name).unwrap_or_default();
        let mut state = name.bytes().fold(1, |state: u64, byte| state.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let one = shape.len() == 1;
        let value = |_| {
            let uniform = next(&mut state) as f32 / u32::MAX as f32 - 0.5;
            if one { 1.0 } else { 0.07 * uniform }
        };
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(value).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

/// A linear congruential generator (Knuth's constants): these numbers need speed, not quality.
fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 32) as u32
}

fn unix_time() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn from_file(file: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn processor() -> Option<String> {
    from_file("/proc/cpuinfo", "model name")
}

fn peak_memory() -> Option<u64> {
    let kilobytes = from_file("/proc/self/status", "VmHWM")?;
    Some(kilobytes.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
