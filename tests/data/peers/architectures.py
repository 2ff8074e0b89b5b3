"""Random variants of every architecture, made with transformers and PEFT and compared through the programs.

    python architectures.py WORK [--bin target/release] [--only NAME,...] [--keep]

For each variant of the list below it makes a tiny random model (other widths, head sizes, windows, rotary scalings, biases,
tied or not, old and new names of the keys in config.json), computes with transformers, and then runs retune-evaluate,
retune-generate and retune-train on the same folder:

- log-probabilities of 24 tokens at the middle and the last position of each row, within 1e-4 (single-label rows);
- summed NLL within 1e-5 relative; 32 greedy tokens;
- ten steps of LoRA from a saved adapter and ten of full tuning: loss within 1e-4, gradient norm within 1e-3, relative.

Prints one line for each variant and exits with 1 where one differs.

Made with: torch 2.15.0, transformers 5.23.0, peft 0.21.2, pyarrow 26.0.1, Python 3.11.
"""
import argparse
import copy
import json
import os
import shutil
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import peft
import pyarrow
import pyarrow.parquet
import torch
import transformers
from torch.nn.functional import cross_entropy

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

BASE = dict(vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=None, eos_token_id=None, pad_token_id=None)
NEOX = {key: value for key, value in BASE.items() if key != "num_key_value_heads"}
GPT2 = dict(vocab_size=131, n_embd=48, n_layer=2, n_head=4, n_positions=64, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
            bos_token_id=None, eos_token_id=None, pad_token_id=None)
SIX = [1.0, 1.1, 1.3, 1.5, 2.0, 2.5]
LONG = [1.0, 1.5, 2.5, 4.0, 8.0, 12.0]
# name: (model_type, keys of config.json, options); options: rows (lengths)
VARIANTS = {
    # llama
    "llama-mha-bias": ("llama", dict(BASE, num_key_value_heads=4, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), {}),
    "llama-mqa-wide": ("llama", dict(BASE, num_key_value_heads=1, head_dim=20, rms_norm_eps=1e-5, num_hidden_layers=3), {}),
    "llama-old-keys": ("llama", dict({k: v for k, v in BASE.items() if k != "num_key_value_heads"}, rope_theta=5000.0, torch_dtype="float32"), {}),
    "llama-linear-old": ("llama", dict(BASE, rope_theta=1e4, rope_scaling={"type": "linear", "factor": 4.0}), {}),
    "llama-llama3-old": ("llama", dict(BASE, rope_theta=5e5, rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 16}), {}),
    "llama-llama3-no-original": ("llama", dict(BASE, rope_parameters={"rope_theta": 1e4, "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 2.0}), {}),
    # The second row is within the context: beyond it transformers keeps the base of the longest sequence that it has seen.
    "llama-dynamic": ("llama", dict(BASE, max_position_embeddings=20, rope_parameters={"rope_theta": 1e4, "rope_type": "dynamic", "factor": 2.0}), {"greedy": False}),
    "llama-dynamic-short": ("llama", dict(BASE, rope_theta=1e4, rope_scaling={"type": "dynamic", "factor": 3.0}), {}),
    "llama-yarn": ("llama", dict(BASE, rope_parameters={"rope_theta": 1e4, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}), {}),
    "llama-yarn-settings": ("llama", dict(BASE, rope_theta=1e4, rope_scaling={"rope_type": "yarn", "factor": 8.0, "beta_fast": 16, "beta_slow": 2,
                         "attention_factor": 0.9, "truncate": False, "original_max_position_embeddings": 32}), {}),
    "llama-yarn-mscale": ("llama", dict(BASE, rope_parameters={"rope_theta": 1e4, "rope_type": "yarn", "factor": 8.0, "mscale": 1.0,
                         "mscale_all_dim": 0.8, "original_max_position_embeddings": 32}), {}),
    "llama-longrope": ("llama", dict(BASE, max_position_embeddings=64, rope_parameters={"rope_theta": 1e4, "rope_type": "longrope",
                         "short_factor": SIX, "long_factor": LONG, "original_max_position_embeddings": 20, "factor": 4.0}), {"greedy": False}),
    "llama-gelu-one-layer": ("llama", dict(BASE, hidden_act="gelu", num_hidden_layers=1), {}),
    "llama-relu2": ("llama", dict(BASE, hidden_act="relu2"), {}),
    "llama-quick-gelu": ("llama", dict(BASE, hidden_act="quick_gelu"), {}),
    "llama-pretraining-tp": ("llama", dict(BASE, pretraining_tp=2, head_dim=12), {}),
    "llama-bf16-base": ("llama", dict(BASE), {"dtype": torch.bfloat16}),
    "llama-f16-sharded": ("llama", dict(BASE), {"dtype": torch.float16, "shards": True}),
    "llama-no-prefix": ("llama", dict(BASE, tie_word_embeddings=True), {"base_only": True}),
    # mistral
    "mistral-window-5": ("mistral", dict(BASE, sliding_window=5, head_dim=16), {}),
    "mistral-no-window": ("mistral", dict(BASE, sliding_window=None, rope_theta=1e6), {}),
    "mistral-yarn": ("mistral", dict(BASE, sliding_window=7, rope_parameters={"rope_theta": 1e4, "rope_type": "yarn", "factor": 2.0,
                     "original_max_position_embeddings": 32}), {}),
    "mistral-default-kv": ("mistral", dict({k: v for k, v in BASE.items() if k != "num_key_value_heads"}, num_attention_heads=8, head_dim=12), {}),
    "mistral-tied": ("mistral", dict(BASE, sliding_window=3, tie_word_embeddings=True, num_attention_heads=6, hidden_act="gelu_pytorch_tanh"), {}),
    # qwen2
    "qwen2-windows": ("qwen2", dict(BASE, num_hidden_layers=3, use_sliding_window=True, sliding_window=6, max_window_layers=1), {}),
    "qwen2-layer-types": ("qwen2", dict(BASE, num_hidden_layers=3, use_sliding_window=True, sliding_window=4,
                          layer_types=["full_attention", "sliding_attention", "full_attention"]), {}),
    "qwen2-unused-window": ("qwen2", dict(BASE, use_sliding_window=False, sliding_window=4, max_window_layers=0, tie_word_embeddings=True), {}),
    "qwen2-yarn": ("qwen2", dict(BASE, rope_theta=1e6, rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}), {}),
    # qwen3
    "qwen3-wide-heads": ("qwen3", dict(BASE, head_dim=24, attention_bias=True), {}),
    "qwen3-default-head": ("qwen3", dict(BASE, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=1), {}),
    "qwen3-windows": ("qwen3", dict(BASE, head_dim=12, use_sliding_window=True, sliding_window=5, max_window_layers=1, tie_word_embeddings=True), {}),
    # gemma2
    "gemma2-caps": ("gemma2", dict(BASE, head_dim=20, query_pre_attn_scalar=33, attn_logit_softcapping=2.0, final_logit_softcapping=1.5,
                    sliding_window=5, num_hidden_layers=3), {}),
    "gemma2-no-caps": ("gemma2", dict(BASE, head_dim=12, attn_logit_softcapping=None, final_logit_softcapping=None, sliding_window=6,
                       hidden_activation="gelu", tie_word_embeddings=False, attention_bias=True), {}),
    "gemma2-layer-types": ("gemma2", dict(BASE, head_dim=16, sliding_window=4, layer_types=["full_attention", "sliding_attention"], rope_theta=500.0), {}),
    "gemma2-old-act": ("gemma2", dict(BASE, head_dim=16, hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", sliding_window=4,
                       rope_scaling={"type": "linear", "factor": 2.0}), {}),
    # gemma3
    "gemma3-pattern": ("gemma3_text", dict(BASE, head_dim=20, num_hidden_layers=3, sliding_window=5, sliding_window_pattern=2, rope_theta=5e4,
                       rope_local_base_freq=100.0, rope_scaling={"factor": 8.0, "rope_type": "linear"}), {}),
    "gemma3-new": ("gemma3_text", dict(BASE, head_dim=12, sliding_window=4, layer_types=["full_attention", "sliding_attention"],
                   rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5},
                                    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}},
                   attn_logit_softcapping=3.0, final_logit_softcapping=2.0, query_pre_attn_scalar=10, tie_word_embeddings=False), {}),
    "gemma3-defaults": ("gemma3_text", dict({k: v for k, v in BASE.items()}, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1), {}),
    # phi3
    "phi3-partial": ("phi3", dict(BASE, num_attention_heads=3, num_key_value_heads=1, partial_rotary_factor=0.5, tie_word_embeddings=True), {}),
    "phi3-window": ("phi3", dict(BASE, sliding_window=5, rope_theta=2e3), {}),
    "phi3-longrope-short": ("phi3", dict(BASE, max_position_embeddings=256, original_max_position_embeddings=64,
                            rope_scaling={"type": "longrope", "short_factor": SIX, "long_factor": LONG}), {}),
    "phi3-longrope-long": ("phi3", dict(BASE, max_position_embeddings=256, original_max_position_embeddings=16,
                           rope_scaling={"type": "longrope", "short_factor": SIX, "long_factor": LONG}), {"rows": (24, 19)}),
    "phi3-longrope-new": ("phi3", dict(BASE, max_position_embeddings=128, original_max_position_embeddings=16, rope_parameters={"rope_type": "longrope",
                          "rope_theta": 1e4, "short_factor": SIX, "long_factor": LONG, "partial_rotary_factor": 1.0}), {}),
    "phi3-longrope-partial": ("phi3", dict(BASE, num_attention_heads=3, num_key_value_heads=3, partial_rotary_factor=0.75, max_position_embeddings=128,
                           original_max_position_embeddings=64, rope_scaling={"type": "longrope", "short_factor": SIX, "long_factor": LONG}), {}),
    # gpt2
    "gpt2-untied": ("gpt2", dict(GPT2, tie_word_embeddings=False, n_inner=100), {}),
    "gpt2-scales": ("gpt2", dict(GPT2, scale_attn_by_inverse_layer_idx=True, n_layer=3, activation_function="gelu"), {}),
    "gpt2-unscaled": ("gpt2", dict(GPT2, scale_attn_weights=False, reorder_and_upcast_attn=False, n_layer=1, activation_function="relu"), {}),
    "gpt2-upcast": ("gpt2", dict(GPT2, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True), {}),
    "gpt2-no-prefix": ("gpt2", dict(GPT2, layer_norm_epsilon=1e-3), {"base_only": True}),
    # gpt-neox
    "neox-sequential": ("gpt_neox", dict(NEOX, use_parallel_residual=False, rotary_pct=0.5, rotary_emb_base=5000, layer_norm_eps=1e-3), {}),
    "neox-no-bias": ("gpt_neox", dict(NEOX, attention_bias=False, num_attention_heads=3, rope_parameters={"rope_type": "default", "rope_theta": 1e4,
                     "partial_rotary_factor": 0.25}, tie_word_embeddings=True), {}),
    "neox-whole-heads": ("gpt_neox", dict(NEOX, rotary_pct=1.0, num_hidden_layers=3, hidden_act="gelu_new"), {}),
    "neox-linear": ("gpt_neox", dict(NEOX, rotary_pct=0.5, num_attention_heads=2, rope_scaling={"type": "linear", "factor": 2.0}), {}),
    "neox-default-pct": ("gpt_neox", dict(NEOX, num_attention_heads=2), {}),
    # olmo2
    "olmo2-mqa": ("olmo2", dict(BASE, num_key_value_heads=1, rope_theta=5e5, num_hidden_layers=3), {}),
    "olmo2-bias": ("olmo2", dict(BASE, num_key_value_heads=4, attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-6), {}),
    # granite
    "granite-multipliers": ("granite", dict(BASE, attention_multiplier=0.11, residual_multiplier=0.5, embedding_multiplier=3.0, logits_scaling=2.5,
                            attention_bias=True, mlp_bias=True, num_hidden_layers=3), {}),
    "granite-tied": ("granite", dict(BASE, tie_word_embeddings=True, attention_multiplier=0.3, logits_scaling=0.7, rope_theta=1e3), {}),
    # smollm3
    "smollm3-interval": ("smollm3", dict(BASE, no_rope_layer_interval=2, num_hidden_layers=3, tie_word_embeddings=False), {}),
    "smollm3-listed": ("smollm3", dict(BASE, no_rope_layers=[0, 1], attention_bias=True, mlp_bias=True), {}),
    "smollm3-windows": ("smollm3", dict(BASE, no_rope_layers=[1, 0], use_sliding_window=True, sliding_window=5), {}),
    "smollm3-layer-types": ("smollm3", dict(BASE, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=5,
                            layer_types=["sliding_attention", "full_attention"]), {}),
    "smollm3-default-kv": ("smollm3", dict({k: v for k, v in BASE.items() if k != "num_key_value_heads"}, num_attention_heads=8), {}),
    "smollm3-yarn": ("smollm3", dict(BASE, rope_parameters={"rope_theta": 2e6, "rope_type": "yarn", "factor": 2.0,
                     "original_max_position_embeddings": 32}), {}),
}


def make_model(folder, model_type, keys, options, seed):
    """A model folder, and the model as transformers opens it, in f32."""
    os.makedirs(folder)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(dict(keys, model_type=model_type), file, indent=2)
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.1)
            else:
                value.copy_(torch.randn_like(value) * (0.6 if "embed" in name or "wte" in name else 1.3) / value.shape[-1] ** 0.5)
    dtype = options.get("dtype", torch.float32)
    model = model.to(dtype)
    stored = model.base_model if options.get("base_only") else model
    config_text = open(f"{folder}/config.json").read()
    stored.save_pretrained(folder, max_shard_size="30KB" if options.get("shards") else "5GB")
    with open(f"{folder}/config.json", "w") as file:
        file.write(config_text)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


def make_rows(vocabulary, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        ids = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [-100] * (length // 3) + ids[length // 3:]})
    return rows


def write_rows(rows, path):
    column = lambda values: pyarrow.array(values, pyarrow.list_(pyarrow.int32()))
    pyarrow.parquet.write_table(pyarrow.table({
        "input_ids": column([row["input_ids"] for row in rows]),
        "labels": column([row["labels"] for row in rows]),
        "position_ids": column([list(range(len(row["input_ids"]))) for row in rows]),
    }), path)


def loss_sum(model, rows):
    total, count = 0.0, 0
    for row in rows:
        logits = model(torch.tensor([row["input_ids"]]), use_cache=False).logits[0]
        labels = torch.tensor(row["labels"][1:])
        total = total + cross_entropy(logits[:-1].float(), labels, ignore_index=-100, reduction="sum")
        count += int((labels != -100).sum())
    return total, count


def trace(model, rows, learning_rate):
    parameters = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    spared = lambda name, value: value.ndim == 1 and "magnitude" not in name
    optimizer = torch.optim.AdamW([
        {"params": [v for n, v in parameters if not spared(n, v)], "weight_decay": 0.01},
        {"params": [v for n, v in parameters if spared(n, v)], "weight_decay": 0.0},
    ], lr=learning_rate)
    steps = []
    model.train()
    for _ in range(10):
        optimizer.zero_grad()
        total, count = loss_sum(model, rows)
        (total / count).backward()
        norm = torch.nn.utils.clip_grad_norm_([value for _, value in parameters], 1.0)
        optimizer.step()
        steps.append((float(total.detach()) / count, float(norm)))
    return steps


def make_adapter(model, folder):
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = peft.get_peft_model(copy.deepcopy(model), config)
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            if "lora_B" in name:
                value.copy_(torch.randn_like(value) * 0.05)
    tuned.save_pretrained(folder)
    return tuned


def word_tokenizer(folder, vocabulary):
    """One word for each id, so that retune-generate can be asked by id."""
    words = {f"t{index}": index for index in range(vocabulary)}
    with open(f"{folder}/tokenizer.json", "w") as file:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
                   "model": {"type": "WordLevel", "vocab": words, "unk_token": "t0"}}, file)


def run(*arguments):
    found = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if found.returncode != 0:
        raise RuntimeError(found.stderr.strip()[-600:])
    return found


def losses(bin, tokens, model, out):
    run(f"{bin}/retune-evaluate", tokens, "--model", model, "--out", out, "--force")
    table = pyarrow.parquet.read_table(f"{out}/examples.parquet")
    return table["loss"].to_pylist(), table["trained_tokens"].to_pylist()


def relative(found, expected):
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(found, expected, strict=True))


def train(bin, work, rows, model, out, *more):
    run(f"{bin}/retune-train", f"{work}/rows.parquet", "--model", model, "--out", out, "--schedule", "constant", "--max-steps", 10,
        "--batch-size", len(rows), "--weight-decay", 0.01, "--max-grad-norm", 1, "--force", *more)
    table = pyarrow.parquet.read_table(f"{out}/metrics.parquet")
    return table["loss"].to_pylist(), table["grad_norm"].to_pylist()


def compare(bin, work, name, model_type, keys, options, seed):
    folder = f"{work}/model"
    model = make_model(folder, model_type, keys, options, seed)
    vocabulary = keys["vocab_size"]
    rows = make_rows(vocabulary, options.get("rows", (24, 17)), seed)
    differences = {}

    model.eval()
    with torch.no_grad():
        probes, expected = [], []
        for row in rows:
            logits = model(torch.tensor([row["input_ids"]]), use_cache=False).logits[0].log_softmax(-1)
            for position in (len(row["input_ids"]) // 2, len(row["input_ids"]) - 1):
                if "dynamic" in name or "longrope" in name:
                    # The table depends on the sequence's length: the probe must be as long.
                    if position != len(row["input_ids"]) - 2:
                        continue
                for token in range(0, vocabulary, vocabulary // 24):
                    ids = row["input_ids"][:position + 1] + [token]
                    probes.append({"input_ids": ids, "labels": [-100] * (position + 1) + [token]})
                    expected.append(-float(logits[position, token]))
        total, count = loss_sum(model, rows)
        nll = float(total)
        prompt = rows[0]["input_ids"][:5]
        greedy = []
        # transformers' dynamic scaling remembers the longest sequence: nothing longer than the rows may come before the traces.
        for _ in range(32 if options.get("greedy", True) else 0):
            logits = model(torch.tensor([prompt + greedy]), use_cache=False).logits[0, -1]
            best = logits.topk(2)
            if float(best.values[0] - best.values[1]) < 1e-4:
                break  # a tie: either answer is right
            greedy.append(int(best.indices[0]))
    write_rows(rows, f"{work}/rows.parquet")
    if probes:
        write_rows(probes, f"{work}/probes.parquet")
        found, _ = losses(bin, f"{work}/probes.parquet", folder, f"{work}/probed")
        differences["logits"] = (max(abs(a - b) for a, b in zip(found, expected, strict=True)), 1e-4)
    found, counts = losses(bin, f"{work}/rows.parquet", folder, f"{work}/evaluated")
    assert sum(counts) == count
    differences["nll"] = (relative([sum(a * b for a, b in zip(found, counts))], [nll]), 1e-5)

    tuned = make_adapter(model, f"{work}/lora_init")
    expected = trace(tuned, rows, 1e-2)
    found = train(bin, work, rows, folder, f"{work}/lora", "--adapter", f"{work}/lora_init", "--learning-rate", 1e-2)
    differences["lora loss"] = (relative(found[0], [loss for loss, _ in expected]), 1e-4)
    differences["lora norm"] = (relative(found[1], [norm for _, norm in expected]), 1e-3)

    expected = trace(copy.deepcopy(model), rows, 1e-3)
    found = train(bin, work, rows, folder, f"{work}/full", "--method", "full", "--learning-rate", 1e-3)
    differences["full loss"] = (relative(found[0], [loss for loss, _ in expected]), 1e-4)
    differences["full norm"] = (relative(found[1], [norm for _, norm in expected]), 1e-3)

    if options.get("greedy", True):
        word_tokenizer(folder, vocabulary)
        found = run(f"{bin}/retune-generate", "--model", folder, "--raw", "--max-new-tokens", 32, "--prompt",
                    " ".join(f"t{token}" for token in prompt))
        found = [int(word[1:]) for word in found.stdout.split()][:len(greedy)]
        differences["greedy"] = (float(found != greedy), 0.5)
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--only", help="names or beginnings of names, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folders of the variants that differ")
    arguments = parser.parse_args()
    chosen = [name for name in VARIANTS if not arguments.only or name.startswith(tuple(arguments.only.split(",")))]
    failed = 0
    for name in chosen:
        model_type, keys, options = VARIANTS[name]
        work = f"{arguments.work}/{name}"
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        try:
            found = compare(os.path.abspath(arguments.bin), work, name, model_type, keys, options, arguments.seed)
            bad = {what: value for what, (value, limit) in found.items() if not value < limit}
            text = "differs: " + ", ".join(f"{what} {value:.1e}" for what, value in bad.items()) if bad else "equal: " + ", ".join(
                f"{what} {value:.0e}" for what, (value, _) in found.items())
        except Exception as error:
            bad, text = True, f"{type(error).__name__}: {error}"
        print(f"{name:26} {text}", flush=True)
        failed += bool(bad)
        if not (bad and arguments.keep):
            shutil.rmtree(work)
    print(f"{len(chosen) - failed} of {len(chosen)} are equal")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
